"""Frozen records of everything that is stored or sent between processes."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

#: Version of the run folder's files; raised when a reader of the old ones would misread the new ones.
SCHEMA_VERSION = 2


class Record(BaseModel):
    """Base: immutable, and a key nobody knows is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


# --- sandbox -------------------------------------------------------------------------------------------------------


class Limits(Record):
    """What one program may use. Sizes in bytes, times in seconds."""

    cpu_seconds: float = Field(4.0, gt=0)
    """CPU time; the limit that decides."""
    wall_seconds: float = Field(14.0, gt=0)
    """Elapsed time; a safety net against sleepers, wide because the model server shares the cores."""
    address_space: int = Field(600 * 2**20, gt=0)
    """RLIMIT_AS of each process."""
    rss: int = Field(500 * 2**20, gt=0)
    """Resident memory of the whole process tree, by the watch."""
    processes: int = Field(1, ge=1)
    """Processes in the tree, by the watch (and RLIMIT_NPROC for ordinary users)."""
    threads: int = Field(8, ge=1)
    """Threads in the tree, by the watch."""
    file_size: int = Field(4 * 2**20, ge=0)
    """RLIMIT_FSIZE, and the largest GIF that is read."""
    open_files: int = Field(32, ge=8)
    """RLIMIT_NOFILE."""
    scratch_bytes: int = Field(16 * 2**20, ge=0)
    """All files of the scratch directory together, by the watch."""
    scratch_entries: int = Field(64, ge=0)
    """Files and folders in the scratch directory, by the watch."""
    output_kept: int = Field(64 * 2**10, ge=0)
    """How much of the end of stdout and stderr is kept."""
    source_bytes: int = Field(200 * 2**10, gt=0)
    """The longest program that is run at all."""


class Verdict(StrEnum):
    """What became of a program. All of them are the program's doing; our own failures are exceptions."""

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
    """The model's reply held no program; nothing was run."""


class ProgramResult(Record):
    """One program, run in the sandbox. `gif` is there exactly when the verdict is ok."""

    verdict: Verdict
    reason: str
    """One or a few lines for people and reflectors; holds program output, so it is a claim, not a fact."""
    output: str
    """End of stdout and stderr, control characters stripped."""
    gif: bytes | None
    wall_seconds: float
    cpu_seconds: float
    peak_rss: int
    """Largest resident size seen by the watch or reported by the kernel, bytes."""


# --- GIFs ----------------------------------------------------------------------------------------------------------


class Piece(NamedTuple):
    """Touching pixels of one colour in one frame. Places are shares of width and height, from the top left corner."""

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
    """Edges; 0 and 1 are the picture's own."""
    spread: float
    """Area of the circle around it, by its own area: a disc 1, a square 1.6, an equilateral triangle 2.4."""
    elongation: float
    """Longest to shortest axis of the ellipse with its second moments: a disc and a square 1."""
    fold: int
    """Its rotational symmetry: a bar 2, a triangle 3, a square 4; 0 when nothing shows which way it points."""
    angle: float
    """Which way it points, degrees, up to a multiple of 360 / fold."""


class Looks(Record):
    """What is seen, frame by frame; each tuple has one entry a frame."""

    background: tuple[str, ...]
    """Commonest colour name of the picture's border."""
    cover: tuple[float, ...]
    """Share of the picture that has that colour."""
    pieces: tuple[tuple[Piece, ...], ...]
    """What stands out from it, the 12 largest pieces, largest first."""


class Measurements(Record):
    """Numbers about one GIF, taken in a confined process."""

    frames: int = Field(ge=1)
    """Frames stored in the file."""
    width: int = Field(ge=1)
    height: int = Field(ge=1)
    size: int = Field(ge=1)
    """Bytes of the file."""
    delays_ms: tuple[int, ...]
    """Stored delay of each frame, milliseconds; 0 where the file holds none."""
    loop: int | None
    """The loop count of the file: 0 is endless, None is no loop extension."""
    motion: float = Field(ge=0)
    """Mean over steps of the summed absolute difference of neighbouring frames, 8-bit grey levels."""
    gap: float = Field(ge=0)
    """Summed absolute difference of the last and the first frame, 8-bit grey levels."""
    colours: int = Field(ge=1)
    """Different colours in the first frame (counted up to 4096)."""
    distinct_frames: int = Field(ge=1)
    """Frames that differ from all frames before them."""
    steps: tuple[float, ...] = ()
    """Summed absolute difference of each frame and the next one, 8-bit grey levels; frames - 1 numbers."""
    ink: tuple[float, ...] = ()
    """Share of each frame's pixels whose grey level differs from the commonest one of the first frame, 0 to 1."""
    colour_steps: tuple[float, ...] = ()
    """Mean absolute difference of each frame and the next one over pixels and RGB channels, 0 to 1; the last entry is
    the step from the last frame back to the first, so there are as many as frames."""
    looks: Looks | None = None
    """What is seen; None in samples of versions that did not look."""


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
    """One reply of the animator inside a sample, and what became of its program."""

    reply: str
    code: str | None
    """sha256 of the extracted program (its text is in code/), None when there was none."""
    verdict: Verdict
    reason: str
    done_reason: str | None
    """The server's word: stop, length; "closed" when we closed the stream after the first complete code block."""
    prompt_tokens: int | None
    """None when the server did not say (a stream that we closed)."""
    output_tokens: int
    llm_seconds: float
    sandbox_seconds: float


Purpose = Literal["search", "retest", "fresh"]

"""Search: within the budget. Retest: the best candidates again, to choose the winner. Fresh: the final comparison."""


