# 71 infinite loop at import time
# verdict: cpu_limit
"""Never gets to define anything."""

while True:
    pass
