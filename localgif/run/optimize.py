"""Runs `localgif optimize` from preflight to verdict: all steps, in order."""

from __future__ import annotations

import platform
import time
from contextlib import AbstractContextManager, suppress
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from localgif import __version__
from localgif.agent import form
from localgif.agent.prompts import SEED_PROMPT
from localgif.endpoint.clients import Animators, Reflector
from localgif.errors import ConfigError, EndpointError, LocalGifError, OutboundRefused, PreflightError, RunError
from localgif.files import now
from localgif.gif.score import VERSIONS
from localgif.records import RunResult, Verdict
from localgif.run.preflight import make_sure
from localgif.run.result import Prompted, fresh_samples, front_result, result_of
from localgif.run.roles import Roles, open_roles
from localgif.sandbox import probe
from localgif.sandbox.runner import run_program
from localgif.search.evaluator import Evaluator, prompt_of, seed_of
from localgif.search.gepa import PlainReflector, front, sample_only, search_grounded, search_plain
from localgif.search.grounded import GroundedReflector
from localgif.search.progress import Progress, Silent, counted, plan_of
from localgif.settings import ENOUGH, TARGET, Settings
from localgif.store.read import RunRecord, find_run, load_run, refuse_demo
from localgif.store.write import RunStore
from localgif.tasks.suite import Example, Suite, chosen_suite

#: Packages whose version can change the result of a run.
_RECORDED_PACKAGES = ("gepa", "langgraph", "langchain-ollama", "litellm", "pillow", "numpy", "scipy", "xllamacpp")


def optimize(
    settings: Settings, runs_dir: Path = Path("runs"), name: str | None = None, progress: Progress | None = None
) -> RunResult:
    """Evolve the animator's system prompt (the main job).

    Args:
        name: Name of the run folder in `runs_dir`; None for local date and time, then the task or the mode.

    Returns:
        The fresh scores of the seed prompt and of the best one, the verdict, and the cost of the run.

    Raises:
        ConfigError, PreflightError: Nothing was started.
        EndpointError, SandboxError: A part failed; the run folder keeps what was measured, and resume continues it.
        KeyboardInterrupt: Likewise; the status in run.json is "interrupted".
    """
    suite = with_examples(chosen_suite(settings), settings, runs_dir)
    check_budget(settings, suite)
    what = suite.train[0].name if suite.mode == "single" else suite.mode
    name = name or f"{datetime.now(UTC).astimezone():%Y-%m-%d-%H%M%S}-{what}"
    return begin(settings, suite, runs_dir, name, progress or Silent())


def begin(settings: Settings, suite: Suite, runs_dir: Path, name: str, progress: Progress) -> RunResult:
    """Start a run with loaded tasks; raises as optimize."""
    clock = time.monotonic()
    with ready(settings, runs_dir, progress) as roles:
        record = record_of(settings, suite, roles, name)
        with RunStore.create(runs_dir, record) as store:
            return work(suite, roles, store, progress, clock)


def ready(settings: Settings, runs_dir: Path, progress: Progress) -> AbstractContextManager[Roles]:
    """Check machine and sandbox, then open both roles. Raises PreflightError if something is missing."""
    make_sure(settings, runs_dir)
    _check_sandbox(settings)
    return open_roles(settings, progress)


def record_of(settings: Settings, suite: Suite, roles: Roles, name: str) -> RunRecord:
    """The run.json of a new run."""
    return RunRecord(
        name=name,
        status="started",
        started=now(),
        settings=settings,
        models=roles.identities,
        versions=versions(),
        sandbox=probe.describe(settings.limits),
        scorer=VERSIONS[settings.scorer],
        task=suite.train[0] if suite.mode == "single" else None,
        tasks=() if suite.mode == "single" else suite.all,
        neighbours=suite.neighbours,
        split=dict(suite.split) if suite.split is not None else None,
        given=suite.given,
    )


