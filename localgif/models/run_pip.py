"""Runs pip or uv with only the user's settings that lead to the index, as a script that imports nothing of localgif.

`python -I run_pip.py download ...` runs pip. `python -I run_pip.py sync LOCK`, which scripts/env runs before anything
is installed, installs a lock with the uv that it pins: in seconds, where pip takes a minute. Other settings of the
user, such as `user`, `target`, `prefix`, `require-virtualenv` or `no-binary`, would put packages elsewhere, or refuse
them.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

#: The settings that pip keeps.
_KEPT = ("index-url", "extra-index-url", "find-links", "no-index", "trusted-host", "cert", "client-cert", "proxy")
_ALSO = ("retries", "timeout", "default-timeout", "cache-dir", "keyring-provider")
#: The same in uv's words.
_IN_UV = {
    "PIP_INDEX_URL": ("UV_DEFAULT_INDEX",),
    "PIP_EXTRA_INDEX_URL": ("UV_INDEX",),
    "PIP_FIND_LINKS": ("UV_FIND_LINKS",),
    "PIP_TRUSTED_HOST": ("UV_INSECURE_HOST",),
    "PIP_CERT": ("SSL_CERT_FILE",),
    "PIP_CLIENT_CERT": ("SSL_CLIENT_CERT",),
    "PIP_PROXY": ("HTTP_PROXY", "HTTPS_PROXY"),
    "PIP_RETRIES": ("UV_HTTP_RETRIES",),
    "PIP_DEFAULT_TIMEOUT": ("UV_HTTP_TIMEOUT",),
    "PIP_TIMEOUT": ("UV_HTTP_TIMEOUT",),
    "PIP_KEYRING_PROVIDER": ("UV_KEYRING_PROVIDER",),
}
_CHECKED = ("--require-hashes", "--only-binary=:all:")


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


def pin_of(package: str, lock: str) -> str:
    """The lines of one package in the text of a lock: its version and its hashes; "" if it has none."""
    found = re.search(rf"^{re.escape(package)}==[^\\\n]*(?:\\\n[^\\\n]*)*\n", lock, re.MULTILINE)
    return found[0] if found else ""


def with_uv(uv: Path, python: str, lock: Path, pips: Mapping[str, str], others: Mapping[str, str]) -> int:
    """Install a lock into the environment of `python` with uv; returns its exit code.

    Args:
        pips: As from `settings`.
        others: All other variables.
    """
    variables = {name: value for pip, value in pips.items() for name in _IN_UV.get(pip, ())}
    if "UV_FIND_LINKS" in variables:
        variables["UV_FIND_LINKS"] = variables["UV_FIND_LINKS"].replace(" ", ",")
    offline = ["--no-index"] if pips.get("PIP_NO_INDEX", "0").lower() in ("1", "true", "yes", "on") else []
    # Beside the environment, so that files are linked and not copied; uv's own cache would keep them all.
    cache = tempfile.mkdtemp(prefix="uv-", dir=uv.parent)
    # Like pip, uv must look at every index for a version that the lock has; the hashes decide what is installed.
    how = ("--no-config", "--quiet", "--index-strategy", "unsafe-best-match", "--python", python, "--cache-dir", cache)
    try:
        command = [str(uv), "pip", "install", *how, *offline, *_CHECKED, "-r", str(lock)]
        kept = {name: value for name, value in others.items() if not name.startswith("UV_")}
        return subprocess.run(command, env={**kept, **variables}, check=False).returncode
    finally:
        shutil.rmtree(cache, ignore_errors=True)


def main() -> None:
    """Do what the arguments of this process say."""
    pip = [sys.executable, "-I", "-m", "pip"]
    listed = subprocess.run([*pip, "config", "list"], stdout=subprocess.PIPE, text=True, check=False)
    if listed.returncode:
        sys.exit(listed.returncode)
    others = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "PYTHON"))}
    pips = settings(listed.stdout)
    environment = {**others, **pips, "PIP_CONFIG_FILE": os.devnull}
    if sys.argv[1] != "sync":
        os.execve(sys.executable, [*pip, *sys.argv[1:]], environment)
    lock, uv = Path(sys.argv[2]), Path(sys.prefix) / "bin" / "uv"
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as pin:
        pin.write(pin_of("uv", lock.read_text("utf-8")))
        pin.flush()
        quiet = ("--require-virtualenv", "--quiet", "--disable-pip-version-check", "--no-input", "--no-deps")
        got = subprocess.run([*pip, "install", *quiet, *_CHECKED, "-r", pin.name], env=environment, check=False)
    sys.exit(got.returncode or with_uv(uv, sys.executable, lock, pips, others))


if __name__ == "__main__":
    main()
