"""Becomes an ordinary user, then runs Python with its arguments. Root starts it: `as_user.py UID ARG...`.

That user must be able to read everything that our Python needs, but cannot enter somebody's home (with a pyenv, or a uv
under ~/.local). So this process alone gets a view of the file system (a mount namespace), in which such a folder holds
only the needed trees at their usual places: the real folder stays closed, no path changes, nothing is copied. It uses
only the standard library, because it is not yet known whether the user can import anything.

Exit status 77: this cannot be done here; the reason is on standard error.
"""

from __future__ import annotations

import ctypes
import os
import stat
import sys
from pathlib import Path

CANNOT = 77
_CLONE_NEWNS, _MS_BIND, _MS_REC, _MS_PRIVATE = 0x20000, 0x1000, 0x4000, 0x40000

_libc = ctypes.CDLL(None, use_errno=True)


def main(uid: int, arguments: list[str]) -> None:
    root = Path(__file__).parent.parent.parent
    needed = [root, Path(sys.prefix), Path(sys.base_prefix), Path(sys.executable)]
    try:
        open_up(needed, uid)
    except OSError as error:
        print(f"no view of the file system can be made for an ordinary user: {error}", file=sys.stderr)
        sys.exit(CANNOT)
    os.chdir(root)
    os.setgroups([])
    os.setgid(uid)
    os.setuid(uid)
    # A new program, so that nothing is left of root, neither its memory nor its dumpable flag.
    kept = {name: value for name, value in os.environ.items() if name.startswith(("SECRET_", "TESTS_"))}
    clean = {"PATH": os.defpath, "LANG": "C.UTF-8", "HOME": "/", **kept}
    os.execve(sys.executable, [sys.executable, *arguments], clean)


def open_up(needed: list[Path], uid: int) -> None:
    """Make every path of `needed` reachable for `uid`, only in this process and its children."""
    trees, links = _resolved(needed)
    closed: dict[Path, list[Path]] = {}
    for path in [*trees, *links]:
        for folder in reversed(path.parents):
            if not _may_enter(folder, uid):
                closed.setdefault(folder, []).append(path)
                break
    if not closed:
        return
    _call("unshare", ctypes.c_int(_CLONE_NEWNS))
    _mount(b"none", "/", b"", _MS_REC | _MS_PRIVATE)
    for folder, paths in closed.items():
        handles = {path: os.open(path, os.O_PATH) for path in paths if path in trees}
        _mount(b"tmpfs", str(folder), b"tmpfs", 0, b"mode=755,size=1m")
        for path in paths:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path in handles:
                path.mkdir(exist_ok=True)
                _mount(f"/proc/self/fd/{handles[path]}".encode(), str(path), b"", _MS_BIND | _MS_REC)
                os.close(handles[path])
            elif not path.exists():
                path.symlink_to(links[path])


def _resolved(needed: list[Path]) -> tuple[set[Path], dict[Path, str]]:
    """The real folders among `needed`, none inside another; and every symbolic link on the way to them."""
    links: dict[Path, str] = {}
    trees = set()
    for wanted in needed:
        path = Path("/")
        parts = list(wanted.absolute().parts[1:])
        while parts:
            path = path / parts.pop(0)
            if path.is_symlink():
                links[path] = str(path.readlink())
                # Up to here nothing is a link, so ".." means the parent.
                parts = [*Path(os.path.normpath(path.parent / links[path])).parts[1:], *parts]
                path = Path("/")
        trees.add(path if path.is_dir() else path.parent)
    trees = {tree for tree in trees if not trees & set(tree.parents)}
    return trees, {link: target for link, target in links.items() if not trees & set(link.parents)}


def _may_enter(folder: Path, uid: int) -> bool:
    info = folder.stat()
    return bool(info.st_mode & (stat.S_IXUSR if info.st_uid == uid else stat.S_IXOTH))


def _mount(source: bytes, target: str, kind: bytes, flags: int, data: bytes = b"") -> None:
    _call("mount", source, target.encode(), kind, ctypes.c_ulong(flags), data)


def _call(name: str, *arguments: object) -> None:
    if getattr(_libc, name)(*arguments):
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
