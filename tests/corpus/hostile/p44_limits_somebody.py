# 44 prlimit of a stand-in
# verdict: error
# verdict(weak limits-only): output_missing error
# says(full no-read-confinement): PermissionError
# may(weak limits-only): victim
"""Takes somebody's open files away."""

import resource


def make_gif(path):
    resource.prlimit(@VICTIM@, resource.RLIMIT_NOFILE, (3, 3))
