"""The reflector: its requests, each asked once, its answers, each recorded, and what counts as one."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import resources
from typing import Any, NamedTuple

from localgif.agent import extract
from localgif.agent.extract import parsed
from localgif.endpoint.clients import Reflector
from localgif.endpoint.thoughts import spoken
from localgif.files import content_hash, now
from localgif.records import Move, Proposal, Reply
from localgif.search.evaluator import Candidate, prompt_of, sample_seed
from localgif.search.programs import CAPTION, Trial, foreign_imports, written_down
from localgif.search.progress import Progress
from localgif.store.log import Answer
from localgif.store.write import RunStore
from localgif.tasks.suite import Suite
from localgif.tasks.task import Targets, Task


def asked_once(
    store: RunStore, progress: Progress, seed: int, request: Sequence[str | bytes], ask: Callable[[], Reply]
) -> Reply:
    """The answer to a request: the stored one, else a new one, stored before it is returned.

    Args:
        request: Text and pictures.
        ask: Asks the model.

    Raises:
        EndpointError: The endpoint failed.
        RunMismatch: The stored run did something else at this point.
    """
    name = content_hash("\n".join(content_hash(part) for part in request))
    answer = store.known_answer(seed, name)
    if answer is None:
        store.journal.new_work("a question to the reflector")
        progress.replay(False)
        started = now()
        reply = ask()
        answer = Answer(
            seed=seed,
            request=name,
            text=reply.text,
            done_reason=reply.done_reason,
            prompt_tokens=reply.prompt_tokens,
            cached_tokens=reply.cached_tokens,
            output_tokens=reply.output_tokens,
            seconds=round(reply.seconds, 3),
            started=started,
            at=store.elapsed(),
        )
        store.append(answer)
    counts = answer.prompt_tokens, answer.output_tokens
    return Reply(answer.text, answer.done_reason, *counts, answer.seconds, answer.cached_tokens)


def facts(targets: Targets) -> str:
    """The background facts with the targets' numbers, one per line."""
    text = resources.files(__package__).joinpath("facts.txt").read_text(encoding="utf-8")
    return text.format(frames=targets.frames, delay_ms=targets.delay_ms).strip()


def _known(background: str) -> str:
    known = "".join(f"- {line}\n" for line in background.splitlines())
    return f"Facts about Pillow and GIFs:\n{known}\n" if known else ""


def _opening(task: Task, background: str) -> str:
    return f"{_known(background)}Animation: {task.brief}.\n"


def _order(task: Task) -> str:
    t = task.targets
    return (
        f"It must save exactly {t.frames} frames, one loop of about {t.loop_ms / 1000:g} s that closes without a "
        f"jump, under {t.max_bytes // 1024} KB. Use only Pillow and the standard library. At most 40 lines, no "
        "comments. Answer with one ```python block and nothing else."
    )


def write_program(task: Task, background: str, remark: str = "") -> str:
    """The request for a new program."""
    return (
        f"{_opening(task, background)}\nWrite a Python program with one function make_gif(path) that draws this "
        f"animation and saves it as a GIF to path. {_order(task)}{_said(remark)}"
    )


def adapt_program(task: Task, background: str, other: Task, code: str) -> str:
    """The request for a program modelled on one that draws another animation well."""
    return (
        f"{_known(background)}This program draws another animation, {other.brief}, and is good:\n"
        f"```python\n{code.strip()}\n```\n\nAnimation: {task.brief}.\nWrite a program for this animation in the same "
        f"form: one function make_gif(path), changed in what is drawn and how it moves. {_order(task)}"
    )


def repair_program(task: Task, background: str, code: str, feedback: str) -> str:
    """The request for a corrected program, with what was measured."""
    return (
        f"{_opening(task, background)}\nThis program was run:\n```python\n{code.strip()}\n```\n"
        f"What was measured:\n{feedback}\n\nWrite the whole program again with this put right: one function "
        f"make_gif(path). {_order(task)}"
    )


