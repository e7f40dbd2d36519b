"""localgif's way to a scored sample against the article's way, with the same weights.

Both use the same brief, seeds, sampling, window, longest answer, extraction, repairs and score. The differences:
- localgif: its embedded endpoint, which guesses ahead and writes four short answers at a time; answers end when their
  program is complete or when they repeat themselves; a prompt with a worked example is in the form, so answers come
  phrase by phrase; the sandbox runs and measures each program once; localgif stores every sample.
- the article's way: llama.cpp's own server with its defaults; one whole answer after another; programs run by exec in
  the process that measures them (in_process.py); nothing is stored. With `--ollama URL` also on a running Ollama that
  has the model under the same name.
They take turns, four samples each, with the bare contract as the prompt and with a worked example in it. "In the model"
is the time from a request to the end of its answer; the rest is outside.
"""

from __future__ import annotations

import contextlib
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from localgif.agent import form
from localgif.agent.graph import compile_animator
from localgif.agent.guide import Message
from localgif.agent.prompts import Example, Parts, render
from localgif.endpoint.child import embedded_endpoint
from localgif.endpoint.clients import Animators
from localgif.endpoint.llama import SLOTS, is_short
from localgif.files import now
from localgif.gif import score
from localgif.records import Reply, ServeConfig, ServedModel
from localgif.run.optimize import versions
from localgif.sandbox import probe
from localgif.search.assignments import first_scene
from localgif.search.evaluator import FRESH_FROM, Ask, Evaluator, sample_seed
from localgif.search.progress import Silent
from localgif.settings import Settings
from localgif.store.read import RunRecord
from localgif.store.write import RunStore
from localgif.tasks.suite import Suite, load_suite
from localgif.tasks.task import Task
from scripts.bench.endpoint import NUM_CTX
from scripts.bench.figures import conditions
from scripts.bench.in_process import InProcess
from scripts.bench.servers import NAME, SAMPLING, bare, client, weights
from tests.support.kit import model, program

NUM_PREDICT = 1024
OURS = "localgif"
SECONDS, OUTSIDE, TOKENS = "s a sample", "outside the model, %", "tokens a sample"


class Made(NamedTuple):
    """One scored sample."""

    seconds: float
    """A quarter of the time of four samples, from their start to their scores; with localgif, until they are stored."""
    model_seconds: float
    tokens: int
    """Tokens that the model wrote."""
    attempts: int
    score: float


#: (system prompt, indices) -> a sample of each.
Way = Callable[[str, Sequence[int]], list[Made]]


def settings_for(url: str) -> Settings:
    """A run whose two roles are the measured model; only the animator is asked here."""
    same = {"alias": NAME, "model": NAME, "num_ctx": NUM_CTX, "num_predict": NUM_PREDICT, "litellm": f"ollama/{NAME}"}
    return Settings(animator=model("animator", url, **same), reflector=model("reflector", url, **same))


@contextlib.contextmanager
def localgif_way(settings: Settings, url: str, suite: Suite, runs_dir: Path) -> Iterator[Way]:
    """The evaluator of a run, with a run folder."""
    record = RunRecord(
        name="measured",
        status="started",
        started=now(),
        settings=settings,
        versions=versions(),
        sandbox=probe.describe(settings.limits),
        scorer=score.VERSIONS[settings.scorer],
    )
    with (
        RunStore.create(runs_dir, record) as store,
        Animators(settings.animator, url, print, SLOTS) as animators,
    ):
        evaluator = Evaluator(
            suite, animators.write, store, Silent(), lambda p: SLOTS if is_short([p], NUM_PREDICT, NUM_CTX) else 1
        )

        def make(prompt: str, indices: Sequence[int]) -> list[Made]:
            began = time.perf_counter()
            asks = [Ask(prompt, suite.train[0], index, "fresh", "a sample") for index in indices]
            samples = evaluator.gather(asks)
            seconds = (time.perf_counter() - began) / len(samples)
            return [
                Made(
                    seconds,
                    sum(each.llm_seconds for each in sample.attempts),
                    sum(each.output_tokens for each in sample.attempts),
                    len(sample.attempts),
                    sample.score.total,
                )
                for sample in samples
            ]

        yield make


#: (messages, seed) -> text, why it ended, tokens read, tokens written.
Asked = Callable[[list[dict[str, str]], int], tuple[str, str, int, int]]


def of_llama_cpp(http: httpx.Client, url: str) -> Asked:
    """A whole answer of llama.cpp's own server."""

    def ask(messages: list[dict[str, str]], seed: int) -> tuple[str, str, int, int]:
        body = {"model": NAME, "messages": messages, "max_tokens": NUM_PREDICT, "seed": seed, **SAMPLING}
        said = http.post(url + "/v1/chat/completions", json=body).raise_for_status().json()
        choice, usage = said["choices"][0], said["usage"]
        text = choice["message"]["content"] or ""
        return text, choice["finish_reason"], usage["prompt_tokens"], usage["completion_tokens"]

    return ask


