"""Finds out how far this machine confines programs, by running harmless attacks on itself.

The kernel's return codes prove nothing: a container may swallow a call, and a table of system calls may be wrong on a
new machine. So small programs try forbidden things in ordinary confined processes, and localgif checks from outside
whether they succeeded. The level is the strongest one that refuses every attack that it promises to refuse, and still
runs a harmless program.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from typing import Any, NamedTuple

from localgif.errors import SandboxError, SandboxTooWeak
from localgif.records import Limits, SandboxRecord
from localgif.sandbox import jobs, keeper_client, seatbelt, watch
from localgif.sandbox.jobs import DEFAULT_LIMITS, PROMISES, insist, run_confined
from localgif.sandbox.protocol import (
    FULL,
    KEEPERS,
    LANDLOCK,
    LAYERS,
    LEVELS,
    NO_READ_CONFINEMENT,
    OUTPUT_NAME,
    SEATBELT,
    SECCOMP,
    WRITE_FILTER,
    Ended,
    Job,
    LayerMissing,
    is_weaker,
)

# --- the decision of this process --------------------------------------------------------------------------------


class Probe(NamedTuple):
    """The outcome of one attack."""

    name: str
    refused: bool
    layer: str
    """The layer that refuses it at the level found; if that level has none, a layer that would."""


class Check(NamedTuple):
    """What this machine offers."""

    level: str
    probes: tuple[Probe, ...]
    missing: tuple[str, ...]
    """Why this machine does not offer each stronger level, and what it lacks at the level found."""
    lacking: tuple[str, ...] = ()
    """Layers and resource limits of the level found that this system does not have."""


_lock = threading.Lock()
checked: Check | None = None
accepted = NO_READ_CONFINEMENT


def decide(accept: str | None = None) -> Check:
    """The level at which this process runs programs; probed at the first call, and the same from then on.

    Args:
        accept: From now on the weakest level that will do. None: as before; at first no-read-confinement.

    Raises:
        SandboxTooWeak: This machine offers less.
        SandboxError: Our machinery failed.
    """
    global checked, accepted
    with _lock:
        accepted = accept or accepted
        checked = checked or check()
        if is_weaker(checked.level, accepted):
            raise SandboxTooWeak(
                f"this machine confines programs only at level {checked.level}, which is weaker than {accepted}:\n"
                f"{PROMISES[checked.level]}\n" + "\n".join(checked.missing),
                "Use a kernel and a container that offer seccomp and Landlock (see docs/security.md),\n"
                f"or accept the risk: --sandbox-level {checked.level}",
            )
        return checked


def describe(limits: Limits = DEFAULT_LIMITS) -> SandboxRecord:
    """The record of the sandbox that run.json stores; raises as decide()."""
    found = decide()
    return SandboxRecord(
        **limits.model_dump(),
        level=found.level,
        layers=tuple(sorted(LAYERS[found.level].difference(found.lacking))),
        root=os.geteuid() == 0,
        notes=(PROMISES[found.level], *found.missing),
    )


def check() -> Check:
    """Tries the levels, strongest first, until one holds; takes about 0.1 s after the start of a keeper.

    Raises:
        SandboxError: No level runs a harmless program, or our machinery failed.
    """
    jobs.sweep_once()
    levels, missing = _worth_trying()
    with _Target() as target:
        for level in levels:
            try:
                broken, lacking = _harmless_fault(level)
                probes = tuple(_probe(attack, level, target) for attack in ATTACKS)
            except LayerMissing as error:
                missing.append(f"{level}: {error.message}")
                continue
            if not broken:
                promised = (bool(LAYERS[level].intersection(attack.layers)) for attack in ATTACKS)
                names = [each.name for each, kept in zip(probes, promised, strict=True) if kept and not each.refused]
                broken = f"these were not refused: {', '.join(names)}" if names else ""
            if not broken:
                if lacking:
                    missing.append(f"{level}: this system lacks {', '.join(lacking)}")
                return Check(level, probes, tuple(missing), lacking)
            missing.append(f"{level}: {broken}")
    raise SandboxError(
        f"a harmless program does not run here: {missing[-1]}", "Run `localgif sandbox check` to try again."
    )


def _worth_trying() -> tuple[list[str], list[str]]:
    """The levels whose machinery exists here, strongest first; and why the others are not tried."""
    levels, missing = [*LEVELS], []
    why = keeper_client.missing()
    if why:
        levels = [level for level in levels if not LAYERS[level] & KEEPERS]
        missing.append(f"{FULL}: {why}")
    if not seatbelt.SANDBOX_EXEC.exists():
        levels.remove(SEATBELT)
        if why:
            missing.append(f"{SEATBELT}: there is no {seatbelt.SANDBOX_EXEC}")
    return levels, missing


# --- the attacks -------------------------------------------------------------------------------------------------

#: Probes take milliseconds; a slow machine may need more.
_LIMITS = Limits(cpu_seconds=2, wall_seconds=10)
_CANARY = b"this file must not be touched"


class Attack(NamedTuple):
    """Something that must be refused."""

    name: str
    layers: tuple[str, ...]
    """Each of these alone refuses it."""
    code: str
    """Raises if it is refused. {canary} is a file outside its directory, {tcp} and {udp} ports on loopback."""


ATTACKS = (
    Attack("write a file outside", (LANDLOCK, WRITE_FILTER, SEATBELT), "open({canary!r}, 'ab').write(b'!')"),
    Attack("delete a file outside", (LANDLOCK, WRITE_FILTER, SEATBELT), "os.unlink({canary!r})"),
    Attack("read a file outside", (LANDLOCK, SEATBELT), "open({canary!r}, 'rb').read()"),
    Attack("change a file's mode", (SECCOMP, SEATBELT), "os.chmod({canary!r}, 0o777)"),
    Attack("connect over TCP", (SECCOMP, SEATBELT), "socket.create_connection(('127.0.0.1', {tcp}), 1)"),
    Attack(
        "send over UDP",
        (SECCOMP, SEATBELT),
        "socket.socket(type=socket.SOCK_DGRAM).sendto(b'!', ('127.0.0.1', {udp}))",
    ),
    Attack("open a local socket", (SECCOMP, SEATBELT), "socket.socket(socket.AF_UNIX).bind('socket')"),
    Attack("start a process", (SECCOMP, SEATBELT), "os.fork() or os._exit(0)"),
    Attack("signal the parent", (SECCOMP, SEATBELT), "os.kill(os.getppid(), signal.SIGCONT)"),
    Attack("signal the parent by a file", (SECCOMP,), "fcntl.fcntl(0, fcntl.F_SETOWN, os.getppid())"),
    Attack("become another program", (SECCOMP, LANDLOCK, SEATBELT), "os.execv('/bin/echo', ['echo', 'done'])"),
)

_ATTACK_PROGRAM = """
import fcntl, os, signal, socket
def make_gif(path):
    try:
        {code}
    except OSError as error:
        print("refused")
    else:
        print("done")
