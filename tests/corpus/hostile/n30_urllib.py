# 30 urllib
# verdict: error
# says(full no-read-confinement weak): URLError
# may(limits-only): tcp
"""Asks for a page with the standard library."""

import urllib.request


def make_gif(path):
    urllib.request.build_opener(urllib.request.ProxyHandler({})).open("http://127.0.0.1:@TCP@/", timeout=0.3).read()
