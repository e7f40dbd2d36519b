"""Checks of this machine that use no model: Python, packages, environment variables, memory, disk."""

from __future__ import annotations

import functools
import platform
import re
import shutil
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Literal, NamedTuple

import psutil
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from localgif.endpoint.gguf import GgufFacts
from localgif.errors import ConfigError, LocalGifError
from localgif.files import exists
from localgif.records import Record

Status = Literal["PASS", "WARN", "FAIL", "SKIP"]


class Check(Record):
    """One precondition of a run.

    PASS: it holds. WARN: a run starts, but may be slow or fail. FAIL: a run does not start, or its results cannot be
    trusted. SKIP: not checked; the evidence says why.
    """

    name: str
    status: Status
    evidence: str
    """What was found, in one or a few lines."""
    remedy: str = ""
    """What the user can do; "" if there is nothing to do."""

    @classmethod
    def passed(cls, name: str, evidence: str) -> Check:
        return cls(name=name, status="PASS", evidence=evidence)

    @classmethod
    def warned(cls, name: str, evidence: str, remedy: str) -> Check:
        return cls(name=name, status="WARN", evidence=evidence, remedy=remedy)

    @classmethod
    def failed(cls, name: str, evidence: str, remedy: str) -> Check:
        return cls(name=name, status="FAIL", evidence=evidence, remedy=remedy)

    @classmethod
    def raised(cls, name: str, error: LocalGifError) -> Check:
        """FAIL, with the message and the remedy of an error."""
        return cls(name=name, status="FAIL", evidence=error.message, remedy=error.remedy)

    @classmethod
    def skipped(cls, name: str, evidence: str) -> Check:
        return cls(name=name, status="SKIP", evidence=evidence)


# --- Python and packages ---------------------------------------------------------------------------------------------

#: The Pythons that requirements.lock was tested with.
_TESTED = ((3, 11), (3, 12), (3, 13))
#: Longest list of packages in a message; the others are counted.
_SHOWN = 6


def python(version: tuple[int, int, int], implementation: str, system: str) -> Check:
    """Whether localgif was tested with this Python; `system` is the value of platform.system()."""
    words = f"{implementation} {'.'.join(map(str, version))} on {system} {platform.machine()}"
    if implementation != "cpython" or version[:2] < _TESTED[0]:
        return Check.failed("python", words, "use CPython 3.11, 3.12 or 3.13")
    if system == "Darwin":
        return Check.warned(
            "python",
            f"{words}: localgif is not tested on a real Mac yet",
            "check the line `sandbox` below, and please report the output of this command",
        )
    if system != "Linux":
        return Check.failed("python", f"{words}: the sandbox needs Linux or macOS", "on Windows, run localgif in WSL2")
    if version[:2] not in _TESTED:
        return Check.warned(
            "python",
            f"{words}: the locked packages are not tested with this version",
            "use CPython 3.11, 3.12 or 3.13: LOCALGIF_PYTHON=python3.13 ./scripts/just doctor",
        )
    return Check.passed("python", words)


def this_python() -> Check:
    """The check of the running Python."""
    return python(sys.version_info[:3], sys.implementation.name, platform.system())


class Pin(NamedTuple):
    """A package of requirements.lock that this machine needs."""

    name: str
    """Normalised."""
    version: str
    hashes: frozenset[str]
    """sha256 of each file of the package, hex."""


def read_lock(text: str) -> tuple[Pin, ...]:
    """The packages of a requirements.lock whose markers match the running Python.

    Raises:
        ConfigError: A line is not "name==version ; marker" with sha256 hashes, or a package occurs twice.
    """
    pins: dict[str, Pin] = {}
    for line in re.sub(r"\\\n", " ", text).splitlines():
        wanted, *hashes = line.split("#")[0].split("--hash=sha256:")
        if not wanted.strip():
            continue
        try:
            found = Requirement(wanted)
        except InvalidRequirement as error:
            raise _bad_lock(f"{wanted.strip()!r}: {error}") from None
        digests = frozenset(digest.strip() for digest in hashes)
        version = str(found.specifier).removeprefix("==")
        name = canonicalize_name(found.name)
        if str(found.specifier) != f"=={version}" or not digests or any(len(digest) != 64 for digest in digests):
            raise _bad_lock(f"{name} has no exact version, or no sha256 hashes")
        if found.marker is not None and not found.marker.evaluate():
            continue
        if name in pins:
            raise _bad_lock(f"{name} occurs twice for this Python")
        pins[name] = Pin(name, version, digests)
    if not pins:
        raise _bad_lock("no packages")
    return tuple(pins.values())


