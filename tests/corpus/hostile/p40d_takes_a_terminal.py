# 40d a terminal opened for reading: what is typed there is taken
# verdict: error
# verdict(limits-only): error crashed
# says(full weak): PermissionError
"""Opens somebody's terminal for reading, makes it its own, and asks for its settings to be changed."""

import fcntl
import os
import termios


def make_gif(path):
    terminal = os.open("@TTY@", os.O_RDONLY | os.O_NONBLOCK)
    for request in (termios.TIOCSCTTY, termios.TIOCSTI, termios.TIOCNOTTY, 0x541C, termios.TIOCSETD, termios.TIOCSPGRP):
        try:
            fcntl.ioctl(terminal, request, b"\0\0\0\0")
            print("request passed", request)
        except OSError as error:
            print("request", request, error)
    raise ValueError("Error: the terminal could be opened")
