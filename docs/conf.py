"""Builds docs/ into a site: `./scripts/env sphinx-build -W docs .site`. tests/test_docs.py does the same.

Warnings are errors: every page is in index.md, every link and anchor exists. Nothing comes from another host.
"""

import re

project = "localgif"
extensions = ["myst_parser"]
myst_heading_anchors = 4
nitpicky = True
exclude_patterns = ["**/.*"]
highlight_language = "text"
pygments_style = "friendly"
html_theme = "alabaster"
html_theme_options = {"page_width": "1190px", "sidebar_width": "230px", "show_powered_by": False, "show_relbars": True}
html_sidebars = {"**": ["about.html", "searchbox.html", "navigation.html"]}
html_static_path = ["site.css"]
html_css_files = ["site.css"]
html_copy_source = html_show_sourcelink = html_show_copyright = False


def contents(app: object, page: str, text: list[str]) -> None:
    """Make the links of each section of index.md the navigation of the site."""
    if page != "index":
        return
    for section in text[0].split("\n## ")[1:]:
        title, pages = section.split("\n", 1)[0], re.findall(r"\]\(([\w/-]+)\.md\)", section)
        text[0] += "\n".join(["", "```{toctree}", ":hidden:", f":caption: {title}", "", *pages, "```", ""])


def setup(app: object) -> None:
    app.connect("source-read", contents)  # type: ignore[attr-defined]
