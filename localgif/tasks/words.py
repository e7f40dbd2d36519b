"""Splits a brief into words: the phrases of words.txt, punctuation, numbers, and unknown words. Pure."""

from __future__ import annotations

import difflib
import functools
import re
from importlib import resources
from typing import NamedTuple

from localgif.tasks.colours import HEX, name_of_hex


class Word(NamedTuple):
    """One phrase of a sentence."""

    kind: str
    """A kind of words.txt; "unknown" for any other word, "," and "." for punctuation."""
    value: str
    """What it means; "" where the kind says it all."""
    text: str
    """As it stands in the sentence, in lower case."""

    @property
    def doing(self) -> bool:
        """Whether it is a verb that ends in -ing."""
        return self.text.split(" ")[0].endswith("ing")


#: Stands before and after every sentence.
STOP = Word(".", "", ".")

#: Verbs that double their last letter in -ing and -ed.
_DOUBLED = frozenset(
    {"hop", "spin", "bob", "flip", "swim", "run", "sit", "zip", "skip", "throb", "zigzag", "zag", "flap", "drop"}
    | {"get", "plan", "ship", "shut", "slip", "span", "swap", "win"}
)
#: Irregular forms.
_MORE = {
    "spin": ("spun",),
    "fall": ("fell",),
    "rise": ("rose",),
    "grow": ("grown",),
    "swing": ("swung",),
    "travel": ("travelled", "travelling"),
    "lie": ("lying",),
}

#: Words that only English has: a sentence with one of them is not in another language.
_ENGLISH = frozenset(
    {"the", "and", "with", "that", "which", "is", "are", "of", "from", "around", "while", "into", "there"}
)

_BEFORE = r"(?:in|for|with|of|exactly|at|lasting|takes?|one|a|loop|and|under|below|less than|at most|smaller than)"
#: Numbers that a sentence may state: key of the targets, pattern, and the factor from its unit to the key's.
_NUMBERS = (
    ("frames", r"(\d+) frames?(?: long)?", 1),
    ("loop_ms", r"(\d+(?:\.\d+)?) ?(?:s|sec|secs|seconds?)(?: long| loop| per loop)?", 1000),
    ("loop_ms", r"(\d+) ?(?:ms|milliseconds?)(?: long| loop)?", 1),
    ("max_bytes", r"(\d+) ?(?:kb|kib|kilobytes?)", 1024),
    ("max_side", r"(\d+)(?: ?x ?\d+)? ?(?:px|pixels?)(?: wide| large| square)?", 1),
)

_HEX = re.compile(HEX)

#: An unknown word is read as a known one if they are at least this similar and have at least this many letters.
_LIKE, _LETTERS = 0.84, 5
#: The kinds of words whose spelling is corrected.
_SPELLED = frozenset({"colour", "shape", "ground", "leans", "turn", "pulse", "blink", "grow"})


def _forms(verb: str) -> list[str]:
    """All forms of a verb."""
    if verb.endswith("e"):
        found = [verb, f"{verb}s", f"{verb}d", f"{verb[:-1]}ing"]
    elif verb.endswith("y") and verb[-2] not in "aeou":
        found = [verb, f"{verb[:-1]}ies", f"{verb[:-1]}ied", f"{verb}ing"]
    else:
        stem = verb + verb[-1] if verb in _DOUBLED else verb
        found = [
            verb,
            f"{verb}es" if verb.endswith(("o", "s", "sh", "ch", "x", "z")) else f"{verb}s",
            f"{stem}ed",
            f"{stem}ing",
        ]
    return [*found, *_MORE.get(verb, ())]


def _verbs(pattern: str) -> str:
    """A pattern with the forms of its verbs: "spin~", "(?:rise|fall)~"."""

    def forms(match: re.Match[str]) -> str:
        verbs = [verb.partition(" ") for verb in (match[1] or match[2]).split("|")]
        return f"(?:{'|'.join(form + space + rest for verb, space, rest in verbs for form in _forms(verb))})"

    return re.sub(r"\(\?:([a-z |]+)\)~|([a-z]+)~", forms, pattern)


@functools.cache
def _blocks() -> tuple[tuple[str, str, re.Pattern[str]], ...]:
    """Kind, meaning and pattern of each block of words.txt."""
    text = resources.files(__package__).joinpath("words.txt").read_text(encoding="utf-8")
    names: dict[str, str] = {}
    found = []
    for block in re.split(r"\n(?=\S)", re.sub(r"^#.*$", "", text, flags=re.MULTILINE).strip()):
        head, _, body = block.partition("\n")
        kind, _, value = head.partition(" ")
        if kind == "let":
            name, pattern = value.split(maxsplit=1)
            names[name] = _filled(pattern, names)
        else:
            phrases = re.split(r" \| ", " ".join(line.strip() for line in body.splitlines()))
            whole = "|".join(_verbs(_filled(phrase, names)) for phrase in phrases)
            found.append((kind, value, re.compile(f"(?:{whole})(?:(?<= )|(?![a-z0-9']))")))
    return tuple(found)


