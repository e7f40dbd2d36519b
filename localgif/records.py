"""Frozen records of everything that localgif stores or sends between processes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

#: Version of the files in a run folder. Increase it when an old reader would misread new files.
SCHEMA_VERSION = 2


class Record(BaseModel):
    """Base: immutable; unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, ser_json_inf_nan="strings")


# --- sandbox -------------------------------------------------------------------------------------------------------


class Limits(Record):
    """Limits of one program. Sizes in bytes, times in seconds."""

    cpu_seconds: float = Field(4.0, gt=0)
    """CPU time; normally the limit that stops a runaway program."""
    wall_seconds: float = Field(14.0, gt=0)
    """Elapsed time; stops sleeping programs. Generous, because the model server uses the same cores."""
    address_space: int = Field(600 * 2**20, gt=0)
    """RLIMIT_AS of each process."""
    rss: int = Field(500 * 2**20, gt=0)
    """Resident memory of the process tree (watch)."""
    processes: int = Field(1, ge=1)
    """Processes in the tree (watch, and RLIMIT_NPROC for users other than root)."""
    threads: int = Field(8, ge=1)
    """Threads in the tree (watch)."""
    file_size: int = Field(4 * 2**20, ge=0)
    """RLIMIT_FSIZE, and the largest GIF that localgif reads."""
    open_files: int = Field(32, ge=8)
    """RLIMIT_NOFILE."""
    scratch_bytes: int = Field(16 * 2**20, ge=0)
    """All files in the scratch directory together (watch)."""
    scratch_entries: int = Field(64, ge=0)
    """Files and folders in the scratch directory (watch)."""
    output_kept: int = Field(64 * 2**10, ge=0)
    """Bytes to keep from the end of stdout and stderr."""
    source_bytes: int = Field(200 * 2**10, gt=0)
    """Longest program that runs."""


class Verdict(StrEnum):
    """The outcome of a program. The program caused it; failures of localgif are exceptions."""

    OK = "ok"
    ERROR = "error"
    CPU_LIMIT = "cpu_limit"
    WALL_LIMIT = "wall_limit"
    MEMORY_LIMIT = "memory_limit"
    PROCESS_LIMIT = "process_limit"
    DISK_LIMIT = "disk_limit"
    OUTPUT_MISSING = "output_missing"
    OUTPUT_BAD = "output_bad"
    OUTPUT_TOO_BIG = "output_too_big"
    CRASHED = "crashed"
    NO_CODE = "no_code"
    """The reply contained no program, so nothing ran."""

    @property
    def certain(self) -> bool:
        """Whether the program gets this verdict on every run. Time limits, the memory limit and a crash also depend on
        how busy the machine is.
        """
        return self not in (Verdict.CPU_LIMIT, Verdict.WALL_LIMIT, Verdict.MEMORY_LIMIT, Verdict.CRASHED)


class ProgramResult(Record):
    """One program, run in the sandbox. `gif` is set if and only if the verdict is ok."""

    verdict: Verdict
    reason: str
    """A few lines for people and reflectors. May contain program output, so do not trust it."""
    output: str
    """The end of stdout and stderr, without control characters."""
    gif: bytes | None
    wall_seconds: float
    cpu_seconds: float
    peak_rss: int
    """Largest resident size that the watch or the kernel reported, in bytes."""


# --- GIFs ----------------------------------------------------------------------------------------------------------


class Piece(NamedTuple):
    """Connected pixels of one colour in one frame. Positions are fractions of width and height, from the top left."""

    colour: str
    """A name of task.COLOURS, or "transparent"."""
    area: float
    """Share of the picture's pixels."""
    x: float
    y: float
    """Centre."""
    left: float
    top: float
    right: float
    bottom: float
    """Edges; 0 and 1 are the edges of the picture."""
    spread: float
    """Area of the enclosing circle divided by the piece's area: disc 1, square 1.6, equilateral triangle 2.4."""
    elongation: float
    """Ratio of the axes of the ellipse with the same second moments: disc and square 1."""
    fold: int
    """Rotational symmetry: bar 2, triangle 3, square 4; 0 without a direction."""
    angle: float
    """Direction in degrees, modulo 360 / fold."""
    rgb: tuple[int, int, int] | None = None
    """Median colour, 0-255; None in old samples."""
    inertia: float = 1.0
    """Second moment about the centre, relative to a disc of the same area: disc 1, square 1.05, triangle 1.21, plus
    sign 1.3, ring 1.7; 1 in old samples."""


