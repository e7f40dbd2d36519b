"""Computes the result of a run: its numbers, and the verdict: better, worse, or no difference shown."""

from __future__ import annotations

import math
import resource
import sys
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from localgif.agent.extract import programs
from localgif.files import content_hash
from localgif.records import (
    UNASKED,
    Attempt,
    BestOf,
    BestResult,
    FrontPrompt,
    FrontResult,
    PeakMemory,
    PromptResult,
    PromptTokens,
    Proposal,
    RunResult,
    RunVerdict,
    Sample,
    SecondsByPart,
    TaskResult,
    TokensByRole,
    Unit,
    Word,
)
from localgif.run.roles import Roles
from localgif.search.evaluator import Ask, Evaluator
from localgif.search.gepa import best_sample
from localgif.search.programs import canonical
from localgif.significance import ALPHA, TOLERANCE, mean_interval, permutation_p, sign_flip_p, smallest_p
from localgif.tasks.suite import Suite
from localgif.tasks.task import Task

#: Pairs of each task before a comparison may stop early.
_FEWEST = 2


class Pairs(NamedTuple):
    """Fresh scores of one task, 0 to 1. Scores at the same position have the same sample index, so the same seed."""

    seed: Sequence[float]
    best: Sequence[float]


def compare(scores: Mapping[str, Pairs], unit: Unit | None = None) -> RunVerdict:
    """Compare fresh scores of the seed prompt and of the best one, by task.

    Args:
        unit: What to resample; None: samples for one task, tasks for several.

    Raises:
        ValueError: There is no task, or a task has no pairs or unpaired scores.
    """
    if not scores:
        raise ValueError("no task to compare")
    for task, pairs in scores.items():
        if len(pairs.seed) != len(pairs.best) or not pairs.seed:
            raise ValueError(f"{task}: {len(pairs.seed)} scores of the seed, {len(pairs.best)} of the best candidate")
    unit = unit or ("sample" if len(scores) == 1 else "task")
    by_task = [[b - s for s, b in zip(*pairs, strict=True)] for pairs in scores.values()]
    means = [math.fsum(differences) / len(differences) for differences in by_task]
    difference = math.fsum(means) / len(means)
    if unit == "task":
        p_value, interval, smallest = sign_flip_p(means), mean_interval([means]), min(1.0, 2 ** (1 - len(means)))
    else:
        p_value, interval = permutation_p(list(scores.values())), mean_interval(by_task)
        smallest = smallest_p([(len(pairs.seed), len(pairs.best)) for pairs in scores.values()])
    word: Word = "not shown"
    if p_value <= ALPHA and interval is not None:
        word = "better" if interval[0] > TOLERANCE else "worse" if interval[1] < -TOLERANCE else "not shown"
    return RunVerdict(
        word=word,
        difference=difference,
        interval=interval,
        confidence=1 - ALPHA,
        p_value=p_value,
        smallest_possible_p_value=smallest,
        unit=unit,
        pairs=sum(len(differences) for differences in by_task),
        planned=sum(len(differences) for differences in by_task),
        tasks=len(by_task),
    )


def settled(scores: Mapping[str, Pairs], planned: int, unit: Unit | None = None) -> RunVerdict | None:
    """The verdict after some of the planned pairs, if the missing ones cannot change its word; None if they can.

    A prompt's p value and interval never improve when one of its scores falls or one of the other prompt's rises. So
    the word is certain if both extremes give it: all missing pairs score 1 for one prompt and 0 for the other.

    Args:
        scores: As for compare.
        planned: Planned pairs of each task; no task has more.
        unit: As for compare.
    """
    extremes = []
    for seed_rest, best_rest in ((1.0, 0.0), (0.0, 1.0)):
        filled = {}
        for task, pairs in scores.items():
            left = planned - len(pairs.seed)
            filled[task] = Pairs([*pairs.seed, *[seed_rest] * left], [*pairs.best, *[best_rest] * left])
        extremes.append(compare(filled, unit))
    worst, best = extremes
    if worst.word != best.word:
        return None
    now = compare(scores, unit)
    return now.model_copy(
        update={
            "word": worst.word,
            # After an early stop claim only the p value that the least favourable missing pairs allow.
            "p_value": now.p_value if worst.word == "not shown" else max(worst.p_value, best.p_value),
            "smallest_possible_p_value": worst.smallest_possible_p_value,
            "planned": worst.pairs,
        }
    )


class Prompted(NamedTuple):
    """A prompt and its fresh samples, in the order of suite.tested."""

    prompt: str
    samples: list[Sample]


