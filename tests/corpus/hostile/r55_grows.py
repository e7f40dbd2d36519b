# 55 grows bytearrays
# verdict: memory_limit
# says: which is the limit | the limit is 400 MB
# limits: roomy
"""Takes memory step by step."""


def make_gif(path):
    kept = []
    while True:
        kept.append(bytearray(b"x") * (4 * 2**20))
