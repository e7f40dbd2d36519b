# 23g names that a careless clean-up trips over
# verdict: output_missing
# verdict(no-read-confinement): error
"""Files with names that are no text, that look like options, and that are as long as may be."""


def make_gif(path):
    for name in (b"\xff\xfe", b"-rf", b"new\nline", b"\x1b[2J", b"n" * 255, b" ", b"*", b"localgif-1"):
        open(name, "wb").close()