def work(suite: Suite, roles: Roles, store: RunStore, progress: Progress, clock: float) -> RunResult:
    """Search and compare, reusing stored work, and record in run.json how the run ended.

    Args:
        clock: time.monotonic() at the start of the command.
    """
    try:
        result = _search_and_compare(suite, roles, store, progress, clock - store.journal.at)
    except KeyboardInterrupt:
        store.finish("interrupted", error="stopped by Ctrl-C")
        raise
    except LocalGifError as error:
        reason = roles.explain()
        if reason and isinstance(error, EndpointError) and not isinstance(error, OutboundRefused):
            error = EndpointError(f"{error.message}\n{reason}", error.remedy, code=error.code)
        _give_up(store, error.message)
        raise error from None
    except BaseException as error:
        _give_up(store, f"{type(error).__name__}: {error}")
        raise
    store.finish("done", result=result)
    return result


def _give_up(store: RunStore, why: str) -> None:
    # On a full disk run.json cannot be written either: then the run counts as died, and the first error is reported.
    with suppress(RunError):
        store.finish("failed", error=why)


def with_examples(suite: Suite, settings: Settings, runs_dir: Path) -> Suite:
    """The suite with the examples of the run that `settings.examples_from` names: of each of its tasks the best program
    of its search, if it is in the form, scored at least ENOUGH, and does not show what this run tests.

    Raises:
        ConfigError: There is no such run, it has no such example, or this run shows no examples in the form.
        RunCorrupt: The run cannot be read.
    """
    if settings.examples_from is None:
        return suite
    if "example" not in settings.moves or not settings.form:
        raise ConfigError(
            "--examples-from works only where a run looks for examples in the form",
            "use --reflection grounded or example-only, without --no-form",
        )
    run = load_run(find_run(runs_dir, settings.examples_from))
    refuse_demo(run.record)
    known = {text for task in (*suite.all, *suite.neighbours) for text in (task.name, task.brief)}
    families = {task.family for task in suite.tested} if settings.split == "families" else set()
    found = []
    for task in run.record.drawn:
        tried = [p for p in run.proposals if p.task == task.name and p.code is not None and (p.score or 0.0) >= ENOUGH]
        if not tried or {task.name, task.brief} & known or task.family in families or task.targets != suite.targets:
            continue
        code = run.text("code", str(max(tried, key=lambda proposal: proposal.score or 0.0).code))
        if form.read(code) is not None:
            found.append(Example(task=task, code=code))
    if not found:
        raise ConfigError(
            f"--examples-from {settings.examples_from}: {run.record.name} found no example that this run could show",
            f"name a run of other tasks with the same targets, whose search found programs of at least {ENOUGH:g}",
        )
    return suite._replace(given=tuple(found))


def check_budget(settings: Settings, suite: Suite) -> None:
    """Check that the budget covers the seed prompt on every validation task and at least one candidate, and that the
    mode works without reflection. Raises ConfigError."""
    needed = len(suite.val) + 1
    if suite.mode != "single" and settings.metric_calls < needed:
        raise ConfigError(
            f"--metric-calls {settings.metric_calls} is too low for {len(suite.val)} tasks: the seed prompt needs one "
            "for each",
            f"give at least {needed}, better {4 * needed} or more",
        )
    if settings.reflection == "none" and settings.mode == "general":
        raise ConfigError(
            "--reflection none keeps the best GIF of each task, but --mode general draws its held-out tasks only at "
            "the end",
            "use --mode single or multi",
        )


def _check_sandbox(settings: Settings) -> None:
    """Check that the sandbox runs a program, and notices that its output is not a GIF."""
    probe.decide(settings.sandbox_level)
    tried = run_program("def make_gif(path):\n    open(path, 'wb').write(b'no GIF')\n", settings.limits)
    if tried.verdict is not Verdict.OUTPUT_BAD:
        raise PreflightError(
            f'the sandbox does not work: a harmless test program ended with "{tried.verdict}" ({tried.reason})',
            "check that this machine has free memory and processes: free -m, ulimit -a",
        )


