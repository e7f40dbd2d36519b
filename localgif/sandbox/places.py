"""What every program may read, whichever layer enforces it: Python, its packages, libraries, fonts, time zones."""

from __future__ import annotations

import importlib.util
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

#: The packages that programs draw with, and beside each the folder of its shared libraries.
_PACKAGES = {"PIL": "pillow.libs", "numpy": "numpy.libs"}


def readable() -> list[Path]:
    """The readable places that exist on this machine.

    They exclude the prefix itself, because an environment can be in a home folder. If `pip install --user` put packages
    into a home folder, only the packages that programs draw with are readable there.
    """
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    bases = {"base": sys.base_prefix, "platbase": sys.base_exec_prefix}
    places = {sysconfig.get_path(name) for name in names} | {sysconfig.get_path(n, vars=bases) for n in names}
    places |= {f"{prefix}/{lib}" for prefix in (sys.base_prefix, "/usr", "/usr/local", "") for lib in ("lib", "lib64")}
    shared = ("fonts", "zoneinfo")
    places |= {f"{prefix}/share/{name}" for prefix in ("/usr", "/usr/local") for name in shared}
    places |= {"/etc/localtime", "/dev/urandom"} | {place for name in _PACKAGES for place in _folders_of(name)}
    real = {Path(place).resolve() for place in places if Path(place).exists()}
    # A rule covers everything below its path, and fewer rules make every start a little faster.
    return sorted(path for path in real if real.isdisjoint(path.parents))


def _folders_of(package: str) -> Iterator[str]:
    """The folder of a package, and the folder of its wheel's shared libraries."""
    spec = importlib.util.find_spec(package)
    for folder in (spec and spec.submodule_search_locations) or ():
        yield folder
        yield str(Path(folder).parent / _PACKAGES[package])
