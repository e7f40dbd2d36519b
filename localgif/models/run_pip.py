"""Runs pip with only the user's settings that lead to the index, as a script: `python -I run_pip.py download ...`.

scripts/env runs it before anything is installed, so it imports nothing of localgif. Other settings of the user, such as
`user`, `target`, `prefix`, `require-virtualenv` or `no-binary`, would put packages elsewhere or refuse them.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys

#: The settings that pip keeps.
_KEPT = ("index-url", "extra-index-url", "find-links", "no-index", "trusted-host", "cert", "client-cert", "proxy")
_ALSO = ("retries", "timeout", "default-timeout", "cache-dir", "keyring-provider")


def settings(listed: str) -> dict[str, str]:
    """Variables for pip from the output of `pip config list`; a variable of the shell overrides the setting of a
    command, which overrides a global one."""
    found: dict[str, tuple[int, str]] = {}
    for line in listed.splitlines():
        key, _, value = line.partition("=")
        section, _, name = key.rpartition(".")
        rank = {"global": 0, "install": 1, "download": 1, ":env:": 2}.get(section)
        if rank is not None and name in (*_KEPT, *_ALSO) and rank >= found.get(name, (0, ""))[0]:
            found[name] = rank, " ".join(str(ast.literal_eval(value)).split())
    return {f"PIP_{name.upper().replace('-', '_')}": value for name, (_, value) in found.items()}


def main() -> None:
    """Run pip with the arguments of this process."""
    pip = [sys.executable, "-I", "-m", "pip"]
    listed = subprocess.run([*pip, "config", "list"], stdout=subprocess.PIPE, text=True, check=False)
    if listed.returncode:
        sys.exit(listed.returncode)
    others = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "PYTHON"))}
    os.execve(
        sys.executable, [*pip, *sys.argv[1:]], {**others, **settings(listed.stdout), "PIP_CONFIG_FILE": os.devnull}
    )


if __name__ == "__main__":
    main()
