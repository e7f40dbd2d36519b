"""Checks of the machine that cost no token: Python, packages, variables, memory, disk."""

from __future__ import annotations

import platform
import re
import shutil
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Literal, NamedTuple

from localgif.endpoint.gguf import GgufFacts
from localgif.records import Record

Status = Literal["PASS", "WARN", "FAIL", "SKIP"]


class Check(Record):
    """One precondition.

    PASS: it holds. WARN: a run starts, but something is not as it should be. FAIL: a run does not start, or what comes
    out of it cannot be trusted. SKIP: it was not looked at, the evidence says why.
    """

    name: str
    status: Status
    evidence: str
    """What was seen, one or a few lines."""
    remedy: str = ""
    """What the user can do about it; "" where nothing is to be done."""


#: The Pythons that requirements.lock was tried with.
TRIED = ((3, 11), (3, 12), (3, 13))

_ENTRY = re.compile(r"^([A-Za-z0-9][\w.-]*)==([^\s;\\]+)[ \t]*(;)?", re.MULTILINE)

_SHOWN = 6


def python(version: tuple[int, int, int], implementation: str, system: str) -> Check:
    """Whether localgif was tried with this Python.

    Args:
        version: As sys.version_info begins.
        implementation: E.g. "cpython".
        system: As platform.system() says.
    """
    words = f"{implementation} {'.'.join(map(str, version))} on {system} {platform.machine()}"
    if implementation != "cpython" or version[:2] < TRIED[0]:
        return Check(name="python", status="FAIL", evidence=words, remedy="use CPython 3.11, 3.12 or 3.13")
    if system != "Linux":
        return Check(
            name="python",
            status="FAIL",
            evidence=f"{words}: the sandbox needs Linux",
            remedy="run localgif on Linux (on Windows: in WSL2)",
        )
    if version[:2] not in TRIED:
        return Check(
            name="python",
            status="WARN",
            evidence=f"{words}, which the locked packages were not tried with",
            remedy="use CPython 3.11, 3.12 or 3.13: LOCALGIF_PYTHON=python3.13 ./scripts/just doctor",
        )
    return Check(name="python", status="PASS", evidence=words)


def this_python() -> Check:
    """The Python that runs this."""
    return python(sys.version_info[:3], sys.implementation.name, platform.system())


def normalised(name: str) -> str:
    """A package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def read_lock(text: str) -> dict[str, dict[str, bool]]:
    """Name -> version -> whether it is for every machine; of some packages there is one version for each Python."""
    locked: dict[str, dict[str, bool]] = {}
    for name, version, marker in _ENTRY.findall(text):
        locked.setdefault(normalised(name), {})[version] = not marker
    return locked


def compare(locked: Mapping[str, Mapping[str, bool]], installed: Mapping[str, str], needed: Collection[str]) -> Check:
    """What is installed against what is locked.

    Args:
        locked: From read_lock.
        installed: Normalised name -> version.
        needed: Names that localgif itself asks for; others may be for other machines or for developers.
    """
    found = {name: installed[name] for name in locked if name in installed}
    other = [
        f"{name} {version} (locked: {' or '.join(locked[name])})"
        for name, version in found.items()
        if version not in locked[name]
    ]
    absent = [name for name in locked if name not in installed and all(locked[name].values())]
    missing = sorted({*needed} - {*installed})
    remedy = "let it be put right: ./scripts/env true (or pip install --require-hashes -r requirements.lock)"
    if missing:
        return Check(name="packages", status="FAIL", evidence=f"not installed: {_some(missing)}", remedy=remedy)
    words = []
    if other:
        words.append(f"{len(other)} of {len(found)} are not as locked: {_some(other)}")
    if absent:
        words.append(f"{len(absent)} that developers or a cluster need are not installed: {_some(absent)}")
    if other:
        return Check(name="packages", status="WARN", evidence="\n".join(words), remedy=remedy)
    words.insert(0, f"{len(found)} packages as requirements.lock has them")
    return Check(name="packages", status="PASS", evidence="; ".join(words))


def these_packages(root: Path | None = None) -> Check:
    """The packages of this environment; skipped where there is no requirements.lock to compare them with.

    Args:
        root: The project's folder; by default the one that holds localgif/.
    """
    lock = (root or Path(__file__).parents[2]) / "requirements.lock"
    try:
        text = lock.read_text(encoding="utf-8")
    except OSError:
        return Check(name="packages", status="SKIP", evidence="localgif was installed without its requirements.lock")
    locked = read_lock(text)
    installed = {}
    for name in locked:
        try:
            installed[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return compare(locked, installed, _needed() & {*locked})


def _needed() -> set[str]:
    """What localgif's own metadata asks for; nothing when it is run from a folder that was never installed."""
    try:
        asked = metadata.requires("localgif") or []
    except metadata.PackageNotFoundError:
        return set()
    names = (re.match(r"[\w.-]+", line) for line in asked if "extra ==" not in line)
    return {normalised(name[0]) for name in names if name}


def _some(names: Collection[str]) -> str:
    shown = list(names)[:_SHOWN]
    rest = len(names) - len(shown)
    return ", ".join(shown) + (f" and {rest} more" if rest else "")


_MEMINFO = Path("/proc/meminfo")

_CGROUP = Path("/sys/fs/cgroup")

GIB = 2**30

MIB = 2**20

#: localgif with its clients and libraries, and one program in the sandbox at a time, bytes.
OURS = 800 * MIB

#: What llama.cpp takes beside weights and window, bytes.
WORK = 300 * MIB

#: Below this a run's folder may not fit, and below that it is tight.
LEAST_DISK = 100 * MIB

