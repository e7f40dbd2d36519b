"""scripts/env and scripts/just: arguments arrive unharmed, and what is missing is said clearly."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
TOOLS = ("sh", "dirname", "head", "cat", "cmp", "mktemp", "rm", "mv", "tail", "grep", "uname", "env")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A copy of what the scripts need, without an environment."""
    copy = tmp_path / "a folder with spaces"
    shutil.copytree(ROOT / "scripts", copy / "scripts")
    (copy / "localgif" / "models").mkdir(parents=True)
    for name in ("requirements.lock", "pyproject.toml", "localgif/models/run_pip.py"):
        shutil.copy(ROOT / name, copy / name)
    (copy / "Justfile").write_text(
        "set positional-arguments := true\nshow *args:\n    @scripts/env printf '[%s]' \"$@\"\n"
    )
    return copy


@pytest.fixture
def made(root: Path) -> Path:
    """The same with an environment that says that it is complete."""
    (root / ".venv" / "bin").mkdir(parents=True)
    (root / ".venv" / "bin" / "python").symlink_to(sys.executable)
    stamp = f"{root}\n" + (root / "requirements.lock").read_text() + (root / "pyproject.toml").read_text()
    (root / ".venv" / "localgif-made-from").write_text(stamp)
    return root


@pytest.fixture
def just(made: Path) -> Path:
    """That environment with the real runner."""
    found = shutil.which("just")
    assert found
    (made / ".venv" / "bin" / "just").symlink_to(found)
    return made