def _bad_lock(what: str) -> ConfigError:
    return ConfigError(f"requirements.lock: {what}", "write it again: ./scripts/lock", code="E-BUNDLE-LOCK")


def compare(locked: Iterable[Pin], installed: Mapping[str, str], needed: Collection[str]) -> Check:
    """The check of the installed packages (normalised name -> version) against the locked ones. Only those in `needed`
    must be installed; the others are for developers or a cluster."""
    pins = {pin.name: pin.version for pin in locked}
    found = {name: installed[name] for name in pins if name in installed}
    other = [f"{name} {version} (locked: {pins[name]})" for name, version in found.items() if version != pins[name]]
    absent = sorted(pins.keys() - installed.keys())
    missing = sorted({*needed} - installed.keys())
    remedy = "install the locked packages: ./scripts/env true (or pip install --require-hashes -r requirements.lock)"
    if missing:
        return Check.failed("packages", f"not installed: {_some(missing)}", remedy)
    words = f"{len(absent)} that only developers or a cluster need are not installed: {_some(absent)}" if absent else ""
    if other:
        wrong = f"{len(other)} of {len(found)} have another version than requirements.lock: {_some(other)}"
        return Check.warned("packages", "\n".join(filter(None, [wrong, words])), remedy)
    right = f"{len(found)} packages have the versions of requirements.lock"
    return Check.passed("packages", "; ".join(filter(None, [right, words])))


def these_packages(root: Path | None = None) -> Check:
    """The check of this environment against the requirements.lock in `root` (default: the folder above localgif/)."""
    lock = (root or Path(__file__).parents[2]) / "requirements.lock"
    try:
        locked = read_lock(lock.read_text(encoding="utf-8"))
    except OSError:
        return Check.skipped("packages", "localgif was installed without its requirements.lock")
    except ConfigError as error:
        return Check.raised("packages", error)
    versions = {pin.name: _installed(pin.name) for pin in locked}
    installed = {name: version for name, version in versions.items() if version is not None}
    return compare(locked, installed, _needed() & versions.keys())


@functools.cache
def _installed(name: str) -> str | None:
    """The version of a package; None if it is not installed. A process that starts several runs reads it once."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _needed() -> set[str]:
    """The packages that localgif's metadata requires; empty if localgif is not installed."""
    try:
        required = [Requirement(line) for line in metadata.requires("localgif") or []]
    except metadata.PackageNotFoundError:
        return set()
    wanted = (each for each in required if each.marker is None or each.marker.evaluate({"extra": ""}))
    return {canonicalize_name(each.name) for each in wanted}


def _some(names: Sequence[str]) -> str:
    rest = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")


# --- variables -------------------------------------------------------------------------------------------------------

#: Variables that make a library of localgif, or one that a user adds, connect to another server.
_TALKATIVE = re.compile(
    r"^(LANGSMITH_|LANGCHAIN_(TRACING|API_KEY|ENDPOINT|PROJECT)|LANGFUSE_|WANDB_|MLFLOW_|COMET_|SENTRY_|OTEL_|"
    r"OPENAI_|ANTHROPIC_|AZURE_|COHERE_|GEMINI_|GOOGLE_API_KEY$|GROQ_|MISTRAL_|OPENROUTER_|HF_TOKEN$|"
    r"HUGGINGFACE_HUB_TOKEN$|HUGGING_FACE_HUB_TOKEN$|LITELLM_(?!LOCAL_MODEL_COST_MAP$|MODE$)|"
    r"(HTTPS?|ALL|FTP)_PROXY$)",
    re.IGNORECASE,
)


def variables(names: Iterable[str]) -> Check:
    """Whether a variable is set that makes libraries connect to other servers. Values are not read."""
    found = sorted(name for name in names if _TALKATIVE.match(name))
    if not found:
        return Check.passed("variables", "none that makes a library connect to another server")
    return Check.warned(
        "variables",
        f"set: {', '.join(found)}\nlocalgif turns tracing off, uses no hosted model and no proxy for its endpoints; "
        "other programs started from this shell may use them",
        f"unset {' '.join(found)}",
    )


# --- memory and disk -------------------------------------------------------------------------------------------------

_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")

GIB = 2**30
_MIB = 2**20
#: Memory of localgif with its libraries and one program in the sandbox, bytes.
OURS = 800 * _MIB
#: Memory of llama.cpp besides weights and window, bytes.
WORK = 300 * _MIB
#: Below this free space the check fails, bytes.
LEAST_DISK = 100 * _MIB
#: Below this free space the check warns, bytes.
_LITTLE_DISK = 1 * GIB