def write_rule(
    suite: Suite,
    task: Task,
    background: str,
    rules: Sequence[str],
    worst: str,
    best: str,
    standing: Mapping[str, float],
    remark: str = "",
) -> str:
    """The request for one more rule.

    Args:
        suite: The tasks of the run.
        task: The task of the worst program.
        background: Facts.
        rules: The rules of the prompt.
        worst: What was measured of the worst program.
        best: What was measured of the best one, or "".
        standing: Brief -> mean score, for the measured tasks.
        remark: What was wrong with the last answer.
    """
    present = "".join(f"{number}. {text}\n" for number, text in enumerate(rules, 1)) or "none yet\n"
    return (
        f"{_animations(suite, task, background, standing)}\nA small model writes a Pillow program for "
        f"{'this animation' if suite.mode == 'single' else 'each of them'}. "
        f"The rules that it was given:\n{present}\n"
        f"Its worst program:\n{worst}\n\n"
        + (f"Its best program:\n{best}\n\n" if best else "")
        + "Write one new rule for the model, one sentence of at most 25 words, in English, no code, that avoids the "
        + f"worst problem{'' if suite.mode == 'single' else ' and is right for every animation'}. "
        + f'Answer with one line that begins with "Rule:".{_said(remark)}'
    )


def sharpen_rule(
    suite: Suite,
    task: Task,
    background: str,
    old: str,
    worst: str,
    standing: Mapping[str, float],
    remark: str = "",
) -> str:
    """The request for one rule in better words; arguments as for write_rule."""
    return (
        f"{_animations(suite, task, background, standing)}\nA small model writes a Pillow program for "
        f"{'this animation' if suite.mode == 'single' else 'each of them'}. It was given this "
        f"rule:\n{old}\n\nStill its worst program had this problem:\n{worst}\n\nWrite the rule again, more exact, one "
        f'sentence of at most 25 words, no code. Answer with one line that begins with "Rule:".{_said(remark)}'
    )


def _animations(suite: Suite, task: Task, background: str, standing: Mapping[str, float]) -> str:
    """The animation; with several tasks the measured ones, each with its score."""
    if suite.mode == "single":
        return _opening(task, background)
    lines = "".join(f"- {brief}: {score:.2f} of 1\n" for brief, score in standing.items())
    return f"{_known(background)}Animations, and how well the programs for them did:\n{lines}"


def _said(remark: str) -> str:
    return f"\n{remark}" if remark else ""


class Ledger:
    """The reflector's side of a run: each request, its answer, its cost and its outcome."""

    def __init__(self, reflector: Reflector, suite: Suite, store: RunStore, progress: Progress) -> None:
        self.proposals: list[Proposal] = []
        self.asked = 0
        """Requests so far."""
        self.store = store
        self.progress = progress
        self._reflector = reflector
        self._suite = suite
        self._shown: tuple[bytes, ...] = ()
        """The pictures of the last request."""

    @property
    def tokens(self) -> int:
        """Tokens that the reflector wrote."""
        return sum(proposal.output_tokens for proposal in self.proposals)

    def ask(self, request: str, finished: Callable[[str], str], longest: int, images: Sequence[bytes] = ()) -> Reply:
        """The answer to one request with its contact sheets.

        Raises:
            EndpointError: The endpoint failed.
        """
        self.asked += 1
        self._shown = tuple(images)
        # A new seed each time, never a sample's: the same request must not give the same answer.
        seed = sample_seed(self.store.settings.seed, -self.asked)
        text = self._captioned(request)
        return asked_once(
            self.store,
            self.progress,
            seed,
            (text, *self._shown),
            lambda: self._reflector.write(text, seed, finished, longest, self._shown),
        )

    def record(
        self,
        move: Move,
        task: Task,
        parent: Candidate,
        request: str,
        reply: Reply,
        *,
        outcome: Any,
        reason: str = "",
        trial: Trial | None = None,
        child: Candidate | None = None,
    ) -> None:
        """Store the answer to the last request and its outcome."""
        self._append(
            move,
            task,
            parent,
            child,
            trial,
            outcome=outcome,
            reason=reason,
            prompt=written_down(self._captioned(request), self._shown, self.store),
            reply=reply.text,
            finish_reason=reply.done_reason,
            prompt_tokens=reply.prompt_tokens or 0,
            cached_tokens=reply.cached_tokens,
            output_tokens=reply.output_tokens,
            llm_seconds=round(reply.seconds, 3),
        )

    def _captioned(self, request: str) -> str:
        return CAPTION + request if self._shown else request

    def record_search(self, task: Task, parent: Candidate, start: Trial, found: Trial, child: Candidate | None) -> None:
        """Store a program that a search over formulas or numbers found."""
        words = (
            f"other formulas or numbers for program {self.store.put('code', start.code)} (score {start.score.total})"
        )
        self._append("tune", task, parent, child, found, outcome="measured", prompt=words)

    def record_dropped(self, task: Task, parent: Candidate, rule: str, child: Candidate) -> None:
        """Store that a rule was dropped to make room."""
        self._append("instruction", task, parent, child, None, outcome="evaluated", prompt=f"dropped the rule: {rule}")

    def record_order(self, task: Task, parent: Candidate, child: Candidate) -> None:
        """Store another choice or order of examples."""
        self._append("order", task, parent, child, None, outcome="evaluated", prompt="other examples or another order")

    def _append(
        self, move: Move, task: Task, parent: Candidate, child: Candidate | None, trial: Trial | None, **fields: Any
    ) -> None:
        unasked = {
            "reply": "",
            "finish_reason": "stop",
            "prompt_tokens": 0,
            "output_tokens": 0,
            "llm_seconds": 0.0,
        }
        proposal = Proposal(
            number=len(self.proposals) + 1,
            started=now(),
            move=move,
            task=task.name,
            parent=self._hash(parent),
            child=self._hash(child) if child else None,
            code=self.store.put("code", trial.code) if trial else None,
            score=trial.score.total if trial else None,
            **{**unasked, **fields},
        )
        proposal = self.store.append_proposal(proposal)
        self.proposals.append(proposal)
        self.progress.proposal(proposal)

    def _hash(self, candidate: Candidate) -> str:
        return self.store.put("candidates", prompt_of(candidate, self._suite))