def bare_path(tmp_path: Path) -> Path:
    """A folder with the tools that every Linux has, and no Python."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in TOOLS:
        found = shutil.which(name)
        assert found, name
        (tools / name).symlink_to(found)
    return tools


def run(root: Path, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(root / "scripts" / command[0]), *command[1:]],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_arguments_pass_through_unharmed(made: Path) -> None:
    words = ["two words", 'a "quoted" one', "it's", "$HOME", "*", "", "back\\slash", "line\nend"]
    done = run(made, "just", "show", *words)
    assert done.stdout == "".join(f"[{word}]" for word in words), done.stderr


def test_the_environments_commands_come_first(made: Path) -> None:
    tool = made / ".venv" / "bin" / "ruff"
    tool.write_text("#!/bin/sh\necho ours\n")
    tool.chmod(0o755)
    assert run(made, "env", "ruff").stdout == "ours\n"


@pytest.mark.usefixtures("just")
def test_a_just_of_the_machine_and_its_variables_do_not_count(made: Path, tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "just").write_text("#!/bin/sh\necho old\n")
    (tmp_path / "old" / "just").chmod(0o755)
    path = f"{tmp_path / 'old'}:{os.environ['PATH']}"
    done = run(made, "just", "show", "x", PATH=path, JUST_DRY_RUN="true", JUST_JUSTFILE="/gone")
    assert done.stdout == "[x]", done.stderr


@pytest.mark.usefixtures("just")
def test_a_recipe_runs_in_the_users_folder_and_knows_how_it_was_called(made: Path, tmp_path: Path) -> None:
    shutil.copy(ROOT / "Justfile", made)
    command = made / ".venv" / "bin" / "localgif"
    command.write_text('#!/bin/sh\nprintf \'[%s]\' "$PWD" "$LOCALGIF_CALLED" "$@"\n')
    command.chmod(0o755)
    user = tmp_path / "my $HOME 'folder'"
    user.mkdir()
    script = os.path.relpath(made / "scripts" / "just", user)
    done = subprocess.run([script, "show", "a b"], cwd=user, capture_output=True, text=True, timeout=120)
    assert done.stdout == f"[{user}][{script}][show][a b]", done.stderr
    below = made / "docs"
    below.mkdir()
    environment = {**os.environ, "PATH": f"{made / '.venv' / 'bin'}:{os.environ['PATH']}"}
    plain = subprocess.run(["just", "show"], cwd=below, env=environment, capture_output=True, text=True, timeout=120)
    assert plain.stdout == f"[{below}][just][show]", plain.stderr


def test_the_recipes_are_listed_at_a_path_with_quotes(made: Path) -> None:
    quoted = made.parent / 'it\'s a "folder"'
    made.rename(quoted)
    shutil.copy(ROOT / "Justfile", quoted)
    lock, project = ((quoted / name).read_text() for name in ("requirements.lock", "pyproject.toml"))
    (quoted / ".venv" / "localgif-made-from").write_text(f"{quoted}\n{lock}{project}")
    done = run(quoted, "just")
    assert done.returncode == 0 and "optimize *args" in done.stdout, done.stderr


def test_variables_of_python_do_not_reach_it(made: Path) -> None:
    done = run(made, "env", "sh", "-c", "env", PYTHONHOME="/gone", PYTHONPATH="/gone", PYTHONWARNINGS="error")
    assert "/gone" not in done.stdout and "PYTHONWARNINGS" not in done.stdout


def test_a_folder_that_path_cannot_hold_is_named(made: Path) -> None:
    bad = made.parent / "a:b"
    made.rename(bad)
    done = run(bad, "env", "true")
    assert done.returncode == 3 and "has a colon" in done.stderr


def test_every_file_of_a_checkout_keeps_its_bytes() -> None:
    said = subprocess.run(
        ["git", "check-attr", "text", "scripts/just", "localgif/install.sh"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert said.count("text: unset") == 2


def test_an_environment_whose_python_is_the_machines_is_made_anew(made: Path) -> None:
    (made / "requirements.lock").write_text("# another lock\n")
    done = run(made, "env", "true", LOCALGIF_PYTHON="/bin/false")
    assert done.returncode == 3
    assert done.stderr.startswith("error: LOCALGIF_PYTHON=/bin/false is not"), "nothing is installed into it"


def test_an_exit_code_passes_through(made: Path) -> None:
    assert run(made, "env", "sh", "-c", "exit 7").returncode == 7


def test_a_machine_without_python_is_told_what_to_install(root: Path, tmp_path: Path) -> None:
    done = run(root, "env", "true", PATH=str(bare_path(tmp_path)))
    assert done.returncode == 3
    assert "needs CPython 3.11 or newer; PATH has: no python3" in done.stderr
    assert "apt-get install python3" in done.stderr


def test_an_old_python_is_named(root: Path, tmp_path: Path) -> None:
    tools = bare_path(tmp_path)
    (tools / "python3").write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.9.2 && exit 0\nexit 1\n')
    (tools / "python3").chmod(0o755)
    done = run(root, "env", "true", PATH=str(tools))
    assert done.returncode == 3
    assert "PATH has: Python 3.9.2" in done.stderr


def test_a_python_that_is_asked_for_and_does_not_fit_is_refused(root: Path) -> None:
    done = run(root, "env", "true", LOCALGIF_PYTHON="/bin/false")
    assert done.returncode == 3
    assert "LOCALGIF_PYTHON=/bin/false" in done.stderr


def test_an_unreachable_index_is_said_and_no_half_environment_counts(root: Path) -> None:
    nowhere = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_EXTRA_INDEX_URL": "", "PIP_FIND_LINKS": ""}
    done = run(root, "env", "true", PIP_CONFIG_FILE=os.devnull, PIP_RETRIES="0", **nowhere)
    assert done.returncode == 3
    assert re.search(r"uv could not install the packages; pip does, .*\n  ERROR: \S", done.stderr), done.stderr
    assert "pip reached no package index" in done.stderr
    assert not (root / ".venv" / "localgif-made-from").exists()


@pytest.mark.parametrize(
    ("printed", "said"),
    [
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "the disk is full"),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.", "differ from requirements.lock"),
        ("Error: Command '[... ensurepip ...]': ensurepip is not available.", "apt-get install python3-venv"),
        ("Error: Command '[... '-m', 'ensurepip']' returned non-zero exit status 1.", "apt-get install python3-venv"),
    ],
)
def test_what_pip_or_venv_says_becomes_a_remedy(root: Path, tmp_path: Path, printed: str, said: str) -> None:
    fake = tmp_path / "python3"
    fake.write_text(f'#!/bin/sh\n[ "$1" = -c ] && exit 0\necho "{printed}"\nexit 1\n')
    fake.chmod(0o755)
    done = run(root, "env", "true", LOCALGIF_PYTHON=str(fake))
    assert done.returncode == 3
    assert said in done.stderr
    assert printed in done.stderr, "the original words are shown too"


# --- other shells, and other systems' tools --------------------------------------------------------------------------

SCRIPTS = ("scripts/just", "scripts/env", "scripts/lock", "scripts/test", "localgif/install.sh", ".ci/run")
#: The shells of Debian and of small systems; a Mac's is close to the first one.
SHELLS = {"dash": ("dash",), "busybox": ("busybox", "sh")}


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="no shellcheck")
def test_shellcheck_finds_nothing() -> None:
    done = subprocess.run(
        ["shellcheck", "-s", "sh", "-S", "warning", *SCRIPTS], capture_output=True, text=True, cwd=ROOT, timeout=120
    )
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.usefixtures("just")
@pytest.mark.parametrize("name", SHELLS)
def test_the_scripts_run_in_other_shells(name: str, made: Path) -> None:
    shell = SHELLS[name]
    if shutil.which(shell[0]) is None:
        pytest.skip(f"no {shell[0]}")
    for script in SCRIPTS:
        checked = subprocess.run([*shell, "-n", ROOT / script], capture_output=True, text=True, timeout=60)
        assert (checked.returncode, checked.stderr) == (0, ""), script
    words = ["two words", "it's", "*", ""]
    plain = subprocess.run(
        [*shell, made / "scripts" / "env", "printf", "[%s]", *words], capture_output=True, text=True, timeout=60
    )
    assert plain.stdout == "".join(f"[{word}]" for word in words), plain.stderr
    (made / ".venv" / "localgif-made-from").unlink()
    refused = subprocess.run(
        [*shell, made / "scripts" / "just", "show"],
        env={**os.environ, "LOCALGIF_PYTHON": "/bin/false", "JUST_QUIET": "1", "PYTHONHOME": "/nonexistent"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert refused.returncode == 3, refused.stderr
    assert refused.stderr.startswith("error: LOCALGIF_PYTHON=/bin/false is not CPython 3.11 or newer\n  Unset it")


#: Options that GNU's tools have and a Mac's lack.
_GNU = re.compile(
    r"\breadlink -[ef]|\bsed -(i|r)\b|\bgrep -[a-zA-Z]*P|\b(stat|date) (-c|--|-d)|\bmktemp --|\bcp -[a-z]*[tT]|"
    r"\bsha256sum\b|\brealpath\b|\bxargs -[a-z]*r|\btac\b|\bnproc\b|\bsort -[a-zA-Z]*V|\bhead -n -|\bfind [^|]*-printf"
)


@pytest.mark.parametrize("script", ["scripts/just", "scripts/env", "scripts/test"])
def test_what_a_mac_runs_uses_no_option_that_a_mac_lacks(script: str) -> None:
    text = "\n".join(line for line in (ROOT / script).read_text().splitlines() if not line.lstrip().startswith("#"))
    assert _GNU.findall(text) == []
    assert _GNU.search("x=$(readlink -f y)") and _GNU.search("sed -i s/a/b/ file")