def fresh_samples(evaluator: Evaluator, seed: str, best: str) -> tuple[Prompted, Prompted]:
    """Take fresh samples of both prompts: two pairs of each tested task, or more if the animator writes them together
    anyway, then pair by pair until all are made or the verdict is settled. If the best prompt is the seed prompt, two
    samples of each task are enough."""
    suite, planned = evaluator.suite, evaluator.settings.fresh
    found: dict[str, list[Sample]] = {seed: [], best: []}
    names = {seed: "seed prompt", **({best: "evolved prompt"} if best != seed else {})}
    together = _FEWEST if seed == best else max(_FEWEST, evaluator.slots(seed) // len(suite.tested))
    for first, end in [(0, min(together, planned)), *((i, i + 1) for i in range(together, planned))]:
        for prompt, made in evaluator.unseen(names, "fresh", range(first, end)).items():
            found[prompt] += made
        if seed == best or settled(_pairs(suite, found[seed], found[best]), planned, _unit(suite)) is not None:
            break
    order = [task.name for task in suite.tested]
    in_order = {prompt: sorted(made, key=lambda s: (order.index(s.task), s.index)) for prompt, made in found.items()}
    return Prompted(seed, in_order[seed]), Prompted(best, in_order[best])


def result_of(
    roles: Roles,
    evaluator: Evaluator,
    proposals: Sequence[Proposal],
    seed: Prompted,
    best: Prompted,
    ended_by: str,
    seconds: float,
    carried: Sequence[Prompted] = (),
) -> RunResult:
    """The result of a run that has ended.

    Args:
        seconds: Working time of the run, including earlier processes.
        carried: Seed prompt and best prompt with their samples of the neighbouring tasks; empty without these.
    """
    record, settings, suite = evaluator.store.record, evaluator.settings, evaluator.suite
    identities = {identity.role: identity for identity in roles.identities}
    asked = [proposal for proposal in proposals if proposal.move not in UNASKED]
    by_move: dict[str, int] = {}
    for proposal in asked:
        by_move[proposal.move] = by_move.get(proposal.move, 0) + proposal.output_tokens
    attempts = [attempt for sample in evaluator.samples for attempt in sample.attempts]
    animator = sum(attempt.llm_seconds for attempt in attempts)
    reflector = sum(proposal.llm_seconds for proposal in proposals)
    best_result = _prompt_result(best, evaluator)
    return RunResult(
        run=record.name,
        folder=str(evaluator.store.folder),
        mode=settings.mode,
        task=settings.task,
        scorer=settings.scorer,
        reflection=settings.reflection,
        seed=_prompt_result(seed, evaluator),
        best=BestResult(**dict(best_result), is_seed=best.prompt == seed.prompt),
        best_of=_best_of(evaluator.samples, suite.train) if settings.reflection == "none" else None,
        tasks=tuple(_task_result(task, seed, best) for task in suite.tested),
        transfer=tuple(_task_result(task, *carried) for task in suite.neighbours) if carried else (),
        split=record.split,
        verdict=_verdict(evaluator, seed, best, best_result).rounded(),
        ended_by=ended_by,
        metric_calls=evaluator.spent,
        llm_calls=len(attempts) + len(asked),
        proposals=len(asked),
        output_tokens=TokensByRole(
            animator=sum(attempt.output_tokens for attempt in attempts),
            reflector=sum(proposal.output_tokens for proposal in asked),
        ),
        prompt_tokens=_prompt_tokens(attempts, asked),
        reflector_tokens_by_move=by_move,
        programs_run=evaluator.programs.run,
        seconds=SecondsByPart(
            total=round(seconds, 1),
            weights=round(roles.seconds_weights, 1),
            load=round(roles.seconds_load, 1),
            llm=round(animator + reflector, 1),
            animator=round(animator, 1),
            reflector=round(reflector, 1),
            sandbox=round(evaluator.programs.seconds, 1),
        ),
        memory=PeakMemory(
            localgif=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024),
            endpoint=roles.embedded.peak_memory() if roles.embedded is not None else None,
        ),
        animator=identities["animator"],
        reflector=identities["reflector"],
        sandbox=record.sandbox,
    )


def _prompt_tokens(attempts: Sequence[Attempt], asked: Sequence[Proposal]) -> PromptTokens:
    return PromptTokens(
        read=TokensByRole(animator=_read(attempts), reflector=_read(asked)),
        cached=TokensByRole(animator=_cached(attempts), reflector=_cached(asked)),
    )


def _read(answers: Sequence[Attempt | Proposal]) -> int:
    return sum((answer.prompt_tokens or 0) - (answer.cached_tokens or 0) for answer in answers)


def _cached(answers: Sequence[Attempt | Proposal]) -> int:
    return sum(answer.cached_tokens or 0 for answer in answers)


def _verdict(evaluator: Evaluator, seed: Prompted, best: Prompted, result: PromptResult) -> RunVerdict:
    """Compare the two prompts."""
    suite = evaluator.suite
    pairs, unit = _pairs(suite, seed.samples, best.samples), _unit(suite)
    verdict = settled(pairs, evaluator.settings.fresh, unit) or compare(pairs, unit)
    copied = 2 * (result.copies or 0) > len(result.scores)
    return verdict.model_copy(update={"by_copying": verdict.word == "better" and copied})


def _unit(suite: Suite) -> Unit:
    """What to resample: tasks in mode general, whose claim is about unseen tasks; else samples of the given tasks."""
    return "task" if suite.mode == "general" else "sample"


