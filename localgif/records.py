"""Frozen records of everything that is stored or sent between processes."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

#: Version of the files in a run folder; raised when an old reader would misread new files.
SCHEMA_VERSION = 2


class Record(BaseModel):
    """Base: immutable; unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, ser_json_inf_nan="strings")


# --- sandbox -------------------------------------------------------------------------------------------------------


class Limits(Record):
    """Limits of one program. Sizes in bytes, times in seconds."""

    cpu_seconds: float = Field(4.0, gt=0)
    """CPU time; the limit that normally ends a runaway program."""
    wall_seconds: float = Field(14.0, gt=0)
    """Elapsed time; stops sleeping programs. Wide, because the model server shares the cores."""
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
    """Kept bytes from the end of stdout and stderr."""
    source_bytes: int = Field(200 * 2**10, gt=0)
    """Longest program that runs."""


class Verdict(StrEnum):
    """The outcome of a program. Each one is caused by the program; failures of localgif are exceptions."""

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
        """Whether the program gets it on every run. How busy the machine is decides whether a program reaches a limit
        of time or is ended by the system, and how often the watch looks at its memory.
        """
        return self not in (Verdict.CPU_LIMIT, Verdict.WALL_LIMIT, Verdict.MEMORY_LIMIT, Verdict.CRASHED)


class ProgramResult(Record):
    """One program, run in the sandbox. `gif` is set if and only if the verdict is ok."""

    verdict: Verdict
    reason: str
    """A few lines for people and reflectors. It may contain program output, which is not trustworthy."""
    output: str
    """End of stdout and stderr, without control characters."""
    gif: bytes | None
    wall_seconds: float
    cpu_seconds: float
    peak_rss: int
    """Largest resident size that the watch or the kernel reported, bytes."""


# --- GIFs ----------------------------------------------------------------------------------------------------------


class Piece(NamedTuple):
    """Connected pixels of one colour in one frame. Positions are shares of width and height, from the top left."""

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
    """Area of the enclosing circle / own area: disc 1, square 1.6, equilateral triangle 2.4."""
    elongation: float
    """Ratio of the axes of the ellipse with the same second moments: disc and square 1."""
    fold: int
    """Rotational symmetry: bar 2, triangle 3, square 4; 0 if it has no direction."""
    angle: float
    """Direction in degrees, up to a multiple of 360 / fold."""
    rgb: tuple[int, int, int] | None = None
    """Its middle shade, 0-255; None in old samples."""
    inertia: float = 1.0
    """Second moment about its centre, by that of a disc of the same area: disc 1, square 1.05, triangle 1.21, plus sign
    1.3, ring 1.7; 1 in old samples."""


class Looks(Record):
    """The visible pieces; each tuple has one entry per frame."""

    background: tuple[str, ...]
    """Most frequent colour name at the border of the picture."""
    cover: tuple[float, ...]
    """Share of the picture with that colour."""
    pieces: tuple[tuple[Piece, ...], ...]
    """The 12 largest pieces in other colours, largest first."""
    ground: tuple[tuple[int, int, int], ...] = ()
    """The background's middle shade at the border, 0-255; empty in old samples."""


class Measurements(Record):
    """Numbers about one GIF, measured in a confined process."""

    model_config = ConfigDict(allow_inf_nan=True)  # compared with the file's structure before anything else

    frames: int = Field(ge=1)
    """Frames stored in the file."""
    width: int = Field(ge=1)
    height: int = Field(ge=1)
    size: int = Field(ge=1)
    """Bytes of the file."""
    delays_ms: tuple[int, ...]
    """Stored delay of each frame, milliseconds; 0 if the file has none."""
    loop: int | None
    """Loop count of the file: 0 is endless, None means no loop extension."""
    motion: float = Field(ge=0)
    """Mean over steps of the summed absolute difference of neighbouring frames, 8-bit grey levels."""
    gap: float = Field(ge=0)
    """Summed absolute difference of the last and the first frame, 8-bit grey levels."""
    colours: int = Field(ge=1)
    """Distinct colours in the first frame (counted up to 4096)."""
    distinct_frames: int = Field(ge=1)
    """Frames that differ from every earlier frame."""
    steps: tuple[float, ...] = ()
    """Summed absolute difference of each frame and the next one, 8-bit grey levels; frames - 1 numbers."""
    ink: tuple[float, ...] = ()
    """Share of each frame's pixels whose grey level is not the most frequent one of the first frame, 0 to 1."""
    colour_steps: tuple[float, ...] = ()
    """Mean absolute difference of each frame to the next over pixels and RGB channels, 0 to 1; the last entry is the
    step from the last frame back to the first."""
    looks: Looks | None = None
    """None in old samples."""

    @property
    def complete(self) -> bool:
        """Whether every number that a rule of this version needs was measured."""
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


