# 40c TIOCSTI: typing for somebody else
# verdict: error
# verdict(limits-only): error output_missing
# says(full no-read-confinement weak): PermissionError
"""Types a command into somebody's terminal."""

import fcntl
import os
import termios


def make_gif(path):
    terminal = os.open("@TTY@", os.O_RDWR)
    fcntl.ioctl(terminal, termios.TIOCSTI, b"x")
