# 48b what root may still do: the capability sets must be empty
# verdict: error
# says(full no-read-confinement): capabilities: 0 0 0
# says(user): capabilities: 0 0 0
"""Asks for its capabilities, and for more."""

import ctypes
import os
import struct

libc = ctypes.CDLL(None, use_errno=True)
CAPGET = 125 if os.uname().machine == "x86_64" else 90


def make_gif(path):
    header = struct.pack("Ii", 0x20080522, 0)
    data = ctypes.create_string_buffer(24)
    if libc.syscall(ctypes.c_long(CAPGET), header, data) == 0:
        low, high = struct.unpack("III", data.raw[:12]), struct.unpack("III", data.raw[12:])
        raise ValueError("capabilities: " + " ".join(f"{a | b << 32:x}" for a, b in zip(low, high, strict=True)))
    # Not even the question is allowed: then by what they would permit, reading a file of mode 000.
    os.chdir("/")
    raise ValueError("capabilities: 0 0 0" if _refused() else "capabilities: some")


def _refused():
    number = 105 if os.uname().machine == "x86_64" else 146  # setuid
    return libc.syscall(ctypes.c_long(number), ctypes.c_long(12345)) != 0
