"""Checks of the reflector's replies: a usable program, or a rule that says something new."""

from __future__ import annotations

import ast
import builtins
import re
import sys
from collections.abc import Iterable
from typing import NamedTuple

from localgif.agent import extract
from localgif.search.programs import foreign_imports
from localgif.syntax import parsed
from localgif.tasks.task import Targets
from localgif.thoughts import spoken

#: Longest rule, characters: about 50 tokens.
RULE_CAP = 220

#: Shortest rule, words.
RULE_WORDS = 4

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


def common(reply: str, finish: str) -> Rejected | None:
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


def program(reply: str, finish: str) -> str | Rejected:
    """The program in a reply, or why there is none."""
    wrong = common(reply, finish)
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


def rule(reply: str, finish: str, present: Iterable[str], fixed: str, targets: Targets) -> str | Rejected:
    """The rule in a reply, or why there is none.

    Args:
        reply: The reflector's text.
        finish: How the reply ended: stop, closed, length or loop.
        present: The rules of the prompt.
        fixed: The contract; a rule must not repeat it.
        targets: The targets of the task; a rule must not contradict them.
    """
    wrong = common(reply, finish)
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
    if len(text.split()) < RULE_WORDS or not re.search(r"[a-z]{3}", text):
        return Rejected("no_rule", "The last answer held no rule. Write one sentence that tells what to do.")
    if re.search(r"\brules?\b", text, re.IGNORECASE):
        return Rejected("no_rule", "The last answer talked about rules. Write what the program must do.")
    against = contradiction(text, targets)
    if against:
        return Rejected("contradiction", f"The last rule contradicted the task ({against}).")
    known = {normalised(each) for each in present}
    if normalised(text) in known:
        return Rejected("duplicate", "That rule is there already. Write another one.")
    if normalised(text) in normalised(fixed):
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


def normalised(text: str) -> str:
    """The words in lower case, to compare texts."""
    return " ".join(re.findall(r"[a-z0-9]+", text.lower()))


#: Modules of Pillow that programs use under their own names.
_PILLOW = frozenset(
    {"Image", "ImageChops", "ImageColor", "ImageDraw", "ImageEnhance", "ImageFilter", "ImageFont", "ImageOps"}
    | {"ImagePath", "ImageSequence"}
)


def with_imports(code: str) -> str:
    """The program with an import for each module of Pillow or the standard library that it uses but never binds.

    Only `name.something` counts as a use: `math.cos` needs math; a forgotten variable `copy` does not need copy. A
    program that does not parse is returned unchanged.
    """
    tree = parsed(code)
    if tree is None:
        return code
    bound = set(dir(builtins))
    used: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id=name, ctx=ast.Load())):
                used.add(name)
            case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name):
                bound.add(name)
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                bound.add(name)
            case ast.Import(names=names) | ast.ImportFrom(names=names):
                bound.update(alias.asname or alias.name.split(".")[0] for alias in names)
            case ast.ExceptHandler(name=str(name)):
                bound.add(name)
            case _:
                pass
    if "*" in bound:
        return code
    missing = used - bound
    pillow = sorted(missing & _PILLOW)
    lines = [f"import {name}" for name in sorted(missing & sys.stdlib_module_names)]
    if pillow:
        lines.append(f"from PIL import {', '.join(pillow)}")
    if not lines:
        return code
    future = [n.end_lineno or 0 for n in tree.body if isinstance(n, ast.ImportFrom) and n.module == "__future__"]
    place = max(future, default=0)
    own = code.split("\n")
    return "\n".join([*own[:place], *lines, *own[place:]])
