"""`python netns.py COMMAND...`: run a command in its own network namespace, which has only loopback.

Exit status 97 and a line on stderr where this machine does not allow it. Needs nothing of localgif and no tools.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import socket
import struct
import sys
from pathlib import Path

REFUSED = 97
_NEWUSER, _NEWNET = 0x10000000, 0x40000000
_GET_FLAGS, _SET_FLAGS, _UP = 0x8913, 0x8914, 1


def main() -> None:
    try:
        _enter()
        _loopback_up()
        others = [name for _, name in socket.if_nameindex() if name != "lo"]
        if others and any(_is_up(name) for name in others):
            raise OSError(errno.EBUSY, f"the namespace has {', '.join(others)}")
    except OSError as error:
        print(f"no network namespace here: {error}", file=sys.stderr)
        raise SystemExit(REFUSED) from None
    os.execvp(sys.argv[1], sys.argv[1:])


def _enter() -> None:
    user, group = os.geteuid(), os.getegid()
    if ctypes.CDLL(None, use_errno=True).unshare(_NEWNET if user == 0 else _NEWNET | _NEWUSER):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    if user:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")


def _flags(name: str, change: int = 0) -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        asked = struct.pack("16sh14x", name.encode(), 0)
        flags: int = struct.unpack("16sh14x", fcntl.ioctl(sock, _GET_FLAGS, asked))[1]
        if change:
            fcntl.ioctl(sock, _SET_FLAGS, struct.pack("16sh14x", name.encode(), flags | change))
    return flags


def _is_up(name: str) -> bool:
    return bool(_flags(name) & _UP)


def _loopback_up() -> None:
    _flags("lo", _UP)


if __name__ == "__main__":
    main()
