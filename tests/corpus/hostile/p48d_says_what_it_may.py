# 48d the kernel's own words about privileges, where /proc can be read
# verdict: error
# says: NoNewPrivs:1 CapPrm:0 CapEff:0
# says(root): NoNewPrivs:1 CapPrm:0 CapEff:0 CapBnd:0
# only: no-read-confinement limits-only
"""Reads what the kernel says about its rights."""


def make_gif(path):
    with open("/proc/self/status") as file:
        lines = dict(line.split(":\t", 1) for line in file.read().splitlines() if ":\t" in line)
    names = ("NoNewPrivs", "CapPrm", "CapEff", "CapBnd")
    raise ValueError(" ".join(f"{name}:{int(lines[name], 16):x}" for name in names))
