"""What a program finds around it, and how the confined process reports what went wrong."""

from __future__ import annotations

import json
import re
import resource
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localgif.records import Limits, Verdict
from localgif.sandbox.child import Rlimits, apply_rlimits, claim, rlimits_for
from localgif.sandbox.protocol import LAYERS, LIMITS_ONLY, NO_READ_CONFINEMENT
from tests.support.ground import PLAIN, SMALL, Ground, source_of

# --- what a program finds ----------------------------------------------------------------------------------------


def says(ground: Ground, expression: str, imports: str = "os, sys", layers: frozenset[str] | None = None) -> str:
    """What a program finds when it evaluates `expression`."""
    source = f"import {imports}\ndef make_gif(path):\n    print('FOUND', {expression})\n"
    result = ground.run(source, layers=layers)
    match = re.match(r"FOUND (.*)", result.output)
    assert match, result
    return match[1]


def test_the_environment_holds_nothing_of_ours(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    names = json.loads(says(ground, "json.dumps(sorted(os.environ))", "os, json"))
    threads = ["MKL_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"]
    assert names == sorted(["HOME", "LANG", "PATH", "PYTHONHASHSEED", "TMPDIR", *threads])


def test_the_program_is_alone(ground: Ground) -> None:
    """Standard input is at its end; session and directory are its own."""
    assert says(ground, "repr(sys.stdin.read()), sys.stdin.isatty()") == "'' False"
    alone = "os.getsid(0) == os.getpid(), os.listdir('.'), os.getcwd() == os.environ['HOME']"
    assert says(ground, alone, layers=LAYERS[LIMITS_ONLY]) == "True [] True"  # seccomp has no getsid


def test_the_limits_are_in_force(ground: Ground) -> None:
    names = ("CPU", "AS", "FSIZE", "NOFILE", "CORE", "MEMLOCK")
    found = says(ground, f"[resource.getrlimit(getattr(resource, 'RLIMIT_' + name)) for name in {names}]", "resource")
    space, file_size = SMALL.address_space, SMALL.file_size + 1
    expected = [(1, 2), (space, space), (file_size, file_size), (SMALL.open_files, SMALL.open_files), (1, 1), (0, 0)]
    assert found == str(expected)


@pytest.mark.usefixtures("fresh_keeper")  # a keeper that has measured knows the measurer too
def test_the_confined_process_loads_little_of_ours(ground: Ground) -> None:
    found = says(ground, "sorted(name for name in sys.modules if name.startswith(('localgif', 'pydantic')))")
    names = "child confine keeper places protocol syscalls watch"
    ours = ["localgif", "localgif.errors", "localgif.sandbox", *(f"localgif.sandbox.{name}" for name in names.split())]
    assert found == str(ours)


def test_a_guarded_main_part_does_not_run_and_classes_find_their_module(ground: Ground) -> None:
    assert says(ground, "__name__, sys.modules[__name__].make_gif is make_gif") == "program True"


def test_exit_handlers_of_the_program_do_not_run(ground: Ground) -> None:
    assert "late writer ran" not in ground.run(source_of("o87_late_writers")).output


WAYS = (
    "open(path, 'wb').write(DATA)",
    "pathlib.Path(path).write_bytes(DATA)",
    "os.write(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC), DATA)",
    "open(path, 'wb').write(b'x' * 9999); open(path, 'wb').write(DATA)",
    "open(path, 'wb').write(DATA[:9]); open(path, 'ab').write(DATA[9:])",
    "open('out.gif', 'w+b').write(DATA)",
    "io.open(path, 'xb').write(DATA)",
)


def test_with_the_write_filter_a_program_can_write_its_output_in_every_way(ground: Ground) -> None:
    layers = LAYERS[NO_READ_CONFINEMENT]
    good = ground.run(PLAIN, layers=layers)
    assert good.gif is not None
    for way in WAYS:
        source = f"import io, os, pathlib\nDATA = {good.gif!r}\ndef make_gif(path):\n    {way}\n"
        result = ground.run(source, layers=layers)
        assert (result.verdict, result.gif) == (Verdict.OK, good.gif), (way, result.reason)
    result = ground.run("def make_gif(path):\n    pass\n", layers=layers)
    assert (result.verdict, result.reason) == (Verdict.OUTPUT_MISSING, "the program wrote no out.gif")
    result = ground.run("def make_gif(path):\n    open('other', 'w')\n", layers=layers)
    assert result.verdict is Verdict.ERROR and "Operation not permitted: 'other'" in result.reason


# --- crash reports -----------------------------------------------------------------------------------------------

DEEP = (
    "def make_gif(path):\n    two()\ndef two():\n    three()\ndef three():\n    four()\n"
    "def four():\n    raise KeyError('k')\n"
)


def test_the_last_three_frames_of_the_program_are_shown(ground: Ground) -> None:
    assert ground.run(DEEP).output == (
        "Traceback (most recent call last):\n"
        '  File "program.py", line 4, in two\n    three()\n'
        '  File "program.py", line 6, in three\n    four()\n'
        "  File \"program.py\", line 8, in four\n    raise KeyError('k')\n"
        "KeyError: 'k'\n"
    )


def test_frames_of_libraries_are_not_shown(ground: Ground) -> None:
    text = ground.run("import json\ndef make_gif(path):\n    json.loads('{')\n").output
    assert text.count("File") == 1
    assert "line 3, in make_gif\n    json.loads('{')\nJSONDecodeError: " in text


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (DEEP, "KeyError: 'k' (line 8: raise KeyError('k'))"),
        ("def make_gif(:\n", "SyntaxError: invalid syntax (line 1: def make_gif(:)"),
        ("def make_gif(path):\n    raise ValueError\n", "ValueError (line 2: raise ValueError)"),
        (
            "def make_gif(path):\n    print('before')\n    raise ValueError('a\\n\\n  b')\n",
            "ValueError: a\n\n  b (line 3: raise ValueError('a\\n\\n  b'))",
        ),
        ("x = 1\x0c\ndef make_gif(path):\n    1 / 0\n", "ZeroDivisionError: division by zero (line 3: 1 / 0)"),
    ],
)
def test_the_reason_is_read_back_from_the_report(source: str, reason: str, ground: Ground) -> None:
    assert ground.run(source).reason == reason