class Looks(Record):
    """The background and the visible pieces; each tuple has one entry per frame."""

    background: tuple[str, ...]
    """Most frequent colour name at the border of the picture."""
    cover: tuple[float, ...]
    """Share of the picture in this colour, 0 to 1."""
    pieces: tuple[tuple[Piece, ...], ...]
    """The 12 largest pieces in other colours, largest first."""
    ground: tuple[tuple[int, int, int], ...] = ()
    """The background's median colour at the border, 0-255; empty in old samples."""


class Measurements(Record):
    """Numbers about one GIF, measured in a confined process."""

    model_config = ConfigDict(allow_inf_nan=True)  # checked against the file's structure before any use

    frames: int = Field(ge=1)
    """Frames stored in the file."""
    width: int = Field(ge=1)
    height: int = Field(ge=1)
    size: int = Field(ge=1)
    """Bytes of the file."""
    delays_ms: tuple[int, ...]
    """Stored delay of each frame in milliseconds; 0 if the file has none."""
    loop: int | None
    """Loop count in the file: 0 is endless, None means no loop extension."""
    motion: float = Field(ge=0)
    """Mean of `steps`."""
    gap: float = Field(ge=0)
    """Summed absolute difference of the last and the first frame, 8-bit grey levels."""
    colours: int = Field(ge=1)
    """Distinct colours in the first frame, counted up to 4096."""
    distinct_frames: int = Field(ge=1)
    """Frames that differ from every earlier frame."""
    steps: tuple[float, ...] = ()
    """Summed absolute difference of each frame and the next one, 8-bit grey levels; frames - 1 numbers."""
    ink: tuple[float, ...] = ()
    """Share of each frame's pixels whose grey level differs from the most frequent one of the first frame, 0 to 1."""
    colour_steps: tuple[float, ...] = ()
    """Mean absolute difference between each frame and the next over pixels and RGB channels, 0 to 1. The last entry is
    the step from the last frame back to the first."""
    looks: Looks | None = None
    """None in old samples."""

    @property
    def complete(self) -> bool:
        """Whether all numbers that the current rules need were measured."""
        return self.looks is not None and bool(self.looks.ground)


class ScorePart(Record):
    """One named part of a score."""

    name: str
    value: float = Field(ge=0, le=1)
    weight: float = Field(ge=0, le=1)
    explanation: str


class Score(Record):
    """How good a GIF is, 0 to 1, and why."""

    scorer: str
    """Name and version of the rule, e.g. "article-1"."""
    total: float = Field(ge=0, le=1)
    parts: tuple[ScorePart, ...]


# --- samples and runs ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reply:
    """One answer of a model."""

    text: str
    done_reason: str
    """ "stop", "length"; "closed" or "loop" if localgif ended the stream: the answer was whole, or repeated itself."""
    prompt_tokens: int | None
    """None for a closed stream of a server that sends the counts only at the end."""
    output_tokens: int
    """The server's count; for a closed stream the number of chunks, one per token."""
    seconds: float
    cached_tokens: int | None = None
    """Tokens of the prompt that were in the server's cache; None if it does not report them."""


class Attempt(Record):
    """One reply of the animator within a sample, and the outcome of its program."""

    reply: str
    code: str | None
    """Hash of the extracted program (code/<hash>.py), if there was one."""
    verdict: Verdict
    reason: str
    done_reason: str | None
    """As reported by the server: stop, length; "closed" if localgif closed the stream after a complete code block."""
    prompt_tokens: int | None
    """None if unknown, as for a closed stream of an Ollama."""
    cached_tokens: int | None = None
    """How many of them the server had in its cache; None if unknown."""
    output_tokens: int
    llm_seconds: float
    sandbox_seconds: float


#: search: within the budget. retest: chooses the winner among the best candidates. fresh: the final comparison.
#: transfer: after the comparison, on a neighbouring task that the search never saw.
Purpose = Literal["search", "retest", "fresh", "transfer"]


