# 49 int 0x80: system calls by the numbers of another architecture
# verdict: crashed
# verdict(weak limits-only): crashed output_missing
# says(full no-read-confinement): SIGSYS
# machine: x86_64
"""Runs 32-bit system calls from 64-bit code: int 0x80 with getpid's number."""

import ctypes
import mmap


def make_gif(path):
    code = mmap.mmap(-1, 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.write(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3")  # mov eax, 20; int 0x80; ret
    address = ctypes.addressof(ctypes.c_char.from_buffer(code))
    ctypes.CFUNCTYPE(ctypes.c_int)(address)()
