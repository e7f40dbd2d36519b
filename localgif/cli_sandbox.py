"""`localgif sandbox`: one program in the sandbox, and what the sandbox refuses on this machine."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from localgif.command import DEFAULT_LEVEL, JsonOption, LevelOption, command, known_level, print_json
from localgif.errors import ConfigError, SandboxTooWeak

if TYPE_CHECKING:
    from localgif.records import Measurements, ProgramResult

sandbox_app = typer.Typer(
    help="Run a program as generated ones are run, and check what holds it.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

#: A file without end must not fill our memory; what is longer than a program may be is refused anyway.
_MOST_READ = 64 * 2**20
#: Exit code of a program that did not end with the verdict ok.
EXIT_NOT_OK = 1


@sandbox_app.command("run")
@command
def sandbox_run(
    file: Annotated[Path, typer.Argument(help="A program that defines make_gif(path).", metavar="FILE.py")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Where the GIF goes.", metavar="FILE.gif")],
    sandbox_level: LevelOption = DEFAULT_LEVEL,
    as_json: JsonOption = False,
) -> None:
    """Run one program, take its GIF and measure it; exit 0 for the verdict ok, 1 for any other."""
    from localgif.gif import MEASURE
    from localgif.records import Verdict
    from localgif.sandbox import probe
    from localgif.sandbox.runner import measure_gif, run_program

    level = probe.decide(known_level(sandbox_level)).level
    result = run_program(_read(file))
    verdict, reason, measured = result.verdict, result.reason, None
    if result.gif is not None:
        found = measure_gif(result.gif, MEASURE)
        if isinstance(found, str):
            verdict, reason = Verdict.OUTPUT_BAD, found
        else:
            measured = found
            _write(output, result.gif)
    if as_json:
        print_json(_summary(str(verdict), reason, result, level, measured))
    else:
        print(f"{verdict}: {reason}")
        used = f"{result.wall_seconds:.3f} s, {result.cpu_seconds:.3f} s of CPU, {result.peak_rss / 2**20:.0f} MB"
        print(f"  {used}; sandbox level {level}")
        if measured is not None:
            print(f"  {output}: {measured.frames} frames, {measured.width}x{measured.height}")
        elif result.output:
            print("  the end of what it printed:")
            print("\n".join(f"  | {line}" for line in result.output.splitlines()[-20:]))
    if verdict is not Verdict.OK:
        raise typer.Exit(EXIT_NOT_OK)


def _summary(
    verdict: str, reason: str, result: ProgramResult, level: str, measured: Measurements | None
) -> dict[str, Any]:
    gif = None
    if measured is not None and result.gif is not None:
        digest = hashlib.sha256(result.gif).hexdigest()
        gif = {"bytes": len(result.gif), "sha256": digest, "frames": measured.frames}
    return {
        "verdict": verdict,
        "reason": reason,
        "seconds": {"cpu": result.cpu_seconds, "wall": result.wall_seconds},
        "peak_rss": result.peak_rss,
        "level": level,
        "gif": gif,
    }


def _read(file: Path) -> str:
    """The program, or enough of it to be refused; bytes that are no UTF-8 stay recognisable as such."""
    try:
        with file.open("rb") as stream:
            return stream.read(_MOST_READ).decode(errors="surrogateescape")
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}", "name a Python file", code="E-FILE") from None


def _write(file: Path, data: bytes) -> None:
    try:
        file.write_bytes(data)
    except OSError as error:
        raise ConfigError(
            f"{file} cannot be written: {error.strerror}", "name another file with -o", code="E-FILE"
        ) from None


@sandbox_app.command("check")
@command
def sandbox_check(as_json: JsonOption = False) -> None:
    """Try what must be refused, and say at which level programs run here; exit 0 only at level full."""
    from localgif.sandbox import probe
    from localgif.sandbox.layers import FULL
    from localgif.sandbox.policy import PROMISES

    found = probe.check()
    promise = PROMISES[found.level]
    if as_json:
        probes = [{"name": each.name, "refused": each.refused, "layer": each.layer} for each in found.probes]
        print_json({"level": found.level, "promise": promise, "probes": probes, "missing": list(found.missing)})
    else:
        print(f"level {found.level}: {promise}")
        for each in found.probes:
            print(f"  {'refused' if each.refused else 'POSSIBLE':<9} {each.name:<30} {each.layer}")
        for line in found.missing:
            print(f"  not {line}")
    if found.level != FULL:
        raise typer.Exit(SandboxTooWeak.exit_code)
