"""The evaluator: candidate -> samples -> score and side info. The one place where agent, sandbox and score meet.

Every sample is in the run folder before the search hears of it. A failure of the endpoint or of the sandbox passes
through as an exception: an outage is never a score.
"""

from __future__ import annotations

import hashlib
import time
from typing import Any

from localgif.agent.graph import Rendered, Try, Write, compile_animator
from localgif.config import Settings
from localgif.gif import feedback, measure, score
from localgif.records import Attempt, Limits, Purpose, Sample, Verdict
from localgif.runs.store import RunStore, now
from localgif.sandbox.runner import measure_gif, run_program
from localgif.search.progress import Progress
from localgif.tasks.load import Task

#: Fresh samples are numbered from here, so that no seed of theirs was ever used by the search.
FRESH_FROM = 1_000_000

#: Near the end of the budget GEPA's repeated questions about a measured candidate are answered from the last
#: measurement, at most so often; after that they cost a metric call like any other.
MAX_REUSES = 3

SideInfo = dict[str, Any]


def sample_seed(run_seed: int, index: int) -> int:
    """The model's seed for a sample: the same index gives every candidate the same seed, 0 <= seed < 2**31 - 3."""
    digest = hashlib.sha256(f"{run_seed}:{index}".encode()).digest()
    return int.from_bytes(digest[:4], "big") % (2**31 - 3)


def render(code: str, limits: Limits) -> Rendered:
    """Run a program in the sandbox and measure its GIF in a second confined process.

    Raises:
        SandboxError: our machinery failed.
    """
    started = time.monotonic()
    result = run_program(code, limits)
    verdict, reason, gif, measurements = result.verdict, result.reason, result.gif, None
    if gif is not None:
        measured = measure_gif(gif, measure.__name__, limits)
        if isinstance(measured, str):
            verdict, reason, gif = Verdict.OUTPUT_BAD, measured, None
        else:
            measurements = measured
    return Rendered(verdict, reason, gif, measurements, time.monotonic() - started)


class Evaluator:
    """Makes samples and metric calls, and keeps count of both."""

    def __init__(self, task: Task, settings: Settings, write: Write, store: RunStore, progress: Progress) -> None:
        self.task = task
        self.settings = settings
        self.samples: list[Sample] = []
        self.spent = 0
        """Metric calls made with real samples."""
        self.last_prompt = ""
        """The candidate that was evaluated last: GEPA measures a parent right before it reflects on it."""
        self._write = write
        self._store = store
        self._progress = progress
        self._score = score.SCORERS[settings.scorer]
        self._measured: dict[str, tuple[float, SideInfo]] = {}
        self._reuses = 0

    @property
    def remaining(self) -> int:
        """Metric calls left in the budget."""
        return self.settings.metric_calls - self.spent

    def metric_call(self, prompt: str) -> tuple[float, SideInfo]:
        """What GEPA calls: the mean score of `samples` new samples of a candidate, and the side info.

        GEPA checks its budget only between iterations and would overrun it: an iteration measures the parent again,
        then the child, then an accepted child once more. So the last metric call of the budget is kept for a candidate
        that was never measured; until it is spent, and after, a measured candidate's last measurement stands.
        """
        self.last_prompt = prompt
        known = self._measured.get(prompt)
        if known is not None and (self.remaining <= 0 or (self.remaining == 1 and self._reuses < MAX_REUSES)):
            self._reuses += 1
            return known
        number = self.spent + 1
        count = self.settings.samples
        first = sum(s.purpose == "search" and s.candidate == self._store.put_candidate(prompt) for s in self.samples)
        made = [
            self.sample(
                prompt,
                first + i,
                "search",
                number,
                f"metric call {number} of {self.settings.metric_calls}, sample {i + 1} of {count}",
            )
            for i in range(count)
        ]
        self.spent = number
        mean = sum(s.score.total for s in made) / count
        side_info = self._side_info(mean, made)
        self._measured[prompt] = (mean, side_info)
        self._progress.metric_call(
            number, mean, "re-measured" if known is not None else "seed" if number == 1 else "proposal"
        )
        return mean, side_info

    def fresh(self, prompt: str, label: str) -> list[Sample]:
        """New samples of a prompt, outside the budget, with seeds that the search never used."""
        count = self.settings.fresh
        return [
            self.sample(prompt, FRESH_FROM + i, "fresh", None, f"fresh sample {i + 1} of {count} of the {label}")
            for i in range(count)
        ]

    def sample(self, prompt: str, index: int, purpose: Purpose, metric_call: int | None, label: str) -> Sample:
        """One sample, stored before it is returned."""
        limits = self.settings.limits
        tries = 0

        def write(messages: Any, seed: int, finished: Any) -> Any:
            nonlocal tries
            tries += 1
            self._progress.activity(f"{label}: writing code" + (f" (attempt {tries} of 3)" if tries > 1 else ""))
            return self._write(messages, seed, finished)

        def run(code: str) -> Rendered:
            self._progress.activity(f"{label}: running and measuring")
            return render(code, limits)

        seed = sample_seed(self.settings.seed, index)
        started = now()
        attempts = compile_animator(prompt, self.task.brief, write, run)(seed)
        last = attempts[-1].rendered
        measurements = last.measurements
        no_gif = score.no_gif(score.VERSIONS[self.settings.scorer])
        sample = Sample(
            candidate=self._store.put_candidate(prompt),
            task=self.task.name,
            index=index,
            purpose=purpose,
            metric_call=metric_call,
            seed=seed,
            attempts=tuple(self._attempt(a) for a in attempts),
            verdict=last.verdict,
            code=self._store.put_code(attempts[-1].code) if attempts[-1].code is not None else None,
            gif=self._store.put_gif(last.gif) if last.gif is not None else None,
            measurements=measurements,
            score=self._score(measurements) if measurements is not None else no_gif,
            started=started,
        )
        self._store.append_sample(sample)
        self.samples.append(sample)
        self._progress.sample(sample)
        return sample

    def _attempt(self, attempt: Try) -> Attempt:
        return Attempt(
            reply=attempt.written.text,
            code=self._store.put_code(attempt.code) if attempt.code is not None else None,
            verdict=attempt.rendered.verdict,
            reason=attempt.rendered.reason,
            done_reason=attempt.written.done_reason,
            prompt_tokens=attempt.written.prompt_tokens,
            output_tokens=attempt.written.output_tokens,
            llm_seconds=round(attempt.written.seconds, 3),
            sandbox_seconds=round(attempt.rendered.seconds, 3),
        )

    def _side_info(self, mean: float, samples: list[Sample]) -> SideInfo:
        info: SideInfo = {"Request to the model": self.task.brief, "Mean score (0 to 1)": f"{mean:.3f}"}
        for position, sample in enumerate(samples, 1):
            info[f"Sample {position}, score {sample.score.total:.3f}"] = feedback.sample_feedback(
                self.task.brief, sample.measurements, sample.score, sample.verdict, sample.attempts[-1].reason
            )
        return info
