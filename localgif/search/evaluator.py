"""Measures a candidate on a task: samples, their mean score, and side info; decides how many samples it gets.

GEPA holds a candidate as named texts; the animator reads it as one system prompt. With grounded reflection it has the
components `instructions` (one rule per line), `order`, and, for each task of which it can show one, a worked example: a
whole program, empty at first. So GEPA can merge what two candidates found for different tasks. The contract is not a
component, so no proposal can change it. With plain reflection a candidate is one text.
"""

from __future__ import annotations

import functools
import hashlib
import statistics
import threading
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeVar

from localgif.agent import prompts
from localgif.agent.graph import MAX_ATTEMPTS, Rendered, Try, Write, compile_animator
from localgif.agent.guide import Message
from localgif.files import content_hash, now
from localgif.records import Attempt, Purpose, Reply, Sample
from localgif.search import feedback
from localgif.search.programs import Programs, Sight
from localgif.search.progress import Progress, standing_of
from localgif.store.write import RunStore
from localgif.tasks.suite import Suite
from localgif.tasks.task import Task

K = TypeVar("K", bound=Hashable)

INSTRUCTIONS = "instructions"
ORDER = "order"

Candidate = dict[str, str]


def slot(task: Task) -> str:
    """The component with the worked example of a task."""
    return f"example {task.name}"


def seed_of(suite: Suite) -> Candidate:
    """What a grounded search starts from: the contract alone."""
    return {INSTRUCTIONS: "", ORDER: "", **{slot(task): "" for task in suite.showable}}


def shown(candidate: Candidate, suite: Suite) -> list[Task]:
    """The tasks whose examples a candidate shows, in order; without an order, all that have an example."""
    names = candidate.get(ORDER, "").split()
    tasks = [suite.task(name) for name in names] if names else suite.showable
    return [task for task in tasks if candidate[slot(task)]]


def rules_of(candidate: Candidate) -> tuple[str, ...]:
    """The rules of a candidate, in order."""
    return tuple(line for line in candidate[INSTRUCTIONS].splitlines() if line.strip())


def with_rules(rules: tuple[str, ...]) -> str:
    """The text of the component `instructions`."""
    return "\n".join(rules)


def prompt_of(candidate: Candidate | str, suite: Suite) -> str:
    """The whole system prompt of a candidate."""
    if isinstance(candidate, str):
        return candidate
    examples = tuple(prompts.Example(task.brief, candidate[slot(task)]) for task in shown(candidate, suite))
    others = suite.mode != "single" or bool(suite.given)
    return prompts.render(suite.targets, prompts.Parts(rules_of(candidate), examples, others))


#: A child gets no second sample when its first is this far below its parent's.
BADLY = 0.15

#: A first sample below this has failed whatever the parent scored: no GIF, or one without motion.
HOPELESS = 0.3

#: A child counts as better when its mean gain over the shared samples is larger than this.
MARGIN = 0.001


def goes_on(scores: Sequence[float], rivals: Mapping[int, float]) -> bool:
    """Whether a candidate deserves its next sample.

    Args:
        scores: Scores of its samples so far, by index from 0; at least one.
        rivals: Its parent's scores by index; empty for the seed.
    """
    shared = [(score, rivals[i]) for i, score in enumerate(scores) if i in rivals]
    if not shared:
        return scores[-1] >= HOPELESS
    difference = sum(own - other for own, other in shared) / len(shared)
    return difference > -BADLY and (scores[-1] >= HOPELESS or difference > 0)


def beats(child: Mapping[K, float], parent: Mapping[K, float]) -> bool:
    """Whether a child is better than its parent on the samples (task and index) that both have."""
    shared = child.keys() & parent.keys()
    if not shared:
        return False
    return sum(child[i] - parent[i] for i in shared) / len(shared) > MARGIN


#: First index of fresh samples: the search never used their seeds.
FRESH_FROM = 1_000_000

#: First index of the re-test's samples, for the same reason.
RETEST_FROM = 500_000

#: Near the end of the budget, GEPA's repeated requests for a measured candidate get the last measurement at most this
#: many times; later ones cost a metric call.
MAX_REUSES = 3

SideInfo = dict[str, Any]