class Attempt(Record):
    """One reply of the animator within a sample, and the outcome of its program."""

    reply: str
    code: str | None
    """Hash of the extracted program (code/<hash>.py), if there was one."""
    verdict: Verdict
    reason: str
    done_reason: str | None
    """As the server says: stop, length; "closed" if localgif closed the stream after the first complete code block."""
    prompt_tokens: int | None
    """None if unknown, as for a closed stream of an Ollama."""
    cached_tokens: int | None = None
    """Those among them that the server still had; None if unknown."""
    output_tokens: int
    llm_seconds: float
    sandbox_seconds: float


#: search: within the budget. retest: chooses the winner among the best candidates. fresh: the final comparison.
#: transfer: of a neighbouring task that the search never saw, after the comparison.
Purpose = Literal["search", "retest", "fresh", "transfer"]


class Sample(Record):
    """One candidate x task x index: messages -> code -> GIF -> score."""

    schema_version: int = SCHEMA_VERSION
    candidate: str
    """Hash of the candidate (candidates/<hash>.md)."""
    task: str
    index: int = Field(ge=0)
    """Number of the sample; the model's seed follows from it and from the run's seed."""
    purpose: Purpose
    metric_call: int | None
    """1-based; None for samples outside the budget (retest, fresh, transfer)."""
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
    """Seconds of work when this was stored; None in version 1."""


#: The kind of a proposal: a whole prompt (plain), a worked example, one rule, or tuned numbers in a program.
Move = Literal["prompt", "example", "instruction", "tune", "order"]
#: Moves that ask no model.
UNASKED: tuple[Move, ...] = ("tune", "order")


class Proposal(Record):
    """One answer of the reflector, or one number search, and its outcome."""

    schema_version: int = SCHEMA_VERSION
    number: int = Field(ge=1)
    parent: str
    """Hash of the parent candidate."""
    child: str | None
    """Hash of the proposed candidate, if there is one."""
    outcome: Literal["evaluated", "unchanged", "empty", "rejected", "measured"]
    """evaluated: it became a candidate (plain reflection, a rule). measured: a program that ran and was scored; `child`
    is set if it beat the parent's example. rejected: `reason` says why; it cost no metric call."""
    move: Move = "prompt"
    task: str = ""
    """The task of the program or of the worst sample; "" if unknown."""
    reason: str = ""
    """Code of a rejection: empty, cut_off, loop, thinking, unchanged, duplicate, no_program, no_rule, ..."""
    code: str | None = None
    """Hash of the measured program."""
    score: float | None = None
    """Score of that program."""
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
    """Why and where the search ended. A resumed run needs it, because the clock has moved on."""

    reason: str
    """ "target", "budget", "minutes" or "idle"."""
    asked: int = Field(ge=0)
    """How many times the search had checked whether to stop, this time included."""


class ModelIdentity(Record):
    """The weights that answered, as exactly as the endpoint reports them."""

    role: Literal["animator", "reflector"]
    alias: str
    """Name in models.toml."""
    model: str
    """Name on the endpoint."""
    endpoint: str
    kind: str
    server: str
    """Reported name and version of the server."""
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
    """What the level promises, then why each stronger level is unavailable."""


# --- the result of a run: what `--json` prints, and `result` in run.json (docs/json.md) -------------------------------


class _Result(Record):
    """Base of the parts of a result. Their docstrings become descriptions in docs/result.schema.json."""

    model_config = ConfigDict(use_attribute_docstrings=True)


class PromptResult(_Result):
    """A prompt and its samples. Lists have one entry per fresh sample, task by task; scores are 0 to 1."""

    search_scores: tuple[float, ...] = ()
    """Scores in the search, on the tasks that decide."""
    retest_scores: tuple[float, ...] = ()
    """Scores in the re-test, on the tasks that decide."""
    scores: tuple[float, ...]
    mean: float
    """Mean of `scores`."""
    also: dict[str, tuple[float, ...]] = {}
    """Name and version of each other rule -> its scores of the same samples."""
    frames: tuple[int | None, ...] = ()
    """Stored frames; None without a GIF."""
    loop_ratios: tuple[float | None, ...] = ()
    """Gap between last and first frame / mean step; None without a GIF or without motion."""
    verdicts: tuple[Verdict, ...] = ()
    copies: int | None = None
    """Samples that ran a program that stands in the prompt, comments and layout aside; None in old runs."""
    programs: int | None = None
    """Number of different programs among the samples, comments and layout aside; None in old runs."""
    prompt: str
    candidate: str
    """Hash of the prompt (candidates/<hash>.md)."""


class BestResult(PromptResult):
    """The best prompt of a run."""

    is_seed: bool
    """True when no proposal beat the seed prompt. The samples are then the seed's."""


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
    """Several prompts together: of the answers to one request, the best measured one is kept."""

    prompts: tuple[FrontPrompt, ...]
    """The best prompt on average first."""
    scores: tuple[float, ...]
    """Kept scores, one per fresh sample of the best prompt, task by task."""
    mean: float
    """Mean of `scores`."""
    answers: int
    """Answers asked for; a further prompt is asked only where the best score so far falls short."""


