"""The checks of Python, packages, variables, memory and disk: their statuses and messages."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.utils import canonicalize_name

from localgif.endpoint.gguf import GgufFacts
from localgif.errors import ConfigError
from localgif.run import checks
from localgif.run.checks import (
    GIB,
    OURS,
    WORK,
    Check,
    Load,
    Memory,
    compare,
    disk,
    fit,
    memory,
    memory_of,
    python,
    read_lock,
    these_packages,
    variables,
    window_bytes,
)

ROOT = Path(__file__).parents[2]


def outcome(check: Check) -> tuple[str, bool]:
    """The status, and whether there is a remedy."""
    return check.status, bool(check.remedy)


@pytest.mark.parametrize(
    ("version", "implementation", "system", "status"),
    [
        ((3, 11, 2), "cpython", "Linux", "PASS"),
        ((3, 13, 0), "cpython", "Linux", "PASS"),
        ((3, 14, 1), "cpython", "Linux", "WARN"),
        ((3, 10, 9), "cpython", "Linux", "FAIL"),
        ((3, 12, 1), "pypy", "Linux", "FAIL"),
        ((3, 12, 1), "cpython", "Darwin", "WARN"),
        ((3, 12, 1), "cpython", "Windows", "FAIL"),
    ],
)
def test_untested_pythons_are_reported(
    version: tuple[int, int, int], implementation: str, system: str, status: str
) -> None:
    found = python(version, implementation, system)
    assert outcome(found) == (status, status != "PASS")
    assert ".".join(map(str, version)) in found.evidence


def entry(name: str, version: str, marker: str = "", hashes: int = 1) -> str:
    digests = " \\\n".join(f"    --hash=sha256:{i:064x}" for i in range(hashes))
    return f"{name}=={version}{f' ; {marker}' if marker else ''} \\\n{digests}\n"


LOCK = "# made by scripts/lock\n" + entry("a", "1.0") + entry("b-c", "2.1.post1", "sys_platform == 'win32'")
LOCK += entry("numpy", "2.4", "python_full_version < '3'") + entry("numpy", "2.5", "python_full_version >= '3'")


def test_the_lock_is_read_for_this_machine() -> None:
    assert [(pin.name, pin.version) for pin in read_lock(LOCK)] == [("a", "1.0"), ("numpy", "2.5")]
    real = {pin.name: pin.version for pin in read_lock((ROOT / "requirements.lock").read_text())}
    assert {"pip", "rust-just", "hatchling", "editables", "xllamacpp", "hf-xet"} <= real.keys()
    assert not {"colorama", "httpx2-jsfetch"} & real.keys(), "for other systems"
    here = {name: metadata.version(name) for name in ("numpy", "scipy", "contourpy", "litellm", "gepa", "pip")}
    assert {name: real[name] for name in here} == here, "pip came to the same when it made this environment"


NAMES = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,12}[a-z0-9])?", fullmatch=True).map(canonicalize_name)
VERSIONS = st.from_regex(r"[0-9]{1,3}(\.[0-9]{1,4}){0,3}(rc1|\.post1)?", fullmatch=True)
MARKERS = st.sampled_from(["", "sys_platform == 'linux'", "sys_platform == 'win32'", "python_full_version < '3'"])


@given(st.dictionaries(NAMES, st.tuples(VERSIONS, MARKERS, st.integers(1, 9)), min_size=1, max_size=20))
def test_any_lock_is_read_back(packages: dict[str, tuple[str, str, int]]) -> None:
    text = entry("always", "1") + "".join(entry(name, *rest) for name, rest in packages.items())
    wanted = {name: (v, n) for name, (v, m, n) in packages.items() if "win32" not in m and "<" not in m}
    found = {pin.name: (pin.version, len(pin.hashes)) for pin in read_lock(text)}
    assert found == {"always": ("1", 1), **wanted}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no packages"),
        ("# nothing but a comment\n", "no packages"),
        ("numpy==2.0\n", "numpy has no exact version, or no sha256 hashes"),
        ("scipy>=1 \\\n    --hash=sha256:" + "0" * 64, "scipy has no exact version"),
        (entry("numpy", "2.0").replace("0" * 8, "xyz"), "numpy has no exact version, or no sha256"),
        (entry("numpy", "2.0", "moon_phase == 'full'"), "numpy"),
        (entry("numpy", "2.0") + entry("NumPy", "2.1"), "numpy occurs twice"),
    ],
)
def test_a_bad_lock_is_refused(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        read_lock(text)


@pytest.mark.parametrize(
    ("installed", "needed", "status", "said"),
    [
        ({"a": "1.0", "numpy": "2.5"}, {"a"}, "PASS", "2 packages have the versions of requirements.lock"),
        ({"numpy": "2.5"}, set(), "PASS", "1 that only developers or a cluster need are not installed: a"),
        ({"a": "1.1", "numpy": "2.5"}, {"a"}, "WARN", "a 1.1 (locked: 1.0)"),
        ({"numpy": "2.5"}, {"a"}, "FAIL", "not installed: a"),
    ],
)
def test_installed_against_locked(installed: dict[str, str], needed: set[str], status: str, said: str) -> None:
    found = compare(read_lock(LOCK), installed, needed)
    assert found.status == status
    assert said in found.evidence
    assert bool(found.remedy) == (status != "PASS")


def test_this_environment_is_checked_and_a_folder_without_lock_skipped(tmp_path: Path) -> None:
    assert these_packages().status in ("PASS", "WARN")
    assert these_packages(tmp_path).status == "SKIP"
    (tmp_path / "requirements.lock").write_text(entry("pytest", "0.1"))
    found = these_packages(tmp_path)
    assert (found.status, "locked: 0.1" in found.evidence) == ("WARN", True)


@pytest.mark.parametrize(
    "name",
    [
        "LANGSMITH_TRACING",
        "LANGCHAIN_TRACING_V2",
        "OPENAI_API_KEY",
        "WANDB_API_KEY",
        "https_proxy",
        "HTTP_PROXY",
        "HF_TOKEN",
    ],
)
def test_a_talkative_variable_is_named_without_its_value(name: str) -> None:
    found = variables(["PATH", name, "LANG"])
    assert (found.status, found.remedy) == ("WARN", f"unset {name}")
    assert name in found.evidence


def test_usual_variables_pass() -> None:
    usual = ["PATH", "HOME", "LANG", "NO_PROXY", "LITELLM_MODE", "LITELLM_LOCAL_MODEL_COST_MAP", "HF_HUB_OFFLINE"]
    assert variables([*usual, "LANGUAGE", "LOCALGIF_HOME", "OLLAMA_HOST"]).status == "PASS"


MEMINFO = "MemTotal:       16000000 kB\nMemFree: 1 kB\nMemAvailable:    8000000 kB\n"


def test_memory_of_a_machine_and_of_a_container() -> None:
    assert memory_of(MEMINFO) == Memory(16_384_000_000, 8_192_000_000)
    assert memory_of(MEMINFO, "max\n", "5\n") == memory_of(MEMINFO), "no limit"
    assert memory_of(MEMINFO, "3000\n", "2500\n", "anon 1\ninactive_file 400\n") == Memory(3000, 900)
    assert memory_of(MEMINFO, "3000", "3500") == Memory(3000, 0)
    assert memory_of("") is None


def test_memory_of_a_system_without_proc_is_asked_of_psutil(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "_MEMINFO", Path("/nonexistent"))
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(total=7, available=3))
    assert checks.this_memory() == Memory(7, 3)


@given(st.integers(0, 2**44), st.integers(0, 2**44), st.lists(st.integers(0, 2**38), min_size=1, max_size=2))
def test_memory_fails_if_a_model_can_never_fit_and_warns_if_not_now(
    total: int, available: int, sizes: list[int]
) -> None:
    here = Memory(total, min(available, total))
    models = [Load(f"m{i}", size, 0) for i, size in enumerate(sizes)]
    everything, largest = sum(sizes) + len(sizes) * WORK + OURS, max(sizes) + WORK + OURS
    expected = "PASS" if everything <= here.available else "FAIL" if largest > total else "WARN"
    found = memory(here, models)
    assert outcome(found) == (expected, expected != "PASS")
    assert fit(here, models) == (expected == "PASS")
    assert ("both models stay loaded" in found.evidence) == (expected == "PASS" and len(models) == 2)
    in_turns = expected == "WARN" and len(models) == 2 and largest <= here.available
    assert ("loads them in turns" in found.evidence) == in_turns


def test_memory_without_models_or_of_unknown_size_is_skipped() -> None:
    assert memory(None, [Load("m", GIB, 0)]).status == "SKIP"
    assert memory(Memory(GIB, GIB), []).status == "SKIP"


def test_a_windows_memory_is_its_keys_and_values() -> None:
    facts = GgufFacts(
        architecture="qwen2",
        metadata={
            "qwen2.block_count": 28,
            "qwen2.attention.head_count": 12,
            "qwen2.attention.head_count_kv": 2,
            "qwen2.embedding_length": 1536,
        },
        context_length=32768,
    )
    assert window_bytes(facts, 8192) == 2 * 2 * 28 * 2 * 128 * 8192
    assert window_bytes(facts, 10**6) == window_bytes(facts, 32768), "no more than it was trained for"
    assert window_bytes(GgufFacts(), 8192) == 0


def test_disk_space_is_checked_where_the_folder_will_be(tmp_path: Path) -> None:
    found = disk(tmp_path / "runs" / "deeper")
    assert found.status in ("PASS", "WARN")
    assert str(tmp_path) in found.evidence and "deeper" not in found.evidence
