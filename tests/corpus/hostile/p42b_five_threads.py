# 42b threads at all (the design: none)
# verdict: error
# verdict(weak limits-only): error output_missing
# verdict(root weak limits-only): output_missing
"""Starts five threads and waits for them."""

import threading


def make_gif(path):
    threads = [threading.Thread(target=abs, args=(1,)) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
