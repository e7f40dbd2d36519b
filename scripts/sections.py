"""Generated parts of a page that people write: what stands between two marks is replaced, the rest stays as it is."""

from __future__ import annotations


class NoSection(ValueError):
    """The page lacks a mark, or has it twice; the message says which."""


def replaced(text: str, begin: str, end: str, body: str) -> str:
    """The page with `body` between two lines.

    Args:
        text: The page.
        begin, end: The lines, without line ends. `begin` stands once in the page, `end` may close other parts too.
        body: What is to stand between them.

    Raises:
        NoSection: one of the lines is not there, or `begin` more than once.
    """
    lines = text.split("\n")
    if lines.count(begin) != 1:
        raise NoSection(f'the line "{begin}" stands {lines.count(begin)} times in the page, not once')
    first = lines.index(begin)
    if end not in lines[first:]:
        raise NoSection(f'no line "{end}" follows "{begin}"')
    last = lines.index(end, first)
    if any(line.startswith("<!--") for line in lines[first + 1 : last]):
        raise NoSection(f'another part begins between "{begin}" and its "{end}"')
    return "\n".join([*lines[: first + 1], *body.strip("\n").split("\n"), *lines[last:]])