def of_ollama(http: httpx.Client, url: str, model: str) -> Asked:
    """A whole answer of an Ollama."""

    def ask(messages: list[dict[str, str]], seed: int) -> tuple[str, str, int, int]:
        options = {**SAMPLING, "num_predict": NUM_PREDICT, "num_ctx": NUM_CTX, "seed": seed}
        body = {"model": model, "messages": messages, "stream": False, "options": options}
        said = http.post(url.rstrip("/") + "/api/chat", json=body).raise_for_status().json()
        read = said.get("prompt_eval_count", 0)  # left out when all of it was in the cache
        return said["message"]["content"], said["done_reason"], read, said["eval_count"]

    return ask


@contextlib.contextmanager
def article_way(settings: Settings, ask: Asked, task: Task) -> Iterator[Way]:
    """The same graph with whole answers and programs that run in the process that measures them."""
    with InProcess() as child:

        def write(messages: Sequence[Message], seed: int, finished: object) -> Reply:
            began = time.monotonic()
            said = ask([{"role": role, "content": text} for role, text in messages], seed)
            return Reply(*said, time.monotonic() - began)

        def one(prompt: str, index: int) -> Made:
            began = time.perf_counter()
            tries = compile_animator(prompt, task.brief, write, child.render)(sample_seed(settings.seed, index))
            total = score.of(settings.scorer, tries[-1].rendered.measurements, task).total
            seconds = time.perf_counter() - began
            in_model = sum(each.written.seconds for each in tries)
            return Made(seconds, in_model, sum(each.written.output_tokens for each in tries), len(tries), total)

        yield lambda prompt, indices: [one(prompt, index) for index in indices]


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


def warm_up(ways: Mapping[str, Way], prompts: Mapping[str, str]) -> None:
    """Load the libraries of all sides, and let all servers read the prompt, by a sample of each.

    This is not part of the comparison: in a search a prompt is in the cache from its second sample on.
    """
    for who, way in ways.items():
        way(prompts[who], [FRESH_FROM - 1])


def measure(model: str = "qwen2.5-coder:1.5b", ollama: str = "", repeat: int = 5) -> dict[str, Any]:
    """All rows, of `repeat` times four samples of each prompt in each way, and the ratios of seconds and tokens."""
    found = conditions(repeat, model=model)
    gguf = weights(model)
    served = ServedModel(name=NAME, path=gguf, digest="", size=Path(gguf).stat().st_size, num_ctx=NUM_CTX)
    suite = load_suite("single", "bouncing-ball")
    task = suite.train[0]
    in_form = form.program(first_scene(task.brief), task.brief, task.targets)
    rows: dict[str, dict[str, list[list[Made]]]] = {}
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        http = stack.enter_context(client())
        theirs = stack.enter_context(bare(gguf, NUM_CTX))
        ours = stack.enter_context(embedded_endpoint(ServeConfig(models=(served,))))
        settings = settings_for(ours.url)
        ways = {
            OURS: stack.enter_context(localgif_way(settings, ours.url, suite, Path(folder))),
            "the article's way": stack.enter_context(article_way(settings, of_llama_cpp(http, theirs.url), task)),
        }
        if ollama:
            asked = of_ollama(http, ollama, model)
            ways["the article's way on Ollama"] = stack.enter_context(article_way(settings, asked, task))
        for name, mine, yours in (("bare contract", "", ""), ("worked example", in_form, program(24))):
            prompts = {who: prompt_with(task, mine if who == OURS else yours) for who in ways}
            warm_up(ways, prompts)
            rows[name] = {who: [] for who in ways}
            for number in range(repeat):
                indices = range(FRESH_FROM + SLOTS * number, FRESH_FROM + SLOTS * (number + 1))
                for who in sorted(ways, reverse=bool(number % 2)):  # who begins changes from round to round
                    rows[name][who].append(ways[who](prompts[who], indices))
    for name, sides in rows.items():
        found |= {f"{name}: {who}": summary(list(chain(*rounds))) for who, rounds in sides.items()}
        for who, rounds in sides.items():
            if who != OURS:
                found[f"{name}: {OURS} / {who}, median of {repeat}"] = {
                    what: round(statistics.median(map(of, sides[OURS], rounds)), 3)
                    for what, of in (("seconds", ratio(attrgetter("seconds"))), ("tokens", ratio(attrgetter("tokens"))))
                }
    return found


def prompt_with(task: Task, code: str) -> str:
    """The prompt with a worked example, or without one."""
    return render(task.targets, Parts(examples=(Example(task.brief, code),) if code else ()))


def ratio(of: Callable[[Made], float]) -> Callable[[Sequence[Made], Sequence[Made]], float]:
    """One figure over the samples of a round, by the same over another's."""
    return lambda mine, yours: sum(map(of, mine)) / sum(map(of, yours))