class Sample(Record):
    """One candidate x task x index: messages -> code -> GIF -> score."""

    schema_version: int = SCHEMA_VERSION
    candidate: str
    """Hash of the candidate (candidates/<hash>.md)."""
    task: str
    index: int = Field(ge=0)
    """Number of the sample; with the run's seed it determines the model's seed."""
    purpose: Purpose
    metric_call: int | None
    """Counted from 1; None for samples outside the budget (retest, fresh, transfer)."""
    seed: int
    attempts: tuple[Attempt, ...]
    verdict: Verdict
    code: str | None
    gif: str | None
    measurements: Measurements | None
    score: Score
    also: tuple[Score, ...] = ()
    """Scores of the same GIF by the other rules."""
    started: str
    """UTC, ISO 8601."""
    at: float | None = None
    """Seconds of work in the run when this was stored; None in version 1."""


#: The kind of a proposal: a whole prompt (plain), a worked example, one rule, tuned numbers in a program, or another
#: choice or order of examples.
Move = Literal["prompt", "example", "instruction", "tune", "order"]
#: Moves that make no request to a model.
UNASKED: tuple[Move, ...] = ("tune", "order")


class Proposal(Record):
    """One answer of the reflector or one search without a model, and its outcome."""

    schema_version: int = SCHEMA_VERSION
    number: int = Field(ge=1)
    parent: str
    """Hash of the parent candidate."""
    child: str | None
    """Hash of the proposed candidate, if there is one."""
    outcome: Literal["evaluated", "unchanged", "empty", "rejected", "measured"]
    """evaluated: it became a candidate (plain reflection, a rule). measured: its program ran and was scored; `child` is
    set if the program beat the parent's example. rejected: for the cause in `reason`; it cost no metric call."""
    move: Move = "prompt"
    task: str = ""
    """The task of the program or of the worst sample; "" if unknown."""
    reason: str = ""
    """Cause of a rejection: empty, cut_off, loop, thinking, unchanged, duplicate, no_program, no_rule, ..."""
    code: str | None = None
    """Hash of the measured program."""
    score: float | None = None
    """Score of the measured program, 0 to 1."""
    prompt: str
    reply: str
    finish_reason: str
    """ "length" if the reply used up num_predict, "closed" or "loop" if localgif ended it, otherwise "stop"."""
    prompt_tokens: int
    cached_tokens: int | None = None
    """As for an attempt."""
    output_tokens: int
    llm_seconds: float
    started: str
    at: float | None = None
    """As for a sample."""


class SearchEnd(Record):
    """Why and where the search ended. A resumed run ends at the same place, although the clock has moved on."""

    reason: str
    """ "target", "budget", "minutes" or "idle"."""
    asked: int = Field(ge=0)
    """How many times the search had checked whether to stop, including the last time."""


class ModelIdentity(Record):
    """The model behind a role, as exactly as the endpoint identifies it."""

    role: Literal["animator", "reflector"]
    alias: str
    """Name in models.toml."""
    model: str
    """Name on the endpoint."""
    endpoint: str
    kind: str
    server: str
    """Name and version that the server reports."""
    digest: str | None
    """sha256 of the weights, if the endpoint reports it."""
    num_ctx: int
    num_predict: int
    temperature: float


Status = Literal["started", "done", "interrupted", "failed"]


class SandboxRecord(Limits):
    """The sandbox of a run: its level and every limit."""

    level: str = ""
    layers: tuple[str, ...] = ()
    root: bool = False
    """Whether localgif ran as root."""
    notes: tuple[str, ...] = ()
    """What the level guarantees, then why each stronger level is unavailable."""


# --- the result of a run: `--json` prints it, and run.json has it as `result` (docs/json.md) --------------------------


class _Result(Record):
    """Base of the parts of a result. Their docstrings become descriptions in docs/result.schema.json."""

    model_config = ConfigDict(use_attribute_docstrings=True)


class PromptResult(_Result):
    """A prompt and its samples. Scores are 0 to 1, higher is better. Lists have one entry per fresh sample, task by
    task, except search_scores and retest_scores."""

    search_scores: tuple[float, ...] = ()
    """Scores in the search, on the tasks that choose the best candidate."""
    retest_scores: tuple[float, ...] = ()
    """Scores in the re-test, on the tasks that choose the best candidate."""
    scores: tuple[float, ...]
    mean: float
    """Mean of `scores`."""
    also: dict[str, tuple[float, ...]] = {}
    """Name and version of each other rule -> its scores of the same samples."""
    frames: tuple[int | None, ...] = ()
    """Stored frames; None without a GIF."""
    loop_ratios: tuple[float | None, ...] = ()
    """Difference between last and first frame, divided by the mean step; None without a GIF or without motion."""
    verdicts: tuple[Verdict, ...] = ()
    copies: int | None = None
    """Samples whose program is in the prompt, ignoring comments and layout; None in old runs."""
    programs: int | None = None
    """Different programs among the samples, ignoring comments and layout; None in old runs."""
    prompt: str
    candidate: str
    """Hash of the prompt (candidates/<hash>.md)."""