"""
#: Loads a module that is not in memory yet, draws text, writes, moves nothing.
_HARMLESS_PROGRAM = """
import decimal
from PIL import Image, ImageDraw
def make_gif(path):
    frame = Image.new("P", (16, 16), int(decimal.Decimal(1)))
    ImageDraw.Draw(frame).text((1, 1), "a", fill=2)
    frame.save(path)
"""


class _Target(contextlib.ExitStack):
    """What the attacks aim at; all of it is ours."""

    def __init__(self) -> None:
        super().__init__()
        self.canary = self.enter_context(watch.job_directory()) / "canary"
        try:
            self.tcp = self.enter_context(socket.create_server(("127.0.0.1", 0)))
            self.udp = self.enter_context(socket.socket(type=socket.SOCK_DGRAM))
            self.udp.bind(("127.0.0.1", 0))
            self.tcp.setblocking(False)
            self.udp.setblocking(False)
            self.reset()
        except OSError as error:
            self.close()
            raise SandboxError(
                f"the sandbox's probes cannot set up their targets: {error}",
                "Check that the loopback interface is up and that there is free disk space.",
            ) from error

    def reset(self) -> None:
        self.canary.unlink(missing_ok=True)
        self.canary.write_bytes(_CANARY)
        self.canary.chmod(0o600)

    def is_untouched(self) -> bool:
        """Whether nothing was changed and nothing was received."""
        try:
            intact = self.canary.read_bytes() == _CANARY and self.canary.stat().st_mode & 0o777 == 0o600
        except OSError:
            return False
        for receive in (self.tcp.accept, lambda: self.udp.recv(1)):
            with contextlib.suppress(BlockingIOError):
                got: Any = receive()
                if isinstance(got, tuple):
                    got[0].close()
                intact = False
        return intact


def _run(source: str, level: str) -> tuple[Ended, str, bool]:
    """How a program ended, what it printed, and whether it wrote an output."""

    def attempt() -> tuple[Ended, str, bool]:
        with watch.job_directory() as directory:
            ended = run_confined(Job("program", source.encode(), LAYERS[level]), _LIMITS, directory)
            wrote = (directory / OUTPUT_NAME).is_file() and (directory / OUTPUT_NAME).stat().st_size > 0
        return ended, ended.output.decode(errors="replace").strip(), wrote

    return insist(attempt)


def _harmless_fault(level: str) -> tuple[str, tuple[str, ...]]:
    """Why a harmless program does not work, empty if it does; and what this system does not enforce."""
    ended, said, wrote = _run(_HARMLESS_PROGRAM, level)
    fault = f"a harmless program ended with status {ended.status}: {said[-500:] or '-'}"
    return "" if ended.status == 0 and wrote else fault, ended.lacking


def _probe(attack: Attack, level: str, target: _Target) -> Probe:
    tcp, udp = (each.getsockname()[1] for each in (target.tcp, target.udp))
    code = attack.code.format(canary=str(target.canary), tcp=tcp, udp=udp)
    ended, said, _ = _run(_ATTACK_PROGRAM.format(code=code), level)
    untouched = target.is_untouched()  # always: what arrived must not count for the next attack
    refused = (ended.status, said) == (0, "refused") and untouched
    if not refused:
        target.reset()
    layer = next((name for name in attack.layers if name in LAYERS[level]), attack.layers[0])
    return Probe(attack.name, refused, layer)