def _search_and_compare(suite: Suite, roles: Roles, store: RunStore, progress: Progress, clock: float) -> RunResult:
    settings = store.settings
    progress.started(
        store.record.name,
        _about(settings, suite, roles),
        plan_of(store.record),
        store.journal.at,
    )
    for repair in store.repairs:
        progress.note(repair)
    progress.replay(store.journal.left > 0)
    store.on_activity = progress.activity
    with Animators(settings.animator, roles.animator_url, progress.note, roles.slots("")) as animators:
        evaluator = Evaluator(suite, animators.write, store, progress, roles.slots)
        reflector: PlainReflector | GroundedReflector | None = None
        seed = SEED_PROMPT if settings.reflection == "plain" else prompt_of(seed_of(suite), suite)
        if settings.reflection == "none":
            best, ended = seed, sample_only(seed, evaluator)
        elif settings.reflection == "plain":
            reflector = PlainReflector(roles.reflector_url, evaluator)
            best, ended = search_plain(seed, evaluator, reflector)
        else:
            model = Reflector(settings.reflector, roles.reflector_url, progress.note)
            reflector = GroundedReflector(model, evaluator)
            best, ended = search_grounded(evaluator, reflector)
        store.write_best_prompt(best)
        fresh = fresh_samples(evaluator, seed, best)
        together = None
        if settings.moves and suite.mode != "single":
            prompts = front(evaluator, best)
            together = front_result(evaluator, prompts, fresh[1].samples, settings.target or TARGET)
            store.write_front(together)
        for name, prompted in zip(("seed", "best"), fresh, strict=True):
            store.write_gif(name, prompted.samples)
        carried: tuple[Prompted, ...] = ()
        if best != seed:
            answered = evaluator.unseen({seed: "seed prompt", best: "evolved prompt"}, "transfer", [0])
            carried = Prompted(seed, answered[seed]), Prompted(best, answered[best])
    proposals, seconds = reflector.proposals if reflector is not None else [], time.monotonic() - clock
    result = result_of(roles, evaluator, proposals, *fresh, ended, seconds, carried)
    return result.model_copy(update={"front": together})


def versions() -> dict[str, str]:
    """Name -> version of everything that can change results."""
    versions = {"python": platform.python_version(), "localgif": __version__, "platform": platform.platform()}
    for package in _RECORDED_PACKAGES:
        versions[package] = metadata.version(package)
    return versions


def _about(settings: Settings, suite: Suite, roles: Roles) -> tuple[str, ...]:
    """Models, sandbox, search and budget, a line for each."""
    lines = []
    for identity in roles.identities:
        digest = f", sha256 {identity.digest[:12]}" if identity.digest else ""
        lines.append(
            f"{identity.role:<10}{identity.model} on {identity.endpoint} ({identity.server}){digest}, "
            f"window {identity.num_ctx}, temperature {identity.temperature:g}"
            + (", sees the frames" if identity.role == "reflector" and settings.reflector.vision else "")
        )
    sandbox = probe.describe(settings.limits)
    lines.append(f"{'sandbox':<10}level {sandbox.level}: {sandbox.notes[0]}")
    if suite.mode != "single":
        lines += _tasks(suite)
    if suite.given:
        names = ", ".join(example.task.name for example in suite.given)
        lines.append(f"{'examples':<10}also those of {settings.examples_from}: {names}")
    facts = "" if settings.facts or not settings.moves else ", no background facts"
    luck = settings.reflection == "none"
    how = "the seed prompt only, best of N" if luck else f"{settings.reflection} reflection"
    holds = "a sample of each task reaches" if luck else "a re-test reaches"
    early = f", ends when {holds} {settings.target:g}" if settings.target is not None else ""
    lines.append(f"{'search':<10}{how}{facts}{early}")
    budget = (
        f"{counted(settings.metric_calls, 'metric call')} x {counted(settings.samples, 'sample')}, "
        f"then up to {counted(settings.fresh, 'fresh sample')} each"
        + (f" of {counted(len(suite.tested), 'task')}" if suite.mode != "single" else "")
        + (f", 1 answer each to {len(suite.neighbours)} other tasks" if suite.neighbours else "")
    )
    lines.append(
        f"{'budget':<10}{budget}" + (f", at most {settings.minutes:g} min of search" if settings.minutes else "")
    )
    return tuple(lines)


def _tasks(suite: Suite) -> list[str]:
    """The tasks of a run with several, by purpose."""
    if suite.split is None:
        return [f"{'tasks':<10}{', '.join(task.name for task in suite.train)}"]
    return [f"{part:<10}{', '.join(names)}" for part, names in suite.split.items()]
