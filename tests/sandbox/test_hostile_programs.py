"""Every program of the corpus gets the verdict that the table says, in time, and leaves nothing behind.

At the weakest level: what only Landlock and seccomp refuse, the programs can do here.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from localgif.records import Limits, Verdict
from localgif.sandbox.layers import LAYERS, LIMITS_ONLY
from tests.sandbox.guest_kit import AS_ROOT, BRIEF, PROGRAMS, SMALL, Ground, grounds, source_of

V = Verdict

#: Program -> verdicts that are right. Several: the kernel and the watch race, or root and others differ.
VERDICTS: dict[str, set[Verdict]] = {
    # files
    "f11_symlink_as_output.py": {V.OUTPUT_BAD},
    "f12_fifo_as_output.py": {V.OUTPUT_BAD},
    "f13_directory_as_output.py": {V.OUTPUT_BAD},
    "f14_hard_link_as_output.py": {V.OUTPUT_BAD},
    "f15_device_as_output.py": {V.ERROR},
    "f15b_socket_as_output.py": {V.OUTPUT_BAD},
    "f16_ten_thousand_files.py": {V.DISK_LIMIT},
    "f16b_deep_tree.py": {V.DISK_LIMIT},
    "f16c_locked_directories.py": {V.OUTPUT_MISSING},
    "f16d_many_bytes_in_many_files.py": {V.DISK_LIMIT},
    "f17_fifty_megabytes.py": {V.OUTPUT_TOO_BIG},
    "f18_sparse_terabyte.py": {V.ERROR},
    "f19_deletes_output.py": {V.OUTPUT_MISSING},
    "f22_removes_own_directory.py": {V.OUTPUT_MISSING},
    "f22b_directory_becomes_link.py": {V.OUTPUT_MISSING},
    "f24_late_writer.py": {V.PROCESS_LIMIT, V.OK} if AS_ROOT else {V.ERROR},
    # processes
    "p33_fifty_forks.py": {V.PROCESS_LIMIT} if AS_ROOT else {V.ERROR},
    "p34_daemon.py": {V.PROCESS_LIMIT, V.OUTPUT_MISSING} if AS_ROOT else {V.ERROR},
    "p34b_hopping_daemon.py": {V.PROCESS_LIMIT, V.OUTPUT_MISSING} if AS_ROOT else {V.ERROR},
    "p35_subprocess.py": {V.PROCESS_LIMIT} if AS_ROOT else {V.ERROR},
    "p42_two_hundred_threads.py": {V.PROCESS_LIMIT, V.ERROR} if AS_ROOT else {V.ERROR},
    # resources
    "r51_spins.py": {V.CPU_LIMIT},
    "r52_sleeps.py": {V.WALL_LIMIT},
    "r53_ignores_signals.py": {V.CPU_LIMIT},
    "r54_stops_itself.py": {V.WALL_LIMIT},
    "r55_grows.py": {V.MEMORY_LIMIT},
    "r56_numpy_eight_gigabytes.py": {V.MEMORY_LIMIT},
    "r57_recursion.py": {V.MEMORY_LIMIT, V.CPU_LIMIT},
    "r58_huge_image.py": {V.MEMORY_LIMIT},
    "r59_huge_number.py": {V.CPU_LIMIT},
    "r60_regex.py": {V.CPU_LIMIT},
    "r62_prints_for_ever.py": {V.CPU_LIMIT, V.WALL_LIMIT, V.DISK_LIMIT},
    "r63_opens_files.py": {V.ERROR},
    "r64_null_pointer.py": {V.CRASHED},
    "r65_catches_everything.py": {V.CPU_LIMIT},
    "r66_noise_frames.py": {V.OUTPUT_TOO_BIG},
    "r71_spins_at_import.py": {V.CPU_LIMIT},
    # channel and output
    "o72_exits_at_once.py": {V.OUTPUT_MISSING},
    "o73_system_exit.py": {V.OUTPUT_MISSING},
    "o73b_exits_after_saving.py": {V.OK},
    "o74_prints_a_score.py": {V.OUTPUT_MISSING},
    "o75_writes_to_all_descriptors.py": {V.ERROR},
    "o76_junk_with_magic.py": {V.OUTPUT_BAD},
    "o77_html_named_gif.py": {V.OUTPUT_BAD},
    "o78_screen_65535.py": {V.OUTPUT_BAD},
    "o79_pixel_budget.py": {V.OUTPUT_BAD},
    "o80_hundred_thousand_frames.py": {V.OUTPUT_BAD},
    "o81_frame_outside.py": {V.OUTPUT_BAD},
    "o83_endless_blocks.py": {V.OUTPUT_BAD},
    "o84_no_make_gif.py": {V.ERROR},
    "o84b_make_gif_is_no_function.py": {V.ERROR},
    "o85_syntax_error.py.txt": {V.ERROR},
    "o86_wrong_arity.py": {V.ERROR},
    "o87_late_writers.py": {V.ERROR},
    "o88_terminal_sequences.py": {V.ERROR},
    "o89_patches_exit.py": {V.ERROR},
    "o90_patches_everything.py": {V.ERROR},
    "o91_str_raises.py": {V.ERROR},
    "o91b_str_loops.py": {V.CPU_LIMIT},
    "o91c_str_is_huge.py": {V.ERROR},
    "o92_injection.py": {V.ERROR},
    "o93_png_as_gif.py": {V.OUTPUT_BAD},
    "o94_own_exit_status.py": {V.ERROR},
    "o95_raises_kill.py": {V.CRASHED},
    # benign
    "b1_plain.py": {V.OK},
    "b2_replace.py": {V.OK},
    "b3_makedirs.py": {V.OK},
    "b4_numpy_font_filter.py": {V.OK},
    "b5_stdlib.py": {V.OK},
    "b6_bytes_io.py": {V.OK},
    "b7_mkstemp.py": {V.OK},
    "b9_truetype_fallback.py": {V.OK},
    "b10_reads_back.py": {V.OK},
    "b11_sets_and_chance.py": {V.OK},
}

#: Programs that only wait: no need to wait long with them.
WAITING = {"r52_sleeps.py", "r54_stops_itself.py"}

#: What the reason must say, where that matters.
REASONS = {
    "f17_fifty_megabytes.py": "out.gif is larger than 4,194,304 bytes",
    "r51_spins.py": "s of CPU, the limit is 1 s",
    "r52_sleeps.py": "s, the limit is 1.5 s (it used 0.",
    "r55_grows.py": "the limit is ",
    "r63_opens_files.py": "OSError: [Errno 24] Too many open files: '/dev/null' (line 7: kept.append(",
    "r64_null_pointer.py": "SIGSEGV",
    "o75_writes_to_all_descriptors.py": "ValueError: writable: [] (line 14: ",
    "o79_pixel_budget.py": "more than 50,000,000 pixels",
    "o80_hundred_thousand_frames.py": "more than 200 frames",
    "o84_no_make_gif.py": "no function make_gif; the program defines draw_gif",
    "o84b_make_gif_is_no_function.py": "make_gif is not a function, it is of type str",
    "o85_syntax_error.py.txt": "SyntaxError: expected ':' (line 4: def make_gif(path))",
    "o86_wrong_arity.py": "TypeError: make_gif() takes 0 positional arguments but 1 was given",
    "o88_terminal_sequences.py": "ValueError: bad (line 8: ",
    "o89_patches_exit.py": "ValueError: patched (line 16: ",
    "o90_patches_everything.py": "ValueError: everything is patched (line ",
    "o91_str_raises.py": "Odd: (its message cannot be shown) (line 10: raise Odd())",
    "o91c_str_is_huge.py": "ValueError: xxxxx",
    "o95_raises_kill.py": "SIGKILL",
}


@pytest.fixture
def ground(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ground]:
    with grounds(tmp_path, monkeypatch) as ground:
        yield ground


def test_the_table_knows_every_program() -> None:
    assert {path.name for path in PROGRAMS.iterdir() if path.is_file()} == set(VERDICTS)


@pytest.mark.parametrize("name", VERDICTS)
def test_a_program_gets_its_verdict_and_leaves_nothing(name: str, ground: Ground) -> None:
    result = ground.run(source_of(name, ground.canary), BRIEF if name in WAITING else SMALL, LAYERS[LIMITS_ONLY])
    assert result.verdict in VERDICTS[name], (result.reason, result.output)
    assert REASONS.get(name, "") in result.reason


def test_the_same_program_draws_the_same_bytes_twice(ground: Ground) -> None:
    source = source_of("b11_sets_and_chance.py")
    first, second = ground.run(source), ground.run(source)
    assert first.gif and first.gif == second.gif


def test_the_end_of_endless_output_is_kept_and_no_more(ground: Ground) -> None:
    result = ground.run(source_of("r62_prints_for_ever.py"))
    assert SMALL.output_kept - 2000 < len(result.output) <= SMALL.output_kept


def test_exit_handlers_of_the_program_do_not_run(ground: Ground) -> None:
    assert "late writer ran" not in ground.run(source_of("o87_late_writers.py")).output


def test_nothing_that_moves_a_terminal_is_left_in_output(ground: Ground) -> None:
    result = ground.run(source_of("o88_terminal_sequences.py"))
    assert result.output.startswith("red 2J end\n")
    assert "\x1b" not in result.output + result.reason


def test_a_late_writer_cannot_swap_what_was_read(ground: Ground) -> None:
    limits = SMALL.model_copy(update={"processes": 2, "threads": 8})
    result = ground.run(source_of("f24_late_writer.py"), limits, LAYERS[LIMITS_ONLY])
    assert result.verdict is V.OK
    assert result.gif is not None and result.gif.startswith(b"GIF8")


def test_a_long_literal_is_compiled(ground: Ground) -> None:
    source = f"numbers = [{'1,' * 90_000}]\n{source_of('b2_replace.py')}"
    assert ground.run(source).verdict is V.OK


def test_deep_nesting_is_the_programs_error(ground: Ground) -> None:
    assert ground.run("x = " + "(" * 5000 + ")" * 5000).verdict in {V.ERROR, V.MEMORY_LIMIT}


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("x = 1\0", "NUL"),
        ("#" * (SMALL.source_bytes + 1), "bytes long, the limit is"),
        ("x = '\ud800'", "not valid text"),
    ],
)
def test_what_is_no_program_is_refused_without_running(source: str, said: str, ground: Ground) -> None:
    result = ground.run(source)
    assert (result.verdict, result.wall_seconds) == (V.ERROR, 0.0)
    assert said in result.reason


def test_a_file_of_exactly_the_limit_is_taken(ground: Ground) -> None:
    gif = ground.run(source_of("b6_bytes_io.py")).gif
    assert gif is not None
    exact = Limits(**{**SMALL.model_dump(), "file_size": len(gif)})
    assert ground.run(source_of("b6_bytes_io.py"), exact).verdict is V.OK
    short = Limits(**{**SMALL.model_dump(), "file_size": len(gif) - 1})
    assert ground.run(source_of("b6_bytes_io.py"), short).verdict is V.OUTPUT_TOO_BIG