def _pairs(suite: Suite, seed: Sequence[Sample], best: Sequence[Sample]) -> dict[str, Pairs]:
    return {task.name: Pairs(_scores(seed, task), _scores(best, task)) for task in suite.tested}


def _scores(samples: Sequence[Sample], task: Task) -> tuple[float, ...]:
    return tuple(sample.score.total for sample in samples if sample.task == task.name)


def _task_result(task: Task, seed: Prompted, best: Prompted) -> TaskResult:
    scores = _scores(seed.samples, task), _scores(best.samples, task)
    means = [math.fsum(each) / len(each) for each in scores]
    return TaskResult(
        task=task.name,
        brief=task.brief,
        family=task.family,
        seed_scores=scores[0],
        best_scores=scores[1],
        seed_mean=round(means[0], 4),
        best_mean=round(means[1], 4),
        difference=round(means[1] - means[0], 4),
    )


def prompt_result(prompt: str, fresh: Sequence[Sample], before: Sequence[Sample] = ()) -> PromptResult:
    """The result of a prompt from its fresh samples, with its search and re-test scores from the samples `before`."""
    scores = tuple(sample.score.total for sample in fresh)
    measured = [sample.measurements for sample in fresh]
    return PromptResult(
        search_scores=tuple(sample.score.total for sample in before if sample.purpose == "search"),
        retest_scores=tuple(sample.score.total for sample in before if sample.purpose == "retest"),
        scores=scores,
        mean=round(math.fsum(scores) / len(scores), 4),
        also=_scores_by_rule(fresh),
        frames=tuple(m.frames if m else None for m in measured),
        loop_ratios=tuple(round(m.gap / m.motion, 3) if m and m.motion > 0 else None for m in measured),
        verdicts=tuple(sample.verdict for sample in fresh),
        prompt=prompt,
        candidate=content_hash(prompt),
    )


def _prompt_result(prompted: Prompted, evaluator: Evaluator) -> PromptResult:
    deciding, candidate = {task.name for task in evaluator.suite.val}, content_hash(prompted.prompt)
    mine = [s for s in evaluator.samples if s.candidate == candidate and s.task in deciding]
    result = prompt_result(prompted.prompt, prompted.samples, mine)
    ran = [evaluator.store.code(sample.code) for sample in prompted.samples if sample.code is not None]
    return result.model_copy(update=counted(prompted.prompt, ran)._asdict())


class Counted(NamedTuple):
    """Repetitions among the programs of a prompt's samples."""

    copies: int
    """Programs that are in the prompt itself."""
    programs: int
    """Different programs."""


def counted(prompt: str, ran: Sequence[str]) -> Counted:
    """Compare the programs that ran with each other and with those in the prompt, ignoring comments and layout."""
    same = [canonical(code) or code for code in ran]
    shown = {canonical(code) for code in programs(prompt)}
    return Counted(sum(code in shown for code in same), len(set(same)))


def _best_of(samples: Sequence[Sample], tasks: Sequence[Task]) -> BestOf:
    """The best search sample of each task; a task without a sample has no entry."""
    found = [best for best in (best_sample(samples, task) for task in tasks) if best is not None]
    return BestOf(
        samples=sum(sample.purpose == "search" for sample in samples),
        tasks=tuple(sample.task for sample in found),
        scores=tuple(sample.score.total for sample in found),
        also=_scores_by_rule(found),
        gifs=tuple(sample.gif for sample in found),
    )


def _scores_by_rule(samples: Sequence[Sample]) -> dict[str, tuple[float, ...]]:
    """Name and version of each rule that the run did not optimise -> its scores; 0 for a sample without a GIF."""
    rules = sorted({score.scorer for sample in samples for score in sample.also})
    return {
        rule: tuple(next((s.total for s in sample.also if s.scorer == rule), 0.0) for sample in samples)
        for rule in rules
    }


def front_result(evaluator: Evaluator, prompts: Sequence[str], fresh: Sequence[Sample], enough: float) -> FrontResult:
    """Measure the front on the tested tasks; asks the next prompt where the best score so far is below `enough`.

    Args:
        prompts: The front, the best prompt first.
        fresh: Fresh samples of the best prompt.
        enough: A score that needs no further answer.
    """
    kept = {(sample.task, sample.index): sample.score.total for sample in fresh}
    answers = len(fresh)
    for number, prompt in enumerate(prompts[1:], 2):
        for task, index in [key for key, score in kept.items() if score < enough]:
            label = f"fresh sample {task} of prompt {number} of the front"
            sample = evaluator.gather([Ask(prompt, evaluator.suite.task(task), index, "fresh", label)])[0]
            kept[task, index] = max(kept[task, index], sample.score.total)
            answers += 1
    scores = tuple(kept.values())
    return FrontResult(
        prompts=tuple(
            FrontPrompt(
                candidate=content_hash(prompt),
                tasks={task.name: round(evaluator.mean_of(prompt, [task]), 4) for task in evaluator.suite.val},
            )
            for prompt in prompts
        ),
        scores=scores,
        mean=round(math.fsum(scores) / len(scores), 4),
        answers=answers,
    )