LITTLE_DISK = 1 * GIB

#: Variables that make a library of ours, or one that a user adds, report or ask somewhere else.
_TALKATIVE = re.compile(
    r"^(LANGSMITH_|LANGCHAIN_(TRACING|API_KEY|ENDPOINT|PROJECT)|LANGFUSE_|WANDB_|MLFLOW_|COMET_|SENTRY_|OTEL_|"
    r"OPENAI_|ANTHROPIC_|AZURE_|COHERE_|GEMINI_|GOOGLE_API_KEY$|GROQ_|MISTRAL_|OPENROUTER_|HF_TOKEN$|"
    r"HUGGINGFACE_HUB_TOKEN$|HUGGING_FACE_HUB_TOKEN$|LITELLM_(?!LOCAL_MODEL_COST_MAP$|MODE$)|"
    r"(HTTPS?|ALL|FTP)_PROXY$)",
    re.IGNORECASE,
)


def variables(names: Iterable[str]) -> Check:
    """Whether variables are set that make libraries talk to the outside. Their values are not looked at."""
    found = sorted(name for name in names if _TALKATIVE.match(name))
    if not found:
        return Check(name="variables", status="PASS", evidence="none that makes a library report or ask elsewhere")
    return Check(
        name="variables",
        status="WARN",
        evidence=f"set: {', '.join(found)}\nlocalgif switches tracing off, asks no hosted model and uses no proxy for "
        "its endpoints; other programs started from here may",
        remedy=f"unset {' '.join(found)}",
    )


class Memory(NamedTuple):
    """Bytes."""

    total: int
    available: int


def memory_of(meminfo: str, most: str = "", used: str = "", stat: str = "") -> Memory | None:
    """What processes here can have, from /proc/meminfo and, in a container, cgroup v2's memory.max, .current and .stat.

    Pages of files count as used by a container, but make room when they must (inactive_file).
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
    """Of this machine or container; None where nothing tells."""
    return memory_of(_read(_MEMINFO), *(_read(_CGROUP / f"memory.{name}") for name in ("max", "current", "stat")))


class Load(NamedTuple):
    """A model that the embedded endpoint will hold. Bytes."""

    name: str
    weights: int
    window: int
    """Keys and values of the whole window; 0 when the file does not tell."""


def window_bytes(facts: GgufFacts, num_ctx: int) -> int:
    """Keys and values of a window in 16 bits; 0 when the file does not tell what they depend on."""

    def number(key: str) -> int:
        value = facts.metadata.get(f"{facts.architecture}.{key}")
        return value if isinstance(value, int) else 0

    heads = number("attention.head_count")
    kept = number("attention.head_count_kv") or heads
    width = number("attention.key_length") or (number("embedding_length") // heads if heads else 0)
    window = min(num_ctx, facts.context_length) if facts.context_length else num_ctx
    return 2 * 2 * number("block_count") * kept * width * window


def needed(models: Sequence[Load]) -> int:
    """Bytes that a run takes with these models loaded at once."""
    return sum(model.weights + model.window + WORK for model in models) + OURS


def fit(here: Memory | None, models: Sequence[Load]) -> bool:
    """Whether models can be loaded at once now; where nothing tells, they are taken to."""
    return here is None or needed(models) <= here.available


def memory(here: Memory | None, models: Sequence[Load]) -> Check:
    """Whether the embedded models fit, all at once or in turns: what the endpoint will do is decided in the same way.

    Args:
        here: What there is.
        models: Each different one.
    """
    if not models:
        return Check(name="memory", status="SKIP", evidence="no model is loaded by localgif itself")
    if here is None:
        return Check(name="memory", status="SKIP", evidence="this system does not tell how much there is")
    parts = "; ".join(f"{model.name}: weights {_gb(model.weights)}, window {_gb(model.window)}" for model in models)
    words = f"about {_gb(needed(models))} GB needed ({parts}), {_gb(here.available)} of {_gb(here.total)} GB free"
    several = len(models) > 1
    largest = [max(models, key=lambda model: model.weights + model.window)]
    smaller = "name a smaller model, " + ("the same model for both roles, " if several else "") + "or a smaller num_ctx"
    if fit(here, models):
        held = "both models are held at once; " if several else ""
        return Check(name="memory", status="PASS", evidence=held + words)
    if needed(largest) > here.total:
        return Check(
            name="memory", status="FAIL", evidence=f"{words}: there is not enough on this machine", remedy=smaller
        )
    if several and fit(here, largest):
        return Check(
            name="memory",
            status="WARN",
            evidence=f"{words}: no room for both at once: they are loaded in turns, again at each change of role",
            remedy=f"end other programs, {smaller}",
        )
    return Check(
        name="memory",
        status="WARN",
        evidence=f"{words}: the machine may swap, or end the engine in the middle",
        remedy=f"end other programs, {smaller}",
    )


def disk(folder: Path) -> Check:
    """Whether a run's folder has room.

    Args:
        folder: Where runs are kept; it need not exist yet.
    """
    there = next(each for each in (folder.absolute(), *folder.absolute().parents) if each.exists())
    free = shutil.disk_usage(there).free
    words = f"{_gb(free)} GB free in {there}; a run takes a few MB"
    status = "FAIL" if free < LEAST_DISK else "WARN" if free < LITTLE_DISK else "PASS"
    if status == "PASS":
        return Check(name="disk", status="PASS", evidence=words)
    return Check(name="disk", status=status, evidence=words, remedy="free some space, or name another --runs-dir")


def _gb(count: int) -> str:
    return f"{count / 1e9:.1f}"


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