class BestResult(PromptResult):
    """The best prompt of a run."""

    is_seed: bool
    """True if no proposal beat the seed prompt. The samples are then those of the seed prompt."""


class BestOf(_Result):
    """The best sample of each task in a run without reflection."""

    samples: int
    """Samples within the budget."""
    tasks: tuple[str, ...]
    scores: tuple[float, ...]
    also: dict[str, tuple[float, ...]] = {}
    """Name and version of each other rule -> its scores of the same samples."""
    gifs: tuple[str | None, ...] = ()
    """Names in gifs/; None without a GIF."""


class TaskResult(_Result):
    """Fresh scores of both prompts on one task, 0 to 1."""

    task: str
    brief: str
    family: str
    seed_scores: tuple[float, ...]
    best_scores: tuple[float, ...]
    seed_mean: float
    best_mean: float
    difference: float
    """best_mean - seed_mean."""


class FrontPrompt(_Result):
    """A prompt of the front."""

    candidate: str
    """Hash of the prompt (candidates/<hash>.md)."""
    tasks: dict[str, float]
    """Validation task -> its mean score in the search."""


class FrontResult(_Result):
    """Several prompts used together: each answers the request, and the best measured answer is kept."""

    prompts: tuple[FrontPrompt, ...]
    """The best prompt on average comes first."""
    scores: tuple[float, ...]
    """Scores of the kept answers, one per fresh sample of the best prompt, task by task."""
    mean: float
    """Mean of `scores`."""
    answers: int
    """Requested answers; the next prompt is used only if the best score so far is too low."""


Word = Literal["better", "worse", "not shown"]
Unit = Literal["sample", "task"]


class RunVerdict(_Result):
    """Whether the best prompt scores higher than the seed prompt, and the numbers behind the answer."""

    word: Word
    difference: float
    """Mean over tasks of the mean difference, best minus seed."""
    interval: tuple[float, float] | None = None
    """95 % bootstrap interval of `difference`; None with one unit. Equal bounds if all units differ by the same
    amount."""
    confidence: float = 0.95
    p_value: float
    """Two-sided, permutation test. If a difference was shown with fewer pairs than planned, the largest p that the
    missing pairs could have led to."""
    smallest_possible_p_value: float
    """The smallest p that the planned number of units can reach."""
    unit: Unit = "sample"
    """What was resampled."""
    pairs: int | None = None
    """Pairs of fresh samples; None in old runs."""
    planned: int | None = None
    """Planned pairs. If `pairs` is smaller, no further pair could have changed the word. None in old runs."""
    tasks: int = 1
    by_copying: bool | None = None
    """Whether the best prompt is better and most of its samples copied a program in it; None in old runs."""

    def rounded(self) -> RunVerdict:
        """The verdict with numbers rounded to 4 decimals, as stored."""
        interval = None if self.interval is None else (round(self.interval[0], 4), round(self.interval[1], 4))
        numbers = ("difference", "p_value", "smallest_possible_p_value")
        return self.model_copy(update={"interval": interval, **{n: round(getattr(self, n), 4) for n in numbers}})


class TokensByRole(_Result):
    """Tokens of each role. For a stream that localgif closed, the tokens received until then."""

    animator: int
    reflector: int

    @property
    def total(self) -> int:
        """Of both roles."""
        return self.animator + self.reflector


class PromptTokens(_Result):
    """Tokens of prompts by role; 0 for answers whose server did not report them, or not in time."""

    read: TokensByRole
    """Tokens that the server read; all tokens of the prompts if it does not report cached ones."""
    cached: TokensByRole
    """Tokens that the server had cached from earlier prompts."""


