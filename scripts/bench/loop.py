"""localgif's way to a scored sample against the article's way, with the same weights.

Both use the same prompts, seeds, sampling, window, longest answer, extraction, repairs and score. The differences:
- localgif: its own engine, which guesses ahead, behind its gateway; answers end when their program is complete or when
  they repeat themselves; the sandbox runs and measures each program once; localgif stores every sample.
- the article's way: llama.cpp's own server with its defaults; whole answers; programs run by exec in the process that
  measures them (in_process.py); nothing is stored.
They take turns, sample by sample, with the bare contract as the prompt and with a worked example in it. "In the model"
is the time from a request to the end of its answer; the rest is outside.
"""

from __future__ import annotations

import contextlib
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from localgif.agent.graph import compile_animator
from localgif.agent.guide import Message
from localgif.agent.prompts import Example, Parts, render, request
from localgif.endpoint.clients import Animator
from localgif.files import now
from localgif.gif import score
from localgif.records import Limits, Reply
from localgif.run.optimize import versions
from localgif.sandbox import probe
from localgif.search.evaluator import FRESH_FROM, Ask, Evaluator, sample_seed
from localgif.search.programs import render as run_in_sandbox
from localgif.search.progress import Silent
from localgif.settings import Settings
from localgif.store.read import RunRecord
from localgif.store.write import RunStore
from localgif.tasks.suite import Suite, load_suite
from localgif.tasks.task import Task
from scripts.bench.endpoint import NUM_CTX
from scripts.bench.figures import conditions
from scripts.bench.in_process import InProcess
from scripts.bench.servers import NAME, SAMPLING, Server, bare, client, engine, front, ollama, openai, weights
from tests.support.kit import model, program

NUM_PREDICT = 1024
SECONDS, OUTSIDE, TOKENS = "s a sample", "outside the model, %", "tokens a sample"


class Made(NamedTuple):
    """One scored sample."""

    seconds: float
    """From its start to its score; with localgif, until the run folder has it."""
    model_seconds: float
    tokens: int
    """Tokens that the model wrote."""
    attempts: int
    score: float


#: (system prompt, index) -> a sample.
Way = Callable[[str, int], Made]


def settings_for(url: str) -> Settings:
    """A run whose two roles are the measured model; only the animator is asked here."""
    same = {"alias": NAME, "model": NAME, "num_ctx": NUM_CTX, "num_predict": NUM_PREDICT, "litellm": f"ollama/{NAME}"}
    return Settings(animator=model("animator", url, **same), reflector=model("reflector", url, **same))


@contextlib.contextmanager
def localgif_way(server: Server, suite: Suite, runs_dir: Path) -> Iterator[Way]:
    """The evaluator of a run, with a run folder."""
    settings = settings_for(server.url)
    record = RunRecord(
        name="measured",
        status="started",
        started=now(),
        settings=settings,
        versions=versions(),
        sandbox=probe.describe(settings.limits),
        scorer=score.VERSIONS[settings.scorer],
    )
    with RunStore.create(runs_dir, record) as store, Animator(settings.animator, server.url) as animator:
        evaluator = Evaluator(suite, animator.write, store, Silent(), lambda _: 1)

        def make(prompt: str, index: int) -> Made:
            began = time.perf_counter()
            sample = evaluator.gather([Ask(prompt, suite.train[0], index, "fresh", "a sample")])[0]
            seconds = time.perf_counter() - began
            tries = sample.attempts
            in_model = sum(each.llm_seconds for each in tries)
            return Made(seconds, in_model, sum(each.output_tokens for each in tries), len(tries), sample.score.total)

        yield make