class Sample(Record):
    """One candidate x task x index: messages -> code -> GIF -> score."""

    schema_version: int = SCHEMA_VERSION
    candidate: str
    """Hash of the candidate (candidates/<hash>.md)."""
    task: str
    index: int = Field(ge=0)
    """Which sample of this candidate; the model's seed follows from it and the run's seed."""
    purpose: Purpose
    metric_call: int | None
    """1-based; None for samples outside the budget (retest, fresh)."""
    seed: int
    attempts: tuple[Attempt, ...]
    verdict: Verdict
    code: str | None
    gif: str | None
    measurements: Measurements | None
    score: Score
    also: tuple[Score, ...] = ()
    """What the other rules say of the same GIF."""
    started: str
    """UTC, ISO 8601."""
    at: float | None = None
    """Seconds that the run had been at work when this was stored; None in version 1."""


Move = Literal["prompt", "example", "instruction", "tune"]

"""What a reflection tried: a whole prompt (plain), a worked example, one rule, or other numbers in a program."""


class Proposal(Record):
    """One answer of the reflector, or one search over a program's numbers, and what became of it."""

    schema_version: int = SCHEMA_VERSION
    number: int = Field(ge=1)
    parent: str
    """Hash of the candidate that was reflected on."""
    child: str | None
    """Hash of the proposed candidate; None when the answer gave none."""
    outcome: Literal["evaluated", "unchanged", "empty", "rejected", "measured"]
    """Evaluated: it became a candidate (plain reflection, a rule). Measured: a program that was run and scored; `child`
    is there when it beat the example that the parent has. Rejected: `reason` says why; it cost no metric call."""
    move: Move = "prompt"
    task: str = ""
    """What the program or the worst sample is of; "" where that is not said."""
    reason: str = ""
    """Code of a rejection: empty, cut_off, loop, thinking, unchanged, duplicate, no_program, no_rule, ..."""
    code: str | None = None
    """Hash of the program that was measured."""
    score: float | None = None
    """What that program scored."""
    prompt: str
    reply: str
    finish_reason: str
    """ "length" when the reply used up num_predict, "closed" or "loop" when we ended it, else "stop"."""
    prompt_tokens: int
    output_tokens: int
    llm_seconds: float
    started: str
    at: float | None = None
    """As of a sample."""


class SearchEnd(Record):
    """Why and where the search ended: a clock cannot be asked again."""

    reason: str
    """ "target", "budget", "minutes" or "idle"."""
    asked: int = Field(ge=1)
    """How many times the search had asked whether it should stop, this last time included."""


class ModelIdentity(Record):
    """Which weights answered, as exactly as the endpoint can tell."""

    role: Literal["animator", "reflector"]
    alias: str
    """Name in models.toml."""
    model: str
    """Name that the endpoint knows."""
    endpoint: str
    kind: str
    server: str
    """Server name and version as reported."""
    digest: str | None
    """sha256 of the weights, where the endpoint reports it."""
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
    """Two-sided, permutation test."""
    smallest_possible_p_value: float
    """The smallest p that this many units can reach."""
    unit: Unit = "sample"
    """What was resampled."""
    pairs: int | None = None
    """Pairs of fresh samples; None in old runs."""
    tasks: int = 1

    def rounded(self) -> RunVerdict:
        """The same with numbers to 4 decimals, as they are stored."""
        interval = None if self.interval is None else (round(self.interval[0], 4), round(self.interval[1], 4))
        numbers = ("difference", "p_value", "smallest_possible_p_value")
        return self.model_copy(update={"interval": interval, **{n: round(getattr(self, n), 4) for n in numbers}})


class TokensByRole(_Result):
    """Tokens that each role wrote. A stream that localgif closed counts the tokens received until then."""

    animator: int
    reflector: int

    @property
    def total(self) -> int:
        """Of both roles."""
        return self.animator + self.reflector


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
    tasks: tuple[TaskResult, ...] = ()
    """The tested tasks; in mode general the held-out ones."""
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
    """One model that the embedded endpoint offers."""

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
    """One model of an OpenAI-compatible server that somebody else runs, as it was found there."""

    name: str
    """The server's own name for it."""
    url: str
    """Address of the server without `/v1`."""
    key: str = Field("", repr=False)
    """Bearer token; crosses to the gateway's process only, and is stored nowhere."""
    dialect: Dialect
    server: str
    """For people and for the run's record, e.g. "vLLM 0.32.0"."""
    window: int
    """Tokens of prompt and answer together; 0 when the server does not say."""
    slots: int = 0
    """Requests that the server works on at once; 0 when it does not say."""
    context_length: int = 0
    """The window that the model was trained for; 0 when the server does not say, like the next three."""
    parameters: int = 0
    size: int = 0
    created: int = 0
    """Seconds since 1970, as the server lists it."""
    quantisation: str = "unknown"
    template: str | None = None
    """The chat template; None when the server does not show it."""


class ServeConfig(Record):
    """What `localgif serve` serves."""

    models: tuple[ServedModel, ...] = ()
    remotes: tuple[RemoteModel, ...] = ()
    slots: int = Field(1, ge=1)
    """Requests at once to the server of `remotes`. The embedded engines get one at a time, all together."""
    host: str = "127.0.0.1"
    """Address to listen at."""
    port: int = Field(0, ge=0, le=65535)
    """0: the system picks a free one."""
    threads: int | None = None
    """None: the machine's physical cores."""
    swap: bool = False
    """Whether a model is unloaded before another is loaded, because there is no memory for all at once."""
    max_queue: int = Field(512, ge=1)
    """Requests that may wait; one more is answered with 503."""