Word = Literal["better", "worse", "not shown"]
Unit = Literal["sample", "task"]


class RunVerdict(_Result):
    """Whether the best prompt scores higher than the seed prompt, and the numbers behind the answer."""

    word: Word
    difference: float
    """Mean over tasks of the mean difference, best minus seed."""
    interval: tuple[float, float] | None = None
    """Its 95 % bootstrap interval; None with one unit. Equal edges if all units differ by the same amount."""
    confidence: float = 0.95
    p_value: float
    """Two-sided, permutation test. In a difference shown with fewer pairs than planned, the largest p that the others
    could have led to."""
    smallest_possible_p_value: float
    """The smallest p that the planned number of units can reach."""
    unit: Unit = "sample"
    """What was resampled."""
    pairs: int | None = None
    """Pairs of fresh samples; None in old runs."""
    planned: int | None = None
    """Pairs that were planned: with fewer made, no further one could have changed the word. None in old runs."""
    tasks: int = 1
    by_copying: bool | None = None
    """Whether the best prompt is better and most of its samples ran a program that stands in it; None in old runs."""

    def rounded(self) -> RunVerdict:
        """The same with numbers to 4 decimals, as they are stored."""
        interval = None if self.interval is None else (round(self.interval[0], 4), round(self.interval[1], 4))
        numbers = ("difference", "p_value", "smallest_possible_p_value")
        return self.model_copy(update={"interval": interval, **{n: round(getattr(self, n), 4) for n in numbers}})


class TokensByRole(_Result):
    """Tokens of each role. A stream that localgif closed counts the tokens received until then."""

    animator: int
    reflector: int

    @property
    def total(self) -> int:
        """Of both roles."""
        return self.animator + self.reflector


class PromptTokens(_Result):
    """Tokens of prompts by role. Answers of servers that do not count them, or not in time, count 0."""

    read: TokensByRole
    """Tokens that the server read; if it does not say what it still had, all tokens of the prompts."""
    cached: TokensByRole
    """Tokens that it still had from earlier prompts."""


class SecondsByPart(_Result):
    """Working time of a run and what it went into, seconds."""

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
    """Peak resident size, bytes."""

    localgif: int
    endpoint: int | None
    """Of the embedded endpoint; None for any other."""


class RunResult(_Result):
    """What a finished run found and what it cost."""

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
    """Of a grounded search over several tasks; None otherwise."""
    tasks: tuple[TaskResult, ...] = ()
    """The tested tasks; in mode general the held-out ones."""
    transfer: tuple[TaskResult, ...] = ()
    """One answer of each prompt, without repairs, to two neighbouring tasks that the search never saw, no part of the
    verdict; empty if none were asked for."""
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
    """Requests to the reflector among them."""
    output_tokens: TokensByRole
    """Tokens that each role wrote."""
    prompt_tokens: PromptTokens | None = None
    """None in old runs."""
    reflector_tokens_by_move: dict[str, int] = {}
    """Tokens that the reflector wrote, by kind of step."""
    programs_run: int = 0
    """Programs run in the sandbox; equal programs run once."""
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
    """The window that is allocated."""
    description: str = ""
    """Family, size and quantisation for people, e.g. "Qwen2.5-Coder-1.5B-Instruct Q4_K_M"."""


#: How a server names the fields beyond OpenAI's, and counts tokens; "other" gets llama.cpp's names and is not asked.
Dialect = Literal["llama.cpp", "vllm", "other"]


class RemoteModel(Record):
    """One model of an OpenAI-compatible server that localgif did not start."""

    name: str
    """The server's own name for it."""
    url: str
    """Address of the server without `/v1`."""
    key: str = Field("", repr=False)
    """Bearer token. It goes only to the gateway's process and is not stored."""
    dialect: Dialect
    server: str
    """For people and run.json, e.g. "vLLM 0.32.0"."""
    window: int
    """Tokens of prompt and answer together; 0 if unknown."""
    slots: int = 0
    """Parallel requests of the server; 0 if unknown."""
    context_length: int = 0
    """The window that the model was trained for; 0 if unknown, like the next three."""
    parameters: int = 0
    size: int = 0
    created: int = 0
    """Seconds since 1970."""
    quantisation: str = "unknown"
    template: str | None = None
    """The chat template, if the server shows it."""


class ServeConfig(Record):
    """The configuration of `localgif serve`."""

    models: tuple[ServedModel, ...] = ()
    remotes: tuple[RemoteModel, ...] = ()
    slots: int = Field(1, ge=1)
    """Parallel requests to the server of `remotes`. All embedded engines together get one at a time."""
    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = Field(0, ge=0, le=65535)
    """0: the system picks a free port."""
    threads: int | None = None
    """None: the machine's physical cores."""
    swap: bool = False
    """Whether to unload a model before loading another, because the memory cannot hold all."""
    max_queue: int = Field(512, ge=1)
    """Requests that may wait; further ones get status 503."""
