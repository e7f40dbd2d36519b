# 34c a daemon that no environment gives away
# verdict: error
# verdict(root weak limits-only): process_limit output_missing error
"""Double fork, a session of its own, and another program with an empty environment."""

import os


def make_gif(path):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.chdir("/")
            os.execve("/bin/sleep", ["sleep", "60"], {})
        os._exit(0)
