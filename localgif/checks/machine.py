"""This machine: memory against what the models take, free disk, variables that make libraries talk to the outside."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from localgif.checks.result import Check
from localgif.endpoint.gguf import GgufFacts

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