def _filled(pattern: str, names: dict[str, str]) -> str:
    return re.sub(r"\{([A-Z]+)\}", lambda match: names[match[1]], pattern)


@functools.cache
def _spellings() -> tuple[str, ...]:
    """The words that a misspelled word can mean: colours, shapes, backgrounds and verbs."""
    plain = {
        word for kind, _, pattern in _blocks() if kind in _SPELLED for word in re.findall("[a-z]+", pattern.pattern)
    }
    return tuple(sorted(word for word in plain if len(word) >= _LETTERS and _is_known(word)))


def _is_known(word: str) -> bool:
    found, end = _longest(word, 0)
    return found is not None and end == len(word) and found.kind in _SPELLED


#: Names of colours as CSS joins them: "skyblue", "darkgreen".
_JOINED = re.compile(
    r"\b(light|dark|pale|deep|medium|sky|navy|royal|midnight|steel|hot|lime|forest|sea|slate|dim|mint)"
    r"(white|gr[ae]y|red|orange|yellow|green|cyan|blue|purple|pink|brown|violet|magenta|turquoise|salmon|orchid)\b"
)


def normalised(text: str) -> str:
    """Lower case, one space between words, punctuation apart, no hyphens; of "#" only colours in hex digits."""
    text = text.lower().replace("\u2019", "'").replace("\u2192", "->").replace("=>", "->")
    text = re.sub(r"n't\b", " not", text.replace("can't", "can not").replace("won't", "will not"))
    text = re.sub(r"\b(do|does|did|is|are)nt\b", r"\1 not", re.sub(r"'s\b", " is", text))
    text = re.sub(r"(?<=\w)-like\b", "", text)
    text = _JOINED.sub(r"\1 \2", text)
    text = re.sub(r"(?<=\w)[-\u2010-\u2015](?=\w)", " ", text)
    text = re.sub(rf"\( ?({HEX}) ?\)", r" \1 ", text)  # "teal (#008080)"
    text = re.sub(r"\.(?!\d)|[;!?()|/\u2013\u2014]|\s-\s", " . ", text).replace(":", " : ")
    text = re.sub(r"(?<!\d),|,(?!\d)", " , ", text).replace("+", " + ").replace("&", " & ")
    return " ".join(re.sub(rf"(?!{HEX})[^\w\s.,:'&+>-]", " ", text).split())


def numbers(text: str) -> tuple[str, dict[str, int]]:
    """A normalised sentence without the targets that it names, and the targets."""
    found: dict[str, int] = {}
    for key, pattern, unit in _NUMBERS:
        if match := re.search(rf"(?<!\S)(?:{_BEFORE} )*{pattern}(?!\S)", text):
            found[key] = round(float(match[1]) * unit)
            text = f"{text[: match.start()]}, {text[match.end() :]}"
    return " ".join(text.split()), found


def words(text: str) -> tuple[list[Word], list[tuple[str, str]]]:
    """The phrases of a normalised sentence in order, and the misspelled words, each with its correction."""
    found: list[Word] = []
    corrected: list[tuple[str, str]] = []
    at, text = 0, f"{text.strip()} "  # some phrases end with a space
    while at < len(text):
        word, end = _longest(text, at)
        if word is None:
            end = text.index(" ", at)
            here = text[at:end]
            word = Word({".": ".", ":": ".", ",": ","}.get(here, "unknown"), "", here)
            if meant := _meant(here):
                corrected.append((here, meant))
                word = _longest(meant, 0)[0] or word
        if found and found[-1].kind == word.kind == "colour" and "#" in found[-1].text + word.text:
            word = max(found.pop(), word, key=lambda each: "#" in each.text)  # the digits count, not the name
        found.append(word)
        at = end
        while text[at : at + 1] == " ":
            at += 1
    return found, corrected


def _longest(text: str, at: int) -> tuple[Word | None, int]:
    """The longest phrase that begins here, and where it ends."""
    best, end = None, at
    if digits := _HEX.match(text, at):
        return Word("colour", name_of_hex(digits[0]), digits[0]), digits.end()
    for kind, value, pattern in _blocks():
        match = pattern.match(text, at)
        said = match[0].rstrip(" ,") if match else ""
        if len(said) > end - at:
            best, end = Word(kind, value, said), at + len(said)
    return best, end


def _meant(word: str) -> str:
    """The known word that a misspelled one means; "" if none is similar enough."""
    if len(word) < _LETTERS or not word.isalpha():
        return ""
    near = difflib.get_close_matches(
        word, [each for each in _spellings() if (each[0], each[-1]) == (word[0], word[-1])], n=1, cutoff=_LIKE
    )
    return near[0] if near else ""


def is_english(text: str, found: list[Word]) -> bool:
    """Whether a normalised sentence can be English: half of its words are known, or one exists only in English."""
    own = re.findall(r"[^\W\d_]+", text)
    if any(ord(letter) > 0x24F for word in own for letter in word):
        return False
    unknown = sum(word.kind == "unknown" for word in found)
    return unknown <= 0.5 * len(own) or any(word in _ENGLISH for word in own)
