"""localgif's way to a scored sample beside the article's: `just bench-loop [--samples 12] [--json] [--runs RUN...]`.

Same weights, prompts, seeds, sampling, window, longest answer, extraction, repairs and score. What differs:
- localgif: its own engine behind its gateway, which guesses ahead; answers are ended when their program is complete or
  they repeat themselves; programs run and are measured in the sandbox, the same one once; every sample is stored.
- the article's way: llama.cpp's own server with its defaults; whole answers; programs run by exec in the process that
  measures them (see in_process.py); nothing is stored.
They take turns, each sample of one beside the same of the other, with the bare contract as the prompt and with a worked
example in it. "In the model" is the time from a request to the end of its answer; the rest is outside. With --runs also
what stored runs spent outside of the model, from their start to their end. Run it on an idle machine.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from localgif.agent.graph import Message, Try, compile_animator
from localgif.agent.prompts import Example, Parts, render, request
from localgif.endpoint.clients import Animator, Reply
from localgif.files import now
from localgif.gif import score
from localgif.records import Limits
from localgif.run.optimize import versions
from localgif.sandbox import probe
from localgif.search.evaluator import FRESH_FROM, Evaluator, sample_seed
from localgif.search.programs import Programs
from localgif.search.programs import render as run_in_sandbox
from localgif.search.progress import Silent
from localgif.search.sight import Sight
from localgif.settings import EndpointSettings, ModelSettings, Role, Settings
from localgif.store.read import RunRecord, load_record
from localgif.store.write import RunStore
from localgif.tasks.suite import Suite, load_suite
from localgif.tasks.task import Task
from scripts.bench_endpoint import EXAMPLE, NUM_CTX, SAMPLING, ollama, openai
from scripts.endpoint_servers import KEY, NAME, Server, bare, engine, front, weights
from scripts.figures import conditions, show
from scripts.in_process import InProcess

NUM_PREDICT = 1024
SECONDS, OUTSIDE, TOKENS = "s a sample", "outside the model, %", "tokens a sample"


class Made(NamedTuple):
    """One scored sample."""

    seconds: float
    """From its start to its score, and for localgif to its place in the run folder."""
    model_seconds: float
    tokens: int
    """That the model wrote."""
    attempts: int
    score: float


Way = Callable[[str, int], Made]
"""(system prompt, index) -> a sample."""


def settings_for(url: str) -> Settings:
    """Of a run whose two roles are the measured model; only the animator is asked here."""

    def role(name: Role) -> ModelSettings:
        return ModelSettings(
            role=name,
            alias=NAME,
            endpoint=EndpointSettings(name="measured", kind="ollama", url=url),
            model=NAME,
            num_ctx=NUM_CTX,
            num_predict=NUM_PREDICT,
            temperature=SAMPLING["temperature"],
            path=None,
            litellm=f"ollama/{NAME}",
        )

    return Settings(animator=role("animator"), reflector=role("reflector"))


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
        programs = Programs(settings, store)
        sight = Sight(settings, programs, store)
        evaluator = Evaluator(suite, settings, animator.write, programs, store, Silent(), sight, racing=False)

        def make(prompt: str, index: int) -> Made:
            began = time.perf_counter()
            sample = evaluator.sample(prompt, suite.train[0], index, "fresh", None, "a sample")
            seconds = time.perf_counter() - began
            tries = sample.attempts
            model = sum(each.llm_seconds for each in tries)
            return Made(seconds, model, sum(each.output_tokens for each in tries), len(tries), sample.score.total)

        yield make


@contextlib.contextmanager
def article_way(server: Server, task: Task) -> Iterator[Way]:
    """The same graph with whole answers and programs that run in the process that measures them."""
    settings = settings_for(server.url)
    headers = {"Authorization": f"Bearer {KEY}"}
    with (
        httpx.Client(trust_env=False, timeout=600, headers=headers) as client,
        InProcess(settings.limits.wall_seconds) as child,
    ):

        def write(messages: Sequence[Message], seed: int, finished: object) -> Reply:
            began = time.monotonic()
            body = {
                "model": NAME,
                "messages": [{"role": role, "content": text} for role, text in messages],
                "max_tokens": NUM_PREDICT,
                "seed": seed,
                **SAMPLING,
            }
            said = client.post(server.url + "/v1/chat/completions", json=body).raise_for_status().json()
            choice, usage = said["choices"][0], said["usage"]
            text, reason = choice["message"]["content"] or "", choice["finish_reason"]
            seconds = time.monotonic() - began
            return Reply(text, reason, usage["prompt_tokens"], usage["completion_tokens"], seconds)

        def make(prompt: str, index: int) -> Made:
            began = time.perf_counter()
            tries: tuple[Try, ...] = compile_animator(prompt, task.brief, write, child.render)(
                sample_seed(settings.seed, index)
            )
            total = score.of(settings.scorer, tries[-1].rendered.measurements, task).total
            seconds = time.perf_counter() - began
            model = sum(each.written.seconds for each in tries)
            return Made(seconds, model, sum(each.written.output_tokens for each in tries), len(tries), total)

        yield make


def summary(made: Sequence[Made]) -> dict[str, Any]:
    """One row: means over samples, and the share of all their time that was not spent in the model."""
    seconds, model = (sum(column) for column in list(zip(*made, strict=True))[:2])
    return {
        SECONDS: round(seconds / len(made), 2),
        OUTSIDE: round(100 * (seconds - model) / seconds, 2),
        TOKENS: round(statistics.fmean(each.tokens for each in made), 1),
        "answers a sample": round(statistics.fmean(each.attempts for each in made), 2),
        "mean score": round(statistics.fmean(each.score for each in made), 3),
    }


def outside_of_run(folder: Path) -> dict[str, Any]:
    """What a stored run spent outside of the model, from the start of its command to its end."""
    record = load_record(folder)
    if record.result is None:
        raise SystemExit(f"{folder} has no result: it is {record.status}")
    seconds = record.result.seconds
    return {
        "s": seconds.total,
        "in the model, s": seconds.llm,
        "loading it, s": round(seconds.weights + seconds.load, 1),
        "in the sandbox, s": seconds.sandbox,
        OUTSIDE: round(100 * (seconds.total - seconds.llm) / seconds.total, 2),
    }


def loaded() -> None:
    """Load what either side loads at its first sample, and start the sandbox: no part of what is compared."""
    compile_animator("", "", lambda *_: Reply("", "stop", 0, 0, 0.0), lambda code: run_in_sandbox(code, Limits()))(0)
    run_in_sandbox(EXAMPLE, Limits())


def read(ours: Server, theirs: Server, prompt: str, task: Task) -> None:
    """Have both servers read a prompt: in a search it is in the cache from a candidate's second sample on."""
    messages = [{"role": "system", "content": prompt}, {"role": "user", "content": request(task.brief)}]
    ollama(ours, messages, 2, 0)
    openai(theirs, messages, 2, 0)