#: Key of the task's name in the side info of a run with several tasks.
TASK = "Task"


def sample_seed(run_seed: int, index: int) -> int:
    """The model's seed for a sample, 0 <= seed < 2**31 - 3: every candidate gets the same seed at the same index."""
    digest = hashlib.sha256(f"{run_seed}:{index}".encode()).digest()
    return int.from_bytes(digest[:4], "big") % (2**31 - 3)


@dataclass(frozen=True)
class Ask:
    """A request for one sample."""

    prompt: str
    task: Task
    index: int
    purpose: Purpose
    label: str
    """What people see while the sample is made."""
    metric_call: int | None = None
    attempts: int = MAX_ATTEMPTS


class _Made(NamedTuple):
    """A new sample before it is scored and stored."""

    started: str
    seed: int
    attempts: tuple[Try, ...]


class _Over(BaseException):
    """Ends an answer that is no longer needed."""


class Evaluator:
    """Makes samples and metric calls, and counts both.

    `write` asks the animator's model; `slots(prompt)` threads call it at a time, the same number for equal prompts.

    Grounded reflection races: a candidate whose first sample fails badly gets no second one, and the best candidate
    gets more; the total stays the same. Otherwise every metric call makes `samples` samples.
    """

    def __init__(
        self, suite: Suite, write: Write, store: RunStore, progress: Progress, slots: Callable[[str], int]
    ) -> None:
        self.suite = suite
        self.store = store
        self.progress = progress
        self.settings = store.settings
        self.programs = Programs(store)
        self.sight = Sight(self.programs, store)
        self.samples: list[Sample] = []
        self.candidates: dict[str, Candidate] = {}
        """Prompt -> its components, of a grounded search."""
        self.spent = 0
        """Metric calls with real samples."""
        self.last_prompt = ""
        """The last evaluated candidate. GEPA measures a parent right before it reflects on it."""
        self._write = write
        self.slots = slots
        self._speaking = threading.Lock()
        self._racing = bool(self.settings.moves)
        self._ahead: dict[tuple[str, str], Sample] = {}
        """(prompt, task) -> sample that was drawn before its metric call."""
        self._measured: dict[tuple[str, str], tuple[float, SideInfo]] = {}
        """(prompt, task) -> result of the last metric call."""
        self._reuses = 0

    @property
    def samples_left(self) -> int:
        """Samples left of metric calls x samples."""
        made = sum(s.purpose == "search" for s in self.samples)
        return self.settings.metric_calls * self.settings.samples - made

    @property
    def remaining(self) -> int:
        """Metric calls left in the budget; with racing, samples."""
        return self.samples_left if self._racing else self.settings.metric_calls - self.spent

    def samples_of(self, prompt: str, task: Task | None = None) -> list[Sample]:
        """The search samples of a candidate, of one task or of all, by index."""
        name = content_hash(prompt)
        return [
            s
            for s in self.samples
            if s.candidate == name and s.purpose == "search" and (task is None or s.task == task.name)
        ]

    def mean_of(self, prompt: str, tasks: Sequence[Task] | None = None) -> float:
        """Mean over `tasks` (by default suite.val) of a candidate's mean search score; 0 without a sample."""
        return mean_by_task(
            s for task in (self.suite.val if tasks is None else tasks) for s in self.samples_of(prompt, task)
        )

    def best_mean(self) -> float:
        """The best mean of any candidate so far."""
        return max((self.mean_of(prompt) for prompt in self.ranking()), default=0.0)

    def ranking(self) -> list[str]:
        """Candidates measured on every task that decides, best mean first, then in order of appearance."""
        prompts = dict.fromkeys(prompt for prompt, _ in self._measured)
        whole = [p for p in prompts if all((p, task.name) in self._measured for task in self.suite.val)]
        return sorted(whole, key=lambda prompt: -self.mean_of(prompt))

    def metric_call(self, prompt: str, task: Task, parent: str | None = None) -> tuple[float, SideInfo]:
        """Mean score of a candidate's new samples of a task, and the side info. GEPA calls this.

        GEPA checks its budget only between iterations: one iteration measures the parent again, then the child, then
        an accepted child once more. So without racing the last metric call of the budget is reserved for a candidate
        without a measurement; a measured one keeps its last measurement. With racing a measured candidate gets one
        more sample if it is the best of several and has fewer than twice `samples`; its mean counts all its samples.
        With several tasks, each already adds an independent observation, so no extra sample is drawn.

        Args:
            prompt: The candidate.
            task: The task to draw.
            parent: The candidate's parent, for racing; None for the seed or if unknown.
        """
        self.last_prompt = prompt
        return self._race(prompt, task, parent) if self._racing else self._call(prompt, task)

    def _call(self, prompt: str, task: Task) -> tuple[float, SideInfo]:
        known = self._measured.get((prompt, task.name))
        if known is not None and (self.remaining <= 0 or (self.remaining == 1 and self._reuses < MAX_REUSES)):
            self._reuses += 1
            return known
        return self.more(prompt, task)

    def more(self, prompt: str, task: Task) -> tuple[float, SideInfo]:
        """A metric call on new samples only."""
        count = self.settings.samples
        first = len(self.samples_of(prompt, task))
        made = self.gather(
            [self._search_ask(prompt, task, first + i, f"sample {i + 1} of {count}") for i in range(count)]
        )
        return self._done(prompt, task, made, made)

    def _race(self, prompt: str, task: Task, parent: str | None) -> tuple[float, SideInfo]:
        if not self.samples and self.slots(prompt) > 1:
            self._draw_ahead(prompt)
        drawn = self._ahead.pop((prompt, task.name), None)
        made = [drawn] if drawn is not None else []
        before = self.samples_of(prompt, task)
        if before and not made:
            if not self._hopeful(prompt, before):
                return self._measured[prompt, task.name]
            made = [self._search_sample(prompt, task, len(before), "one more sample of the best")]
            return self._done(prompt, task, before + made, made)
        rivals = {s.index: s.score.total for s in self.samples_of(parent, task)} if parent else {}
        while len(made) < self.settings.samples and self.samples_left > 0:
            if made and not goes_on([s.score.total for s in made], rivals):
                break
            made.append(self._search_sample(prompt, task, len(made), f"sample {len(made) + 1}"))
        if not made:  # the budget ended inside a GEPA iteration
            return 0.0, {"Note": "the budget was spent before this candidate was measured", **self._label(task)}
        return self._done(prompt, task, made, made)

    def _draw_ahead(self, prompt: str) -> None:
        """Draw the seed prompt's first sample of all tasks that decide: GEPA begins by asking for each of them."""
        tasks = self.suite.val[: self.samples_left]
        asks = [self._search_ask(prompt, task, 0, "sample 1", k) for k, task in enumerate(tasks)]
        self._ahead = {(prompt, sample.task): sample for sample in self.gather(asks)}

    def _hopeful(self, prompt: str, before: list[Sample]) -> bool:
        """Whether a measured candidate deserves one more sample."""
        ranked = self.ranking()
        if self.suite.mode != "single" or len(ranked) < 2 or ranked[0] != prompt or self.samples_left <= 0:
            return False
        return len(before) < 2 * self.settings.samples and self.mean_of(prompt) < (self.settings.target or 1.0)

    def _search_sample(self, prompt: str, task: Task, index: int, label: str) -> Sample:
        return self.gather([self._search_ask(prompt, task, index, label)])[0]

    def _search_ask(self, prompt: str, task: Task, index: int, label: str, ahead: int = 0) -> Ask:
        number = self.spent + 1 + ahead
        of = f"{task.name}, " if self.suite.mode != "single" else ""
        # A prompt's first answer tells a grounded search enough. A seed prompt that fails three times would take as
        # long as the rest of the search.
        attempts = 1 if self._racing else MAX_ATTEMPTS
        return Ask(prompt, task, index, "search", f"metric call {number}, {of}{label}", number, attempts)

    def _done(self, prompt: str, task: Task, counted: list[Sample], made: list[Sample]) -> tuple[float, SideInfo]:
        known = (prompt, task.name) in self._measured
        self.spent += 1
        mean = sum(s.score.total for s in counted) / len(counted)
        self._measured[prompt, task.name] = (mean, self._side_info(task, mean, counted))
        first = next(iter(self._measured))[0]
        what = "re-measured" if known else "seed" if prompt == first else "proposal"
        standing = standing_of(self.samples, {each.name for each in self.suite.val})
        of = task.name if self.suite.mode != "single" else ""
        self.progress.metric_call(self.spent, sum(s.score.total for s in made) / len(made), what, of, standing)
        return self._measured[prompt, task.name]

    def retest(self, prompt: str, count: int) -> list[Sample]:
        """`count` samples of each task that decides, outside the budget and never seen by the search.

        Samples of an earlier re-test count.
        """
        name = content_hash(prompt)
        there = {(s.task, s.index): s for s in self.samples if (s.candidate, s.purpose) == (name, "retest")}
        wanted = [
            Ask(prompt, task, RETEST_FROM + i, "retest", f"retest sample {i + 1} of {count}")
            for task in self.suite.val
            for i in range(count)
        ]
        new = self.gather([ask for ask in wanted if (ask.task.name, ask.index) not in there])
        there |= {(sample.task, sample.index): sample for sample in new}
        return [there[ask.task.name, ask.index] for ask in wanted]

    def unseen(
        self, prompts: Mapping[str, str], purpose: Literal["fresh", "transfer"], numbers: Sequence[int]
    ) -> dict[str, list[Sample]]:
        """New samples of prompts, with seeds that the search never used.

        Args:
            prompts: Prompt -> what people call it.
            purpose: "fresh" draws each tested task, "transfer" each neighbouring task without repairs.
            numbers: Which samples of each task, from 0.

        Returns:
            Prompt -> its samples. Each prompt and each task is finished before the next begins, so that a server reads
            it once.
        """
        fresh = purpose == "fresh"
        asks = [
            Ask(
                prompt,
                task,
                FRESH_FROM + number,
                purpose,
                f"fresh sample {number + 1} of the {label}, {task.name}" if fresh else f"the {label} on another task",
                attempts=MAX_ATTEMPTS if fresh else 1,
            )
            for prompt, label in prompts.items()
            for task in (self.suite.tested if fresh else self.suite.neighbours)
            for number in numbers
        ]
        found: dict[str, list[Sample]] = {prompt: [] for prompt in prompts}
        for ask, sample in zip(asks, self.gather(asks), strict=True):
            found[ask.prompt].append(sample)
        return found

    def gather(self, asks: Sequence[Ask]) -> list[Sample]:
        """Samples that do not depend on each other, in order, each stored before the next one counts.

        Several are in progress at a time: while one program runs, the model writes the others.

        Raises:
            EndpointError, SandboxError, RunError: The first failure in this order. Answers in progress are dropped,
                and only samples before the failure are stored.
        """
        found: list[Sample] = []
        begun: deque[tuple[Ask, Callable[[], _Made]]] = deque()

        def collect() -> None:
            while begun:
                ask, made = begun.popleft()
                found.append(self._kept(self._store(ask, made())))

        over = threading.Event()
        with ThreadPoolExecutor(max((self.slots(ask.prompt) for ask in asks), default=1)) as pool:
            try:
                for ask in asks:
                    candidate = self.store.put("candidates", ask.prompt)
                    rescored = functools.partial(self._scored, task=ask.task, metric_call=ask.metric_call)
                    stored = self.store.known_sample(ask.purpose, candidate, ask.task.name, ask.index, rescored)
                    if stored is not None:
                        collect()
                        found.append(self._kept(stored))
                        continue
                    self.store.journal.new_work(f"{ask.label} ({ask.task.name})")
                    self.progress.replay(False)
                    alone = self.slots(ask.prompt) == 1 or len(asks) == 1
                    make = functools.partial(self._make, ask, over)
                    begun.append((ask, make if alone else pool.submit(make).result))
                collect()
            except BaseException:
                over.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return found

    def _make(self, ask: Ask, over: threading.Event) -> _Made:
        """A new sample's attempts. May run in a thread of its own; ends with `_Over` soon after `over` is set."""
        started, seed = now(), sample_seed(self.settings.seed, ask.index)
        told = 0

        def doing(what: str) -> None:
            with self._speaking:
                self.store.doing(f"{ask.label}: {what}")

        def write(messages: Sequence[Message], asked: int, finished: Callable[[str], str]) -> Reply:
            nonlocal told
            attempt = asked - seed + 1
            if attempt != told:  # an attempt phrase by phrase asks several times
                doing("writing code" + (f" (attempt {attempt} of {ask.attempts})" if attempt > 1 else ""))
            told = attempt

            def enough(text: str) -> str:
                if over.is_set():
                    raise _Over
                return finished(text)

            return self._write(messages, asked, enough)

        def run(code: str) -> Rendered:
            doing("running and measuring")
            return self.programs.render(code)

        return _Made(started, seed, compile_animator(ask.prompt, ask.task.brief, write, run, ask.attempts)(seed))

    def _store(self, ask: Ask, made: _Made) -> Sample:
        last = made.attempts[-1]
        sample = Sample(
            candidate=content_hash(ask.prompt),
            task=ask.task.name,
            index=ask.index,
            purpose=ask.purpose,
            metric_call=ask.metric_call,
            seed=made.seed,
            attempts=tuple(self._attempt(each) for each in made.attempts),
            verdict=last.rendered.verdict,
            code=self.store.put("code", last.code) if last.code is not None else None,
            gif=self.store.put("gifs", last.rendered.gif) if last.rendered.gif is not None else None,
            measurements=last.rendered.measurements,
            score=self.programs.score(last.rendered, ask.task),
            also=self.programs.others(last.rendered, ask.task),
            started=made.started,
            at=self.store.elapsed(),
        )
        self.store.append(sample)
        return sample

    def _kept(self, sample: Sample) -> Sample:
        self.samples.append(sample)
        self.progress.sample(sample)
        return sample

    def _scored(self, other: Sample, task: Task, metric_call: int | None) -> Sample:
        """A sample of another run, scored by this run's rule."""
        last = Rendered(other.verdict, other.attempts[-1].reason, None, other.measurements, 0.0)
        if other.code is not None and other.measurements is not None and not other.measurements.complete:
            last = self.programs.render(self.store.code(other.code))  # an earlier version measured less
        return other.model_copy(
            update={
                "metric_call": metric_call,
                "measurements": last.measurements,
                "score": self.programs.score(last, task),
                "also": self.programs.others(last, task),
            }
        )

    def _attempt(self, attempt: Try) -> Attempt:
        return Attempt(
            reply=attempt.written.text,
            code=self.store.put("code", attempt.code) if attempt.code is not None else None,
            verdict=attempt.rendered.verdict,
            reason=attempt.rendered.reason,
            done_reason=attempt.written.done_reason,
            prompt_tokens=attempt.written.prompt_tokens,
            cached_tokens=attempt.written.cached_tokens,
            output_tokens=attempt.written.output_tokens,
            llm_seconds=round(attempt.written.seconds, 3),
            sandbox_seconds=round(attempt.rendered.seconds, 3),
        )

    def _label(self, task: Task) -> SideInfo:
        return {TASK: task.name} if self.suite.mode != "single" else {}

    def _side_info(self, task: Task, mean: float, samples: list[Sample]) -> SideInfo:
        info: SideInfo = {
            **self._label(task),
            "Request to the model": task.brief,
            "Mean score (0 to 1)": f"{mean:.3f}",
        }
        if self._racing:
            # GEPA keeps a Pareto front over these parts, too.
            parts = [part.name for part in samples[0].score.parts]
            info["scores"] = {
                name: sum(p.value for s in samples for p in s.score.parts if p.name == name) / len(samples)
                for name in parts
            }
        for position, sample in enumerate(samples, 1):
            info[f"Sample {position}, score {sample.score.total:.3f}"] = feedback.sample_feedback(
                task.brief, sample.measurements, sample.score, sample.verdict, sample.attempts[-1].reason
            )
            info.update(self.sight.side_info(position, sample))
        return info


def mean_by_task(samples: Iterable[Sample]) -> float:
    """Mean over tasks of the mean score of their samples; 0 without a sample."""
    groups: dict[str, list[float]] = {}
    for sample in samples:
        groups.setdefault(sample.task, []).append(sample.score.total)
    return statistics.fmean(statistics.fmean(scores) for scores in groups.values()) if groups else 0.0