# --- what counts as an answer -----------------------------------------------------------------------------------------

#: Longest rule, characters: about 50 tokens.
RULE_CAP = 220

#: Shortest rule, words.
_RULE_WORDS = 4

#: Only this many characters of a reply are searched for the rule.
_MOST_READ = 20_000

# Linear time: all repetitions are possessive, and no character belongs to two neighbouring ones.
_LABEL = re.compile(
    r"^[-*>#\d.) \t]*+rule[ \t]*+\d{0,9}[ \t]*+\**+[ \t]*+:[ \t*]*+\n?[ \t*]*+([^\n]+)", re.IGNORECASE | re.MULTILINE
)

_MONOLOGUE = re.compile(
    r"^(okay|ok|sure|certainly|let me|let's|hmm|first,|i |i'm|i'll|we |the user|to (fix|improve|address|solve)|here)\b",
    re.IGNORECASE,
)

_CODE = re.compile(
    r"```|\bdef \w++\(|^[ \t]*+(?:import|from) \w|\bprint\(|==|\b\w++\.\w++\([^)\n]*+\)[ \t]*+$", re.MULTILINE
)

_OTHER_LIBRARY = re.compile(
    r"\b(matplotlib|opencv|cv2|imageio|numpy|pygame|moviepy|tkinter|turtle|scipy)\b", re.IGNORECASE
)

_FRAMES = re.compile(r"\b(\d{1,9})[\s-]{0,9}frames?\b", re.IGNORECASE)

_DELAY = re.compile(r"\bduration\b\D{0,12}(\d{1,9})", re.IGNORECASE)

_OTHER_FUNCTION = re.compile(r"\b(?:function|named?|call(?:ed)?)\s+`?((?!make_gif\b)[a-z_]+)\(", re.IGNORECASE)


class Rejected(NamedTuple):
    """Why a reply is unusable."""

    code: str
    remedy: str
    """What the next request says about it."""


def _common(reply: str, finish: str) -> Rejected | None:
    """Problems of any reply: empty, cut off, repeating itself, or only thoughts."""
    if not reply.strip():
        return Rejected("empty", "The last answer was empty.")
    if finish == "loop":
        return Rejected("loop", "The last answer repeated itself. Be short.")
    if not spoken(reply).strip():
        return Rejected("thinking", "The last answer held only thoughts. Answer at once.")
    if finish == "length":
        return Rejected("cut_off", "The last answer was too long and was cut off. Be short.")
    return None