@contextlib.contextmanager
def article_way(server: Server, task: Task) -> Iterator[Way]:
    """The same graph with whole answers and programs that run in the process that measures them."""
    settings = settings_for(server.url)
    with client() as http, InProcess() as child:

        def write(messages: Sequence[Message], seed: int, finished: object) -> Reply:
            began = time.monotonic()
            body = {
                "model": NAME,
                "messages": [{"role": role, "content": text} for role, text in messages],
                "max_tokens": NUM_PREDICT,
                "seed": seed,
                **SAMPLING,
            }
            said = http.post(server.url + "/v1/chat/completions", json=body).raise_for_status().json()
            choice, usage = said["choices"][0], said["usage"]
            tokens = usage["prompt_tokens"], usage["completion_tokens"]
            return Reply(choice["message"]["content"] or "", choice["finish_reason"], *tokens, time.monotonic() - began)

        def make(prompt: str, index: int) -> Made:
            began = time.perf_counter()
            tries = compile_animator(prompt, task.brief, write, child.render)(sample_seed(settings.seed, index))
            total = score.of(settings.scorer, tries[-1].rendered.measurements, task).total
            seconds = time.perf_counter() - began
            in_model = sum(each.written.seconds for each in tries)
            return Made(seconds, in_model, sum(each.written.output_tokens for each in tries), len(tries), total)

        yield make


def summary(made: Sequence[Made]) -> dict[str, Any]:
    """One row: means over samples, and the share of their time outside the model."""
    seconds, in_model = sum(each.seconds for each in made), sum(each.model_seconds for each in made)
    return {
        SECONDS: round(seconds / len(made), 2),
        OUTSIDE: round(100 * (seconds - in_model) / seconds, 2),
        TOKENS: round(statistics.fmean(each.tokens for each in made), 1),
        "answers a sample": round(statistics.fmean(each.attempts for each in made), 2),
        "mean score": round(statistics.fmean(each.score for each in made), 3),
    }


def warm_up(ours: Server, theirs: Server, prompt: str, task: Task) -> None:
    """Load the libraries of both sides, and let both servers read the prompt.

    This is not part of the comparison: in a search a prompt is in the cache from its second sample on.
    """
    compile_animator("", "", lambda *_: Reply("", "stop", 0, 0, 0.0), lambda code: run_in_sandbox(code, Limits()))(0)
    run_in_sandbox(program(24), Limits())
    messages = [{"role": "system", "content": prompt}, {"role": "user", "content": request(task.brief)}]
    ollama(ours, messages, 2, 0)
    openai(theirs, messages, 2, 0)


def measure(model: str = "qwen2.5-coder:1.5b", samples: int = 12) -> dict[str, Any]:
    """All rows: `samples` samples of each prompt in each way, and the ratios of seconds and tokens."""
    found = conditions(samples, model=model)
    gguf = weights(model)
    suite = load_suite("single", "bouncing-ball")
    task = suite.train[0]
    prompts = {
        "bare contract": render(task.targets, Parts()),
        "worked example": render(task.targets, Parts(examples=(Example(task.brief, program(24)),))),
    }
    rows: dict[str, dict[str, list[Made]]] = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        bare(gguf, NUM_CTX) as theirs,
        engine(gguf, NUM_CTX) as behind,
        front(behind, NUM_CTX) as ours,
        localgif_way(ours, suite, Path(folder)) as way,
        article_way(theirs, task) as other,
    ):
        ways = {"localgif": way, "the article's way": other}
        for name, prompt in prompts.items():
            warm_up(ours, theirs, prompt, task)
            rows[name] = {who: [] for who in ways}
            for number in range(samples):
                for who in sorted(ways, reverse=bool(number % 2)):  # who begins changes from sample to sample
                    rows[name][who].append(ways[who](prompt, FRESH_FROM + number))
    for name, sides in rows.items():
        found |= {f"{name}: {who}": summary(made) for who, made in sides.items()}
    rows["both"] = {who: [made for sides in rows.values() for made in sides[who]] for who in ways}
    for name, sides in rows.items():
        left, right = (summary(made) for made in sides.values())
        ratios = {"seconds": left[SECONDS] / right[SECONDS], "tokens": left[TOKENS] / right[TOKENS]}
        found[f"{name}: localgif / the article's way"] = {what: round(value, 3) for what, value in ratios.items()}
    return found
