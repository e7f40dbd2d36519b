# 45b nice and I/O priority of a stand-in
# verdict: error
# says(full no-read-confinement): changed: []
# hits(user weak limits-only): victim
# may(root weak limits-only): victim
"""Makes somebody wait for everybody else."""

import ctypes
import os

libc = ctypes.CDLL(None, use_errno=True)
IOPRIO_SET, SETSCHEDULER = (251, 144) if os.uname().machine == "x86_64" else (30, 119)


def make_gif(path):
    changed = []
    try:
        os.setpriority(os.PRIO_PROCESS, @VICTIM@, 19)
        changed.append("nice")
    except OSError:
        pass
    one = ctypes.c_long(1)
    victim = ctypes.c_long(@VICTIM@)
    if libc.syscall(ctypes.c_long(IOPRIO_SET), one, victim, ctypes.c_long(3 << 13)) == 0:
        changed.append("ioprio")
    if libc.syscall(ctypes.c_long(SETSCHEDULER), victim, ctypes.c_long(5), (ctypes.c_int * 1)(0)) == 0:
        changed.append("scheduler")
    raise ValueError(f"changed: {changed}")