class SecondsByPart(_Result):
    """Working time of a run and its parts, in seconds."""

    total: float
    weights: float = 0.0
    """Finding, downloading and verifying the weights."""
    load: float = 0.0
    """Starting the endpoint and loading its first model."""
    llm: float = 0.0
    """Both models together."""
    animator: float | None = None
    """None in old runs, as `reflector`."""
    reflector: float | None = None
    sandbox: float = 0.0


class PeakMemory(_Result):
    """Peak resident size in bytes."""

    localgif: int
    endpoint: int | None
    """Of the embedded endpoint; None for any other."""


class RunResult(_Result):
    """The findings and the cost of a finished run."""

    run: str
    folder: str
    status: Literal["done"] = "done"
    mode: str = "single"
    task: str
    """Task names separated by commas, or the name of the split."""
    scorer: str
    reflection: str
    seed: PromptResult
    best: BestResult
    best_of: BestOf | None = None
    """Only with reflection "none"."""
    front: FrontResult | None = None
    """Only for a grounded search over several tasks."""
    tasks: tuple[TaskResult, ...] = ()
    """The tested tasks; in mode general the held-out ones."""
    transfer: tuple[TaskResult, ...] = ()
    """One answer of each prompt, without repairs, to two neighbouring tasks that the search never saw. Not part of the
    verdict; empty without --transfer, or if no proposal beat the seed prompt."""
    split: dict[str, tuple[str, ...]] | None = None
    """Mode general: task names by part."""
    verdict: RunVerdict
    ended_by: str
    """ "target" (a re-test reached it; without reflection one sample of each task did), "budget", "minutes", "idle"."""
    metric_calls: int
    """Evaluations with real samples."""
    llm_calls: int
    """Requests to both models."""
    proposals: int
    """Requests to the reflector alone."""
    output_tokens: TokensByRole
    """Tokens that each role wrote."""
    prompt_tokens: PromptTokens | None = None
    """None in old runs."""
    reflector_tokens_by_move: dict[str, int] = {}
    """Tokens that the reflector wrote, by kind of step."""
    programs_run: int = 0
    """Programs run in the sandbox; identical programs run once."""
    seconds: SecondsByPart
    memory: PeakMemory
    animator: ModelIdentity
    reflector: ModelIdentity
    sandbox: SandboxRecord


class ServedModel(Record):
    """One model of the embedded endpoint."""

    name: str
    """Ollama-style name, e.g. "qwen2.5-coder:1.5b"."""
    path: str
    """The GGUF file."""
    digest: str
    """sha256 of the file, hex."""
    size: int
    num_ctx: int = Field(ge=256)
    """The window to allocate, in tokens."""
    description: str = ""
    """Family, size and quantisation for people, e.g. "Qwen2.5-Coder-1.5B-Instruct Q4_K_M"."""


#: How a server names fields beyond OpenAI's, and how it counts tokens. "other" gets llama.cpp's field names, and is not
#: asked to count.
Dialect = Literal["llama.cpp", "vllm", "other"]


class RemoteModel(Record):
    """One model of an OpenAI-compatible server that localgif did not start."""

    name: str
    """Name of the model on its server."""
    url: str
    """Address of the server without `/v1`."""
    key: str = Field("", repr=False)
    """Bearer token. Only the gateway's process receives it, and it is not stored."""
    dialect: Dialect
    server: str
    """For people and run.json, e.g. "vLLM 0.32.0"."""
    window: int
    """Tokens of prompt and answer together; 0 if unknown."""
    slots: int = 0
    """Parallel requests of the server; 0 if unknown."""
    context_length: int = 0
    """The window that the model was trained for, in tokens; 0 if unknown, as are the next three."""
    parameters: int = 0
    size: int = 0
    created: int = 0
    """Seconds since 1970."""
    quantisation: str = "unknown"
    template: str | None = None
    """The chat template; None if the server does not report it."""


class ServeConfig(Record):
    """The configuration of `localgif serve`."""

    models: tuple[ServedModel, ...] = ()
    remotes: tuple[RemoteModel, ...] = ()
    slots: int = Field(1, ge=1)
    """Parallel requests to the server of `remotes`; embedded engines have slots of their own."""
    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = Field(0, ge=0, le=65535)
    """0: the system picks a free port."""
    threads: int | None = None
    """None: one for each physical core."""
    swap: bool = False
    """Whether to unload a model before loading another, because the memory cannot hold all of them."""
    max_queue: int = Field(512, ge=1)
    """Most requests that wait; further ones get status 503."""
