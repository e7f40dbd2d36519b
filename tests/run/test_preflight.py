"""Checks whether weights are present and servers answer, without loading or downloading anything."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest

from localgif.errors import PreflightError
from localgif.models.find import Places, Weights
from localgif.run.checks import python
from localgif.run.optimize import optimize
from localgif.run.preflight import cheap_checks, different, digest, load_of, make_sure, server, weights
from localgif.search.progress import Silent
from localgif.settings import EndpointSettings, ModelSettings, Settings
from tests.conftest import WEIGHTS
from tests.support.kit import model, settings
from tests.support.scripted import MODEL, Scripted, serving

EMBEDDED = EndpointSettings(name="embedded", kind="embedded", url=None)


def embedded(name: str, **changes: Any) -> ModelSettings:
    return model("animator", "", endpoint=EMBEDDED, model=name, alias="own", **changes)


@pytest.fixture
def nowhere(tmp_path: Path) -> Places:
    return Places(tmp_path / "cache", (tmp_path / "ollama",))


def test_a_run_downloads_missing_known_weights_unless_offline(nowhere: Places) -> None:
    found = weights(embedded("smollm2:135m"), nowhere, offline=False)
    assert (found.status, found.name) == ("WARN", "weights smollm2:135m")
    assert "downloads 98 MB" in found.evidence and "localgif models pull own" in found.remedy
    found = weights(embedded("smollm2:135m"), nowhere, offline=True)
    assert found.status == "FAIL" and "gguf = " in found.remedy
    assert weights(embedded("unknown:1b"), nowhere, offline=False).status == "FAIL"
    assert load_of(embedded("smollm2:135m"), nowhere) is None


def test_weights_that_are_here_are_shown_with_their_digest(smollm2: Weights) -> None:
    found = weights(embedded("smollm2:135m"), WEIGHTS, offline=True)
    assert (found.status, found.remedy) == ("PASS", "")
    assert str(smollm2.path) in found.evidence and "sha256 b179c9523d0e verified" in found.evidence
    assert digest(embedded("smollm2:135m"), WEIGHTS).evidence.startswith("b179c9523d0e")
    load = load_of(embedded("smollm2:135m", num_ctx=8192), WEIGHTS)
    # 30 layers, 3 heads of 64 for keys and values.
    assert load == ("smollm2:135m", 98_362_432, 2 * 2 * 30 * 3 * 64 * 8192)


def test_other_bytes_under_a_known_name_are_refused(nowhere: Places, tmp_path: Path) -> None:
    file = tmp_path / "w.gguf"
    tensor = struct.pack("<QcIQIQ", 1, b"t", 1, 32, 0, 0)  # of 32 numbers
    file.write_bytes((b"GGUF" + struct.pack("<IQQ", 3, 1, 0) + tensor).ljust(64, b"\0") + bytes(128))
    path = str(file)
    assert weights(embedded("my:1b", path=path), nowhere, offline=True).status == "PASS"
    other = weights(embedded("smollm2:135m", path=path), nowhere, offline=True)
    assert other.status == "FAIL" and "it is not that model" in other.evidence
    assert digest(embedded("my:1b", path=path), nowhere).status == "PASS"
    assert digest(embedded("smollm2:135m", path=path), nowhere).status == "FAIL"
    file.write_bytes(file.read_bytes()[:-1])
    cut = weights(embedded("my:1b", path=path), nowhere, offline=True)
    assert cut.status == "FAIL" and "not a whole GGUF file" in cut.evidence
    file.write_bytes(b"text")
    assert "not a GGUF file" in weights(embedded("my:1b", path=path), nowhere, offline=True).evidence
    file.unlink()
    gone = weights(embedded("my:1b", path=path), nowhere, offline=True)
    assert gone.status == "FAIL" and "correct gguf" in gone.remedy


def test_a_server_is_asked_for_its_version_and_the_model() -> None:
    with serving(Scripted()) as script:
        found = server(model("animator", script.url), offline=True)
        assert (found.status, found.name) == ("PASS", f"server ollama, {MODEL}")
        assert "Ollama API 0.99.0" in found.evidence and "digest abababababab" in found.evidence
        wide = server(model("animator", script.url, num_ctx=8192), offline=False)
        assert wide.status == "WARN" and "num_ctx = 4096" in wide.remedy
        missing = server(model("animator", script.url, model="other:1b"), offline=False)
        assert missing.status == "FAIL" and missing.remedy == "ollama pull other:1b"
        blind = server(model("reflector", script.url, vision=True), offline=False)
        assert blind.status == "FAIL" and "cannot look at pictures" in blind.evidence
    gone = server(model("animator", script.url), offline=False)
    assert gone.status == "FAIL" and "ollama serve" in gone.remedy


def test_offline_asks_no_other_machine() -> None:
    # An address from a network for examples: a request would take the whole timeout.
    found = server(model("animator", "http://192.0.2.1:11434"), offline=True)
    assert found.status == "SKIP" and "192.0.2.1" in found.evidence


def test_a_missing_key_is_a_failure_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VLLM_API_KEY", raising=False)
    endpoint = EndpointSettings(name="vllm", kind="openai", url="http://127.0.0.1:9/v1", api_key_env="VLLM_API_KEY")
    found = server(model("animator", "", endpoint=endpoint), offline=False)
    assert found.status == "FAIL" and "export VLLM_API_KEY=" in found.remedy


def test_a_model_of_both_roles_has_the_larger_window() -> None:
    both = settings("http://127.0.0.1:9")
    assert [m.role for m in different(both)] == ["animator"]
    wide = both.model_copy(update={"reflector": both.reflector.model_copy(update={"num_ctx": 8192, "vision": True})})
    assert [(m.role, m.num_ctx) for m in different(wide)] == [("reflector", 8192)]
    other = both.model_copy(update={"reflector": both.reflector.model_copy(update={"model": "other:1b"})})
    assert [m.model for m in different(other)] == [MODEL, "other:1b"]


def names(found: list[Any]) -> list[str]:
    return [check.name for check in found]


def test_the_checks_without_a_model(tmp_path: Path) -> None:
    with serving(Scripted()) as script:
        ready: Settings = settings(script.url)
        every = list(cheap_checks(ready, tmp_path))
        assert names(every) == [
            "python",
            "packages",
            "variables",
            "disk",
            "sandbox",
            f"server ollama, {MODEL}",
            "memory",
        ]
        assert not [check for check in every if check.status == "FAIL"]
    gone = [check for check in cheap_checks(ready, tmp_path) if check.status == "FAIL"]
    assert names(gone) == [f"server ollama, {MODEL}"]


def test_a_run_checks_the_machine_before_it_asks_a_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(Scripted()) as script:
        wanted: Settings = settings(script.url)
        make_sure(wanted, tmp_path)  # this machine passes
        for name, attribute, value, code, words in (
            ("localgif.run.checks", "LEAST_DISK", 2**80, "E-DISK", "disk: "),
            (
                "localgif.run.preflight",
                "this_python",
                lambda: python((3, 10, 4), "cpython", "Linux"),
                "E-MACHINE",
                "3.10.4",
            ),
        ):
            with monkeypatch.context() as changed:
                changed.setattr(f"{name}.{attribute}", value)
                with pytest.raises(PreflightError) as refused:
                    optimize(wanted, tmp_path / "runs", None, Silent())
            assert refused.value.code == code and refused.value.remedy
            assert words in refused.value.message
        assert script.history == [] and not (tmp_path / "runs").exists()
