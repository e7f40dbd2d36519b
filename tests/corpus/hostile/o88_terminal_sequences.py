# 88 terminal sequences and bad UTF-8
# verdict: error
# says: ValueError: bad (line
"""Output that would clear the screen, set the title, and is no text."""

import os


def make_gif(path):
    os.write(1, b"\x1b[2J\x1b]0;owned\x07\x1b[31mred\x1b[0m \xff\xfe\x9b2J \x00\x08end\r\n")
    raise ValueError("\x1b[2Jbad\x07")