def read_program(reply: str, finish: str) -> str | Rejected:
    """The program in a reply, or why there is none."""
    wrong = _common(reply, finish)
    # A cut or looping reply can still contain a whole program before the point where it went wrong.
    if wrong is not None and not (wrong.code in ("cut_off", "loop") and extract.complete(reply)):
        return wrong
    code = extract.extract(reply)
    if code is None:
        return Rejected("no_program", "The last answer held no program. Answer with one ```python block.")
    tree = parsed(code)
    if tree is None:
        return Rejected("syntax", "The last program was not valid Python, or nested too deeply.")
    if not any(isinstance(node, ast.FunctionDef) and node.name == extract.FUNCTION for node in tree.body):
        return Rejected("no_function", f"The last program had no function {extract.FUNCTION}(path).")
    foreign = foreign_imports(code)
    if foreign:
        return Rejected("other_library", f"The last program imported {', '.join(foreign)}, which is not there.")
    return code


def read_rule(reply: str, finish: str, present: Iterable[str], fixed: str, targets: Targets) -> str | Rejected:
    """The rule in a reply, or why there is none.

    Args:
        reply: The reflector's text.
        finish: How the reply ended: stop, closed, length or loop.
        present: The rules of the prompt.
        fixed: The contract; a rule must not repeat it.
        targets: The targets of the task; a rule must not contradict them.
    """
    wrong = _common(reply, finish)
    if wrong is not None:
        return wrong
    said = spoken(reply[:_MOST_READ]).strip()
    labelled = _LABEL.search(said)
    text = " ".join((labelled[1] if labelled else said).strip().strip("*\"'").split())
    if "def " in text or text.startswith("```") or (not labelled and _CODE.search(said)):
        return Rejected("function_for_rule", "The last answer was code. Write one sentence in English, no code.")
    if not labelled and (_MONOLOGUE.match(text) or "\n" in said):
        return Rejected("monologue", 'The last answer talked around it. Begin with "Rule:" and write one sentence.')
    if _CODE.search(text):
        return Rejected("function_for_rule", "The last answer was code. Write one sentence in English, no code.")
    if len(text) > RULE_CAP:
        return Rejected("too_long", "The last rule was too long. At most 25 words.")
    if len(text.split()) < _RULE_WORDS or not re.search(r"[a-z]{3}", text):
        return Rejected("no_rule", "The last answer held no rule. Write one sentence that tells what to do.")
    if re.search(r"\brules?\b", text, re.IGNORECASE):
        return Rejected("no_rule", "The last answer talked about rules. Write what the program must do.")
    against = contradiction(text, targets)
    if against:
        return Rejected("contradiction", f"The last rule contradicted the task ({against}).")
    known = {_normalised(each) for each in present}
    if _normalised(text) in known:
        return Rejected("duplicate", "That rule is there already. Write another one.")
    if _normalised(text) in _normalised(fixed):
        return Rejected("unchanged", "The task says that already. Write another rule.")
    return text


def labelled(text: str) -> bool:
    """Whether a line of the text begins with "Rule:"."""
    return _LABEL.search(text) is not None


def contradiction(text: str, targets: Targets) -> str:
    """How a rule contradicts the contract, or ""."""
    for found in _FRAMES.finditer(text):
        if int(found[1]) > 1 and int(found[1]) != targets.frames:
            return f"{found[0]}, asked are {targets.frames} frames"
    for found in _DELAY.finditer(text):
        if int(found[1]) not in (targets.delay_ms, targets.loop_ms):
            return f"{found[0]}, asked is a duration of {targets.delay_ms} ms"
    other = _OTHER_LIBRARY.search(text)
    if other and not re.search(r"\b(no|not|never|without|avoid|don't)\b", text, re.IGNORECASE):
        return f"{other[0]}, only Pillow may be used"
    named = _OTHER_FUNCTION.search(text)
    if named:
        return f"a function {named[1]}, it must be {extract.FUNCTION}"
    return ""


def _normalised(text: str) -> str:
    """The words in lower case, to compare texts."""
    return " ".join(re.findall(r"[a-z0-9]+", text.lower()))