def measure(model: str, samples: int) -> dict[str, Any]:
    """All rows: each prompt by each way, and localgif's share of the article's seconds and tokens."""
    found = conditions(samples, model=model)
    gguf = str(weights(model).path)
    suite = load_suite("single", "bouncing-ball")
    task = suite.train[0]
    prompts = {
        "bare contract": render(task.targets, Parts()),
        "worked example": render(task.targets, Parts(examples=(Example(task.brief, EXAMPLE),))),
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
        loaded()
        ways = {"localgif": way, "the article's way": other}
        for name, prompt in prompts.items():
            read(ours, theirs, prompt, task)
            rows[name] = {who: [] for who in ways}
            for number in range(samples):
                # Who begins changes from sample to sample.
                for who in sorted(ways, reverse=bool(number % 2)):
                    rows[name][who].append(ways[who](prompt, FRESH_FROM + number))
    for name, sides in rows.items():
        found |= {f"{name}: {who}": summary(made) for who, made in sides.items()}
    everything = {who: [made for sides in rows.values() for made in sides[who]] for who in ways}
    for name, sides in {**rows, "both": everything}.items():
        ours_, theirs_ = (summary(made) for made in sides.values())
        found[f"{name}: localgif / the article's way"] = {
            "seconds": round(ours_[SECONDS] / theirs_[SECONDS], 3),
            "tokens": round(ours_[TOKENS] / theirs_[TOKENS], 3),
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="qwen2.5-coder:1.5b", help="a model that localgif knows")
    parser.add_argument("--samples", type=int, default=12, help="samples of each prompt by each way")
    parser.add_argument("--runs", nargs="*", default=[], type=Path, metavar="RUN", help="folders of finished runs")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    stored = {f"run {folder.name}": outside_of_run(folder) for folder in arguments.runs}
    show({**measure(arguments.model, max(1, arguments.samples)), **stored}, as_json=arguments.json)


if __name__ == "__main__":
    main()
