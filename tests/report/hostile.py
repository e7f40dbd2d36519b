"""Strings that would run, load, break out or rearrange a page if they were anything but text."""

from __future__ import annotations

HOSTILE = [
    "<script>window.broken = 1</script>",
    "</script><script>window.broken = 1</script>",
    "<img src=x onerror='window.broken = 1'>",
    "<svg onload=window.broken=1><animate onbegin=window.broken=1></svg>",
    "\"><iframe src=javascript:window.broken=1></iframe>",
    "' autofocus onfocus='window.broken=1' x='",
    "\" onmouseover=\"window.broken=1\" style=\"position:fixed;inset:0",
    "</pre></details></main></body></html><h1>mine</h1>",
    "</title></head><body onload=window.broken=1>",
    "</style><style>*{display:none!important}</style>",
    "<link rel=stylesheet href=http://127.0.0.1:9/x.css><base href=http://127.0.0.1:9/>",
    "<meta http-equiv=refresh content='0;url=http://127.0.0.1:9/'>",
    "<object data=http://127.0.0.1:9/x></object><embed src=http://127.0.0.1:9/x>",
    "<form action=http://127.0.0.1:9/><button>press</button></form>",
    "<!-- ", "--><script>window.broken=1</script>", "<![CDATA[ ", "<plaintext>", "<noscript><style>",
    "{{ 7 * 7 }} {% raw %} {# note #} ${7*7} <%= 7*7 %>",
    "$x_{1}$ \\frac{1}{2} \\unknownmacro $",
    "javascript:window.broken=1", "data:text/html,<script>window.broken=1</script>",
    "../../../../etc/passwd", "C:\\nul", "\x00\x01\x1b[31m\x1b]0;title\x07\x7f\x9b31m",
    "\u202egnp.exe\u2066\u2069\u200f", "&lt;script&gt;&#x3c;b&#x3e;&nbsp", "\ufeff\ufffe\uffff\ud800",
    "a" * 5000, "word " * 3000, "\n" * 400, "\t\r\n\x0b\x0c\u2028\u2029", "Z\u0351\u036b\u0343\u036a\u0302\u036b" * 40,
    "`; rm -rf /; $(reboot) 'x' \"y\" \\", "%s %d {0} {x!r}", "';--\" or 1=1", "@import url(http://127.0.0.1:9/x)",
]  # fmt: skip

#: A record never holds half a surrogate pair: JSON could not carry it.
HOSTILE = [text.encode("utf-8", "replace").decode() for text in HOSTILE]
ALL = "\n".join(HOSTILE)
