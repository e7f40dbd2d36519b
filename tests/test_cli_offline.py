"""`--offline` and what models.toml says about other machines, as users meet it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.scripted import MODEL, Scripted, serving
from tests.support import commands
from tests.support.commands import Done

EMBEDDED = (
    '[roles]\nanimator = "s"\nreflector = "s"\n[endpoints.here]\nkind = "embedded"\n'
    '[models.s]\nendpoint = "here"\nmodel = "smollm2:135m"\n'
)


def localgif(folder: Path, *arguments: str, **environment: str) -> Done:
    """Run in an empty home: no weights are there."""
    places = {"LOCALGIF_HOME": str(folder / "weights"), "OLLAMA_MODELS": str(folder / "none")}
    return commands.localgif(folder, *arguments, **{**places, **environment})


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ("", ("optimize", "--offline")),
        ("", ("serve", "--offline", "--port", "0")),
        ("offline = true\n", ("optimize",)),
    ],
)
def test_offline_missing_weights_end_the_command_and_nothing_is_fetched(
    tmp_path: Path, line: str, command: tuple[str, ...]
) -> None:
    (tmp_path / "models.toml").write_text(line + EMBEDDED)
    # An index that would be asked, if anybody asked: nobody listens there.
    done = localgif(tmp_path, *command, PIP_INDEX_URL="http://127.0.0.1:9/simple")
    assert done.returncode == 3, done.stderr
    assert "offline mode downloads nothing" in done.stderr and "localgif models pull smollm2:135m" in done.stderr
    assert "127.0.0.1:9" not in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "runs").exists()


def test_a_server_elsewhere_is_refused_without_its_key(tmp_path: Path) -> None:
    ollama = EMBEDDED.replace('"embedded"', '"ollama"\nurl = "http://192.0.2.1:11434"')
    (tmp_path / "models.toml").write_text(ollama)
    done = localgif(tmp_path, "optimize")
    assert done.returncode == 2, done.stderr
    assert "[endpoints.here] url = http://192.0.2.1:11434 is not on this machine" in done.stderr
    upstream = localgif(tmp_path, "serve", "--upstream", "http://192.0.2.1:8000/v1", "--port", "0")
    assert upstream.returncode == 2 and "--upstream http://192.0.2.1:8000/v1 is not on this machine" in upstream.stderr


def test_a_model_that_its_server_has_computed_elsewhere_ends_the_run_before_it_begins(tmp_path: Path) -> None:
    with serving(Scripted(animator=["x"], shown={"remote_host": "https://ollama.com:443"})) as server:
        ollama = EMBEDDED.replace('"embedded"', f'"ollama"\nurl = "{server.url}"').replace("smollm2:135m", MODEL)
        (tmp_path / "models.toml").write_text(ollama)
        done = localgif(tmp_path, "optimize")
        assert not server.history
        (tmp_path / "models.toml").write_text(f"offline = false\n{ollama}")
        checked = localgif(tmp_path, "models", "check")
    assert done.returncode == 3 and "https://ollama.com:443" in done.stderr, done.stderr
    assert checked.returncode == 0 and f"{server.url} answers" in checked.stdout