def test_a_long_message_is_cut(ground: Ground) -> None:
    assert len(ground.run("def make_gif(path):\n    raise ValueError('x' * 10**6)\n").output) < 2048 + 200


def test_without_a_report_the_last_line_is_the_reason() -> None:
    assert claim("a\nno function\n\n", ["x"]) == "no function"
    assert claim(" \n", ["x"]) == ""


@given(st.text(), st.integers())
def test_no_output_breaks_the_reading_of_a_claim(text: str, number: int) -> None:
    claim(text, [])
    forged = f'Traceback (most recent call last):\n  File "program.py", line {number}, in x\n    y\n{text}'
    claim(forged, ["only line"])


def test_programs_go_before_the_keeper_when_memory_runs_out(ground: Ground) -> None:
    scores = "*(open(f'/proc/{pid}/oom_score_adj').read().strip() for pid in ('self', os.getppid()))"
    own = Path("/proc/self/oom_score_adj").read_text().strip()
    assert says(ground, scores, layers=LAYERS[LIMITS_ONLY]) == f"1000 {own}"


# --- resource limits --------------------------------------------------------------------------------------------------

LIMITS = Limits()


def table(root: bool, used: float = 0.0, **changes: float) -> Rlimits:
    return rlimits_for({**LIMITS.model_dump(), **changes}, file_size=7, root=root, used=used)


def test_the_kernels_limits_follow_ours() -> None:
    found = table(root=False)
    assert found["CPU"] == (4, 5)
    assert found["AS"] == (LIMITS.address_space, LIMITS.address_space)
    assert (found["FSIZE"], found["NPROC"], found["CORE"]) == ((7, 7), (0, 0), (1, 1))
    assert table(root=True, cpu_seconds=0.5)["CPU"] == (1, 2)


def test_what_a_process_used_before_its_job_does_not_count() -> None:
    assert table(root=False, used=2.5)["CPU"] == (7, 8)


def test_the_process_limit_is_set_only_where_it_works() -> None:
    assert "NPROC" not in table(root=True)
    assert "NPROC" not in table(root=False, processes=2)


def test_every_limit_has_a_name_that_the_kernel_knows() -> None:
    assert [name for name in table(root=False) if not hasattr(resource, f"RLIMIT_{name}")] == []


def test_a_limit_that_does_not_take_effect_is_named_and_the_others_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    now = {
        number: resource.getrlimit(number) for number in (resource.RLIMIT_AS, resource.RLIMIT_CORE, resource.RLIMIT_CPU)
    }

    def set_limit(number: int, values: tuple[int, int]) -> None:
        if number == resource.RLIMIT_AS:
            raise ValueError("invalid argument")  # as macOS does
        if number != resource.RLIMIT_CPU:  # this one is silently ignored
            now[number] = values

    monkeypatch.setattr(resource, "setrlimit", set_limit)
    monkeypatch.setattr(resource, "getrlimit", lambda number: now[number])
    unknown = {"NO_SUCH_LIMIT": (1, 1)}
    assert apply_rlimits({"AS": (1, 1), "CPU": (3, 4), "CORE": (0, 0), **unknown}) == ["AS", "CPU"]
    assert now[resource.RLIMIT_CORE] == (0, 0)
