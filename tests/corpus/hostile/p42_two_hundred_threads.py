# 42 200 threads
# verdict: error
# verdict(root weak limits-only): process_limit error
"""Many threads."""

import threading
import time


def make_gif(path):
    for _ in range(200):
        threading.Thread(target=time.sleep, args=(30,), daemon=True).start()
    time.sleep(30)