class Memory(NamedTuple):
    """Bytes."""

    total: int
    available: int


def memory_of(meminfo: str, most: str = "", used: str = "", stat: str = "") -> Memory | None:
    """The memory that processes on this machine can use; None if unknown.

    Args:
        meminfo: The text of /proc/meminfo.
        most: In a container, the text of cgroup v2's memory.max; `used` and `stat` are memory.current and memory.stat.
            A container's use includes cached file pages (inactive_file), which the kernel frees on demand.
    """
    found = dict(re.findall(r"^(MemTotal|MemAvailable):\s+(\d+) kB", meminfo, re.MULTILINE))
    if len(found) < 2:
        return None
    total, available = 1024 * int(found["MemTotal"]), 1024 * int(found["MemAvailable"])
    if most.strip().isdigit() and used.strip().isdigit():
        reclaimable = re.search(r"^inactive_file (\d+)", stat, re.MULTILINE)
        room = int(most) - int(used) + (int(reclaimable[1]) if reclaimable else 0)
        total, available = min(total, int(most)), min(available, max(0, room))
    return Memory(total, available)


def this_memory() -> Memory | None:
    """The memory of this machine or container; None if unknown."""
    meminfo = _read(_MEMINFO)
    if not meminfo:  # not Linux, so no container either
        found = psutil.virtual_memory()
        return Memory(found.total, found.available)
    return memory_of(meminfo, *(_read(_CGROUP / f"memory.{name}") for name in ("max", "current", "stat")))


class Load(NamedTuple):
    """Memory of a model in the embedded endpoint, in bytes."""

    name: str
    weights: int
    window: int
    """Keys and values of the whole window; 0 if unknown."""


def window_bytes(facts: GgufFacts, num_ctx: int) -> int:
    """The memory of a window's 16-bit keys and values, in bytes; 0 if the file lacks the numbers for it."""

    def number(key: str) -> int:
        value = facts.metadata.get(f"{facts.architecture}.{key}")
        return value if isinstance(value, int) else 0

    heads = number("attention.head_count")
    kept = number("attention.head_count_kv") or heads
    width = number("attention.key_length") or (number("embedding_length") // heads if heads else 0)
    window = min(num_ctx, facts.context_length) if facts.context_length else num_ctx
    return 2 * 2 * number("block_count") * kept * width * window


def needed(models: Sequence[Load]) -> int:
    """The memory of a run that has these models loaded together, in bytes."""
    return sum(model.weights + model.window + WORK for model in models) + OURS


def fit(here: Memory | None, models: Sequence[Load]) -> bool:
    """Whether the models fit into memory together now; True if the memory is unknown."""
    return here is None or needed(models) <= here.available


def memory(here: Memory | None, models: Sequence[Load]) -> Check:
    """Whether these embedded models fit into memory, together or in turns. The endpoint applies the same rule."""
    if not models:
        return Check.skipped("memory", "no embedded model")
    if here is None:
        return Check.skipped("memory", "this system does not report its memory")
    parts = "; ".join(f"{model.name}: weights {_gb(model.weights)}, window {_gb(model.window)}" for model in models)
    words = f"about {_gb(needed(models))} GB needed ({parts}), {_gb(here.available)} of {_gb(here.total)} GB free"
    several = len(models) > 1
    largest = [max(models, key=lambda model: model.weights + model.window)]
    smaller = "use a smaller model, " + ("the same model for both roles, " if several else "") + "or a smaller num_ctx"
    if fit(here, models):
        return Check.passed("memory", ("both models stay loaded; " if several else "") + words)
    if needed(largest) > here.total:
        return Check.failed("memory", f"{words}: this machine does not have enough", smaller)
    remedy = f"stop other programs, {smaller}"
    if several and fit(here, largest):
        turns = "only one fits at a time, so localgif loads a model again at each change of role"
        return Check.warned("memory", f"{words}: {turns}", remedy)
    return Check.warned("memory", f"{words}: the machine may swap, or kill the engine during a run", remedy)


def disk(folder: Path) -> Check:
    """Whether the disk has space for a run in `folder`, which may not exist yet."""
    there = next(each for each in (folder.absolute(), *folder.absolute().parents) if exists(each))
    free = shutil.disk_usage(there).free
    words = f"{_gb(free)} GB free in {there}; a run takes a few MB"
    remedy = "free some space, or choose another --runs-dir"
    if free < LEAST_DISK:
        return Check.failed("disk", words, remedy)
    return Check.warned("disk", words, remedy) if free < _LITTLE_DISK else Check.passed("disk", words)


def _gb(count: int) -> str:
    return f"{count / 1e9:.1f}"


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
