"""One pass over the words of a brief: nouns become things or the background, and things get their verbs. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import cast

from localgif.tasks.drafts import CORNERS, Doubt, Draft
from localgif.tasks.nouns import LONG, NOUNS, VERBS, Noun, shaded, without_asides
from localgif.tasks.task import Colour, brief_error
from localgif.tasks.words import STOP, Word

#: Most things of one kind (tasks/task.py).
_COUNT = 8
#: A word like "several" counts as this many.
_SEVERAL = 3
#: What may stand among the colours of a change: "from red slowly to blue and then back".
_AMONG = frozenset({"from", "to", "and", ",", "while", "back", "shade", "colour-word", "its", "filler", "the"})
#: Prepositions that say which of two things is higher.
_HIGHER = {
    **dict.fromkeys(("above", "over", "on top of"), "above"),
    **dict.fromkeys(("below", "under", "beneath", "underneath"), "below"),
}
#: Things that others stand on.
_FLOORS = frozenset({"floor", "ground", "table", "shelf", "platform", "road"})
#: What only belongs to a thing.
_OUTLINES = frozenset({"outline", "border", "contour"})
#: Kinds of words after which a noun names a thing beside the one in focus.
_ASIDE = frozenset({"near", "around", "on"})


class Grammar:
    """The pass: go() fills `drafts`, `background`, `ground`, `notes`, `doubts` and `pauses`."""

    def __init__(self, words: Sequence[Word]) -> None:
        self.words = without_asides(words)
        self.background: Colour | None = None
        self.ground = ""
        """The background's colour as the sentence has it: "light blue"; "" without one."""
        self.ground_cycle: list[str] = []
        """Colours that the background takes later, as the sentence has them."""
        self.drafts: list[Draft] = []
        self.notes: list[tuple[int, str]] = []
        """Words that no check covers, each behind its place."""
        self.doubts: list[Doubt] = []
        self._at = 0
        self._focus: list[Draft] = []
        """The things that the next verb is about."""
        self._main: list[Draft] = []
        """The things that the clause is about."""
        self._beside: Draft | None = None
        """A thing after a preposition or a verb, until something else is named."""
        self._spoke = False
        """Whether a verb has come since the last new thing."""
        self._on_ground = False
        """Whether the background was named last."""
        self._place = ""
        """A place that was named before the thing in it."""
        self._early: list[Word] = []
        """Verbs that came before the first thing."""
        self._relation: tuple[str, Draft] | None = None
        """The same for a place above or below another thing."""
        self.pauses = False
        """Whether the picture holds still for a while."""

    def go(self) -> None:
        """Read all words.

        Raises:
            ConfigError: Two shapes of one thing, two backgrounds, or more of a kind than a task can have.
        """
        while self._at < len(self.words):
            noun = self._noun(self._at)
            if noun.is_one:
                self._take(noun)
                self._at = max(noun.end, self._at + 1)
            else:
                self._small(self.words[self._at])
                self._at += 1
        for draft in self.drafts:
            if "equalizer" in draft.traits and draft.shape == "bar":  # its bars rise from where they stand
                draft.found = [Word("loose", "size", "get taller and shorter")]
                draft.in_turn = draft.upright = draft.abreast = True
            if draft.in_turn and not draft.kinds(*VERBS):
                draft.found = [Word("blink", "", "one after the other")]
            # "falls and disappears": it only leaves the picture
            for word in draft.kinds("vanish") if draft.kinds("one-way", "half", "across", "exit") else []:
                if word.value == "?":
                    draft.found.remove(word)
                    self.notes.append((self.words.index(word), word.text))

    def _noun(self, start: int) -> Noun:
        noun = Noun(self.words, start, start)
        noun.read()
        return noun

    def _peek(self, step: int) -> Word:
        """The word `step` places ahead, or behind if negative."""
        at = self._at + step
        return self.words[at] if 0 <= at < len(self.words) else STOP

    def _note(self, text: str) -> None:
        self.notes.append((self._at, text))

    def _small(self, word: Word) -> None:
        """Read a word that does not begin a noun."""
        if word.kind == "not":
            self._negated()
        elif word.kind in VERBS:
            self._verb(word)
        elif word.kind == "colour":
            self._later_colour(word)
        elif word.kind in ("it", "they", "other"):
            self._pronoun(word)
        elif word.kind == "which":
            if self._beside is not None and self._peek(-1).kind != ".":
                # It refers to the thing after the preposition: "a ball above a bar that stays still".
                self._focus, self._beside, self._spoke = [self._beside], None, False
            elif self._peek(1).kind in VERBS and self._peek(1).text.split(" ")[0].endswith("s"):
                self._focus = self._focus[-1:]  # "a square and a circle that pulses"
        elif word.kind in ("while", "its") and self._main:
            self._focus = list(self._main)
        elif word.kind == "member":
            self._single_out(word)
        elif word.kind == "place":
            self._put(word)
        elif word.kind == "abreast" and self._focus and self._focus[-1].count > 1:
            self._focus[-1].abreast = True
        elif word.kind == "stacked":
            self._note(word.text)
            for draft in self._focus:
                draft.stacked = True
        elif word.kind == "count" and self._peek(1).text == "of them" and self._focus and self._focus[-1].vague:
            self._focus[-1].count, self._focus[-1].vague = int(word.value), False  # "rings, three of them"
            self.doubts = [doubt for doubt in self.doubts if doubt.said.split()[-1] != self._focus[-1].called]
        elif word.text == "upright" and self._focus and self._focus[-1].shape == "bar":
            self._focus[-1].upright = True
        elif word.kind == "trait":
            self._note(word.text)
            for draft in self._focus:
                draft.traits |= {word.value}
        elif word.kind == "alternate":
            self._note(word.text)
            if word.value == "blink":
                self._verb(Word("blink", "", word.text))  # "only one lit at a time"
            for draft in self._focus if sum(draft.count for draft in self._focus) > 1 else self.drafts:
                draft.in_turn = True
                draft.traits |= {word.value}
        elif word.text == "round" and self._peek(-1).kind == "move":
            self._verb(Word("path", "orbit", word.text))
        elif word.kind == "pause":
            self.pauses = True
        elif word.kind == "note" and word.value and self._focus and not self._focus[-1].scale:
            self._focus[-1].scale = word.value  # "a star, white, big"
        elif word.kind in ("note", "unknown", "abreast"):
            self._note(word.text)

    def _put(self, word: Word) -> None:
        """Give a place to the thing that was named last, or else to the next one."""
        thing = self._beside or (self._focus[-1] if self._focus else None)
        if self._leads():
            thing = None
        if word.value == "corners" and len(self._focus) > 1 and self._beside is None:
            for draft, corner in zip(self._focus, CORNERS, strict=False):
                draft.place = corner  # "a red and a blue dot, one in each corner"
        elif thing is not None and thing.count > 1 and self._peek(-1).kind == "count":
            # "two balls, one on the left and one on the right", "one at the top ..."
            thing.stacked |= word.value in ("top", "bottom")
            thing.abreast = not thing.stacked
        elif self._peek(-1).text == "one" and len(self._focus) > 1 and self._beside is None:
            self._focus = self._focus[:1]  # "..., one on the left, the other on the right"
            self._focus[0].place = word.value
        elif self._peek(-1).text.startswith("start"):
            self._note(word.text)  # only the beginning of its way
        elif not word.value or (thing is not None and thing.place not in ("", word.value)):
            self._note(word.text)
        elif thing is None:
            self._place = word.value
        else:
            thing.place = word.value
            if word.value == "corners" and thing.count == 1:
                thing.count = 4  # "one dot in every corner"

    def _leads(self) -> bool:
        """Whether a place begins a clause about a new thing: "... ; on the right, a red circle fades"."""
        noun = self._noun(self._at + 1 + (self._peek(1).kind in (",", ".")))
        return self._peek(-1).kind in (".", ",", "and", "while") and bool(noun.nouns) and noun.article in ("a", "count")

    def _single_out(self, word: Word) -> None:
        """Let the next words be about one of several: "three bars, the middle one growing"."""
        group = next((draft for draft in reversed(self.drafts) if draft.count > 1), None)
        if group is not None:
            at, every = self.drafts.index(group), [replace(group, count=1, several=False) for _ in range(group.count)]
            for draft in every:
                draft.found, draft.traits = list(group.found), group.traits | {"one of several"}
            self.drafts[at : at + 1] = every
        else:
            every = self.drafts
        number = int(word.value) if word.value else len(every) // 2
        self._focus = self._main = every[number:][:1] or every[-1:]
        self._spoke, self._beside = False, None

    # --- nouns -------------------------------------------------------------------------------------------------------

    def _take(self, noun: Noun) -> None:
        """Turn a noun into the background or a thing, or find the known thing that it names."""
        self.notes += [(at, text) for at, text in noun.notes if noun.shape != "bar" or text not in LONG]
        bare = not noun.nouns and not noun.ground
        if noun.before.kind in ("from", "to") and not noun.hues and self._resizes():
            self.notes += [(at, word.text) for at, word in noun.nouns]  # "grows from a dot to a large star"
            return
        others = [draft for draft in self.drafts if draft not in self._focus]
        if noun.before.kind in VERBS and others and self.words[noun.start].text in ("behind it", "behind them"):
            self._relate("behind", others[-1])  # "a ball passes behind it"
            return
        if noun.ground or (bare and noun.before.kind in ("on", "place") and noun.article != "count"):
            for word in noun.verbs:
                self._verb(word)
            self._on_ground = True
            if noun.hues:
                self._paint(noun.hues[0])
                self.ground = noun.paint
            return
        self._on_ground = False
        if noun.shape and noun.plural and not noun.hues and noun.count is None and self._sums_up(noun.start):
            for draft in self.drafts:
                draft.shape = draft.shape or noun.shape  # "all just plain circles"
            return
        if noun.head in _OUTLINES and self._focus:
            thing = self._focus[-1]  # "a star with a white outline"
            thing.hues, thing.paint = (thing.hues, thing.paint) if thing.hues else (noun.hues[:1], noun.paint)
            self.notes += [(at, word.text) for at, word in noun.nouns]
            return
        if (again := self._again(noun)) is not None:
            self._return_to(again, noun)
        elif noun.hues or noun.shape or self._starts(noun):
            self._new(noun)
        else:
            self.notes += [(at, word.text) for at, word in noun.nouns]

    def _sums_up(self, at: int) -> bool:
        """Whether what begins here is said of all things: "all of them plain circles"."""
        while at and self.words[at - 1].kind in ("filler", "is"):
            at -= 1
        return at > 0 and self.words[at - 1].kind == "they" and bool(self.drafts)

    def _resizes(self) -> bool:
        does = self._focus[-1].found if self._focus else []
        return any(
            word.kind in ("grow", "shrink", "pulse") or (word.kind, word.value) == ("loose", "size") for word in does
        )

    def _paint(self, hue: Colour) -> None:
        if self.background not in (None, hue):
            raise brief_error(f"the background is {self.background} and {hue}", "name one colour for the background")
        self.background = hue

    def _starts(self, noun: Noun) -> bool:
        """Whether a noun without a colour can be a thing here: only where a clause begins."""
        if noun.before.text.endswith("then") and not noun.article and noun.head.endswith("s"):
            return False  # an unknown verb: "grows, then pops"
        following = self.words[noun.end] if noun.end < len(self.words) else STOP
        if following.text == "with" and not noun.article:
            return False  # "equalizer with five green bars"
        if noun.article == "a" and (noun.before.kind == "around" or _orbits(noun.before)):
            return True  # "orbiting a planet"
        plain = self._beside is None and not any(draft.hues for draft in self.drafts)  # "two stars and a ring"
        if noun.article == "a" and _RING.search(noun.head) and following.kind == "around":
            return True  # "with a ring around it"
        begins = noun.before.kind in ("filler", "is") or (noun.before.kind == "and" and (self._spoke or plain))
        return noun.before.kind in (".", "while") or (begins and bool(noun.article))

    def _again(self, noun: Noun) -> Draft | None:
        """The known thing that a noun names; None if it names a new one."""
        if noun.article in ("a", "count") or noun.head == "one":
            return None
        fits = [
            draft
            for draft in self.drafts
            if (not noun.hues or not draft.hues or draft.hues[0] in noun.hues)
            and (not noun.nouns or noun.head in draft.names or (noun.shape and noun.shape == draft.shape))
        ]
        if not noun.article and noun.hues and not any(draft.hues == noun.hues for draft in fits):
            # "ball jumps, blue ball" names one ball
            return next((draft for draft in fits if noun.before.kind == "," and noun.head in draft.names), None)
        return next((draft for draft in fits if noun.head in draft.names), fits[0] if fits else None)

    def _return_to(self, draft: Draft, noun: Noun) -> None:
        draft.hues = draft.hues or list(noun.hues)
        draft.found += noun.verbs
        if noun.before.kind == "around" or _orbits(noun.before):
            self._orbit(draft)
            self._beside = draft
        elif noun.before.kind == "near":
            self._relate(noun.before.text, draft)
            self._beside = draft
        else:
            self._focus = self._main = [draft]
            self._spoke = False

    def _new(self, noun: Noun) -> None:
        """Add the things of a noun that names new ones."""
        first = not self.drafts
        named = self._focus[0] if len(self._focus) == 1 and noun.article == "a" and noun.hues else None
        made = self._made(noun)
        if (
            named is not None
            and named.is_name
            and (noun.before.text == "is" or (noun.before.kind == "," and named.words.startswith(("my ", "the "))))
        ):  # "my dog is a brown circle", "my logo, a blue star, spins"
            self.drafts = [draft for draft in self.drafts if draft is not named]
            self.notes += named.said
            made[0].names |= named.names
        before = noun.before
        if before.kind == "around" or _orbits(before):
            self._orbit(made[0])
        elif before.text == "between" and self._focus and any(w.value == "eight" for w in self._focus[-1].found):
            before = Word("around", "", before.text)
            self._orbit(made[0])
        if before.kind == "place" and before.value == "middle" and self._focus and not first:
            self._relate("inside", made[0])  # "in the centre of a red circle"
            self._beside = made[0]
            return
        if (before.kind in _ASIDE or before.kind in VERBS - {"back"}) and self._focus and not first:
            self._relate(before.text, made[0])
            self._beside = made[0]
            self._attach(noun, made[0])
            return
        # "a square and, below it, a circle"
        linked = before.kind == "and" or (before.kind == "," and self._peek(-2).kind != "back")
        linked |= self._focus[-1:] != [] and "one of a group" in made[0].traits & self._focus[-1].traits
        together = linked and not self._spoke and bool(self._focus) and self._beside is None
        self._beside = None
        self._focus = self._main = [*self._focus, *made] if together else made
        self._spoke = bool(noun.verbs)

    def _relate(self, preposition: str, other: Draft) -> None:
        """Note that the things in focus are above, below or inside another one."""
        if preposition in ("beside", "next to", "alongside"):
            for draft in (*self._focus, other):
                draft.traits |= {"beside"}
        elif preposition in _HIGHER:
            for draft in self._focus:
                setattr(draft, _HIGHER[preposition], other if other is not draft else None)
        elif (
            preposition in ("on", "onto")
            and (other.shape == "bar" or other.called in _FLOORS)
            and other not in self._focus
        ):
            other.carries = True
            for draft in self._focus:
                draft.above = other
        elif preposition == "behind" and other not in self._focus:
            for draft in self._focus:
                draft.behind = other
        elif preposition == "in front of" and other not in self._focus:
            other.behind = self._focus[-1]
        elif preposition in ("inside", "within") and other not in self._focus:
            other.holds = True
            for draft in self._focus:
                draft.inside = other

    def _attach(self, noun: Noun, thing: Draft) -> None:
        """Decide which thing the next verb is about if one stands beside another: "a ball above a bar spinning"."""
        following = self.words[noun.end] if noun.end < len(self.words) else STOP
        if not following.doing or following.kind not in VERBS:
            return
        if self._spoke or noun.before.text in ("with", "inside"):
            self._focus, self._spoke = [thing], False
            return
        owner = self._focus[-1]
        said = f"{owner.label} {noun.before.text} {thing.label} {following.text}"
        instead = f'to mean the {thing.label}, write "that" before "{following.text}"'
        self.doubts.append(Doubt(said, f"the {owner.label} {following.text}", instead))

    def _made(self, noun: Noun) -> list[Draft]:
        """The new things of a noun: one, or one for each of its colours."""
        group = next((draft for draft in reversed(self.drafts) if draft.several and not draft.hues), None)
        if noun.hues and group is not None and (not noun.nouns or noun.head == "one"):
            return [self._one_of(group, noun)]
        named = noun if noun.nouns else self._borrowed(noun)
        count = noun.count or 1
        hues: list[list[Colour]] = [noun.hues[:1]]  # "a red cherry": the second colour is what it is
        motley = noun.joined and len(noun.hues) > 1
        if motley and noun.plural and noun.count in (None, len(noun.hues)):
            hues, count, motley = [[hue] for hue in noun.hues], 1, False
        elif noun.vague or (noun.plural and noun.count is None and noun.article != "the"):
            said = f"{noun.vague} {noun.head}".strip()
            self.doubts.append(Doubt(said, f"{_SEVERAL} of them", f"write how many, 2 to {_COUNT}"))
            count = _SEVERAL
        if count > _COUNT:
            raise brief_error(f"the sentence asks for {count} of one kind", f"ask for at most {_COUNT} of one colour")
        made = [
            Draft(
                hues=[] if motley else each,
                count=count,
                shape=named.shape,
                called=" ".join(word.text for _, word in named.nouns),
                names=frozenset(form for _, word in named.nouns for form in (word.text, word.text.removesuffix("s"))),
                found=list(noun.verbs),
                place=self._place,
                scale=noun.scale,
                points=noun.points,
                traits=noun.traits,
                upright=noun.upright,
                motley=motley,
                several=count > 1,
                vague=count == _SEVERAL and noun.count is None,
                said=[] if named.shape else [(at, word.text) for at, word in named.nouns],
                words=noun.text if len(hues) == 1 and named is noun else "",
                paint=noun.paint if len(hues) == 1 else "",
            )
            for each in hues
        ]
        if not self.drafts:
            for draft in made:
                draft.found = [*self._early, *draft.found]
            self._early.clear()
        self.drafts += made
        if self._relation is not None:
            setattr(made[0], *self._relation)
        self._place, self._relation = "", None
        return made

    def _borrowed(self, noun: Noun) -> Noun:
        """For "one blue" in "one blue and one orange ball": the noun phrase after it."""
        if noun.end < len(self.words) and self.words[noun.end].kind in ("and", ","):
            following = self._noun(noun.end + 1)
            return noun if following.ground else following
        return noun

    def _one_of(self, group: Draft, noun: Noun) -> Draft:
        """One of several things that were named together: "two stars, one yellow and one red"."""
        count = noun.count or 1
        draft = replace(
            group,
            hues=noun.hues[:1],
            count=count,
            found=list(group.found),
            cycle=[],
            several=False,
            words="",
            paint=noun.paint,
            traits=group.traits | {"one of a group"},
        )
        group.count -= count
        if group.count <= 0:
            self.drafts.remove(group)
        self.drafts.append(draft)
        self._focus = [each for each in self._focus if each is not group]
        return draft

    # --- verbs and small words ---------------------------------------------------------------------------------------

    def _verb(self, word: Word) -> None:
        """Give a verb to the things that it is about."""
        if word.kind == "cycle" or (word.text.startswith(("turn", "go")) and self._turns_colour()):
            self._cycle(word)
            return
        if not self._focus:
            if self.drafts:
                self._note(word.text)
            else:
                self._early.append(word)  # "bouncing up and down, a ball ..."
            return
        self._spoke = True
        if word.kind == "loose" or (word.kind, word.value) == ("path", "?"):
            self._note(word.text)
        last = self._focus[-1].found[-1] if self._focus[-1].found else STOP
        if (word.kind, word.value) == ("path", "orbit") and all(HAND.search(draft.called) for draft in self._focus):
            word = Word("turn", "hand", word.text)  # a clock hand turns around the middle, and does not go round it
        if (word.kind, word.value, last.kind) == ("path", "orbit", "turn"):
            if all(draft.shape == "bar" for draft in self._focus):
                return
            self._orbit(None)
            instead = 'if it spins, write "around its own centre"'
            self.doubts.append(Doubt(f"{last.text} {word.text}", "going round in a circle", instead))
            return
        if word.kind == "own" and not any(draft.kinds("turn", "loose") for draft in self._focus):
            word = Word("turn", "", word.text)
        for draft in self._focus:
            draft.found.append(word)

    def _orbit(self, centre: Draft | None) -> None:
        """Let the things in focus go round another one, or in a circle; a turn that was read before meant that."""
        if centre is not None and not self._focus:
            self._relation = ("around", centre)  # "around a star, a ball orbits"
            return
        does = [word.kind for draft in self._focus for word in draft.found]
        if centre is not None and (
            all(kind in _IN_PLACE for kind in does)
            if does
            else all(_RING.search(draft.called) for draft in self._focus)
        ):
            for draft in self._focus:  # "a ring around it", or "a circle pulsing around it", does not move
                draft.holds, centre.inside = True, draft
            return
        if any(word.value == "eight" for draft in self._focus for word in draft.found):
            if centre is not None and centre.count == 2:
                centre.traits |= {"amid"}
                self._focus[-1].traits |= {"weaves"}
            return
        for draft in self._focus:
            if turns := draft.kinds("turn"):
                draft.found.remove(turns[-1])
            draft.found = [word for word in draft.found if word.value != "edges"]
            draft.found.append(Word("path", "orbit", turns[-1].text if turns else "around"))
            draft.around = centre if centre is not draft else None

    def _turns_colour(self) -> bool:
        """Whether "turns" is about colour: "turns blue", "turns from blue to green"."""
        one, two = self._peek(1), self._peek(2)
        return (
            one.kind == "colour"
            or one.text == "into"
            or (one.kind in ("from", "to") and two.kind in ("colour", "shade"))
        )

    def _cycle(self, word: Word) -> None:
        """Read a change of colour with the colours after it."""
        at, hues = self._at + 1, []
        while at < len(self.words):
            each, following = self.words[at], self.words[at + 1] if at + 1 < len(self.words) else STOP
            if each.kind == "colour":
                if following.kind in ("ground", *NOUNS):
                    break
                hues.append(cast(Colour, each.value))
            elif each.kind == "note" and not hues:
                self.notes.append((at, each.text))
            elif (
                each.kind not in _AMONG
                or (each.kind == "and" and following.kind not in ("colour", "shade", "back", "to"))
                or (each.kind == "," and following.kind not in ("colour", "to", "and", "while"))
            ):
                break
            at += 1
        if self._on_ground and hues and self.background is None:  # "a background that changes from blue to green"
            named = [k for k in range(self._at, at) if self.words[k].kind == "colour"]
            said = [shaded(self.words, k) for k in named]
            self.ground, *self.ground_cycle = said if len(said) > 1 else ("", *said)
            self.notes += [(k, self.words[k].text) for k in (self._at, *named)]
            self._at = at - 1
            return
        noun = self._noun(at)
        if not hues and self.words[at - 1].text == "into" and noun.nouns:  # "morphs into a star"
            self._at = noun.end - 1
            self._verb(Word("loose", "shape", f"{word.text} into {noun.text}"))
            return
        self._at = at - 1
        if not hues and word.value == "fade" and word.text.startswith("fad"):  # "a ball that fades"
            self._verb(Word("vanish", "", word.text))
            return
        self._spoke = bool(self._focus)
        for draft in self._focus:
            draft.found.append(Word("cycle", word.value, word.text))
            draft.cycle += hues

    def _later_colour(self, word: Word) -> None:
        """Read a colour after its thing: "a ball, red", "a light that blinks red", or red -> green."""
        hue = cast(Colour, word.value)
        before = self._peek(-2 if self._peek(-1).kind == "is" else -1)
        if before.kind == "member":
            self._focus[-1].hues.clear()  # "three black squares, the middle one red"
        if (self._peek(1).kind == "to" and self._peek(2).kind in ("colour", "shade")) or self._peek(-1).kind == "to":
            self._at -= 1
            self._cycle(Word("cycle", "fade", word.text))
        elif self._on_ground and self.background is None:
            self._paint(hue)
            self.ground = shaded(self.words, self._at)
        elif self._focus and not self._focus[-1].hues:
            self._colours(self._focus[-1])
        elif not self._focus or hue not in self._focus[-1].hues:
            self._note(word.text)

    def _colours(self, draft: Draft) -> None:
        """Read the colours after a thing that has none: "a ball, red", or "three balls, red, green and blue"."""
        at, named = self._at, [self._at]
        while draft.several and at + 2 < len(self.words) and self.words[at + 1].kind in (",", "and"):
            at += 2 if self.words[at + 2].kind == "colour" else 3
            if at >= len(self.words) or self.words[at].kind != "colour":
                break
            named.append(at)
            self._at = at
        hues = [cast(Colour, self.words[k].value) for k in named]
        if draft.several and (len(hues) == draft.count or (draft.vague and len(hues) > 1)):
            self.doubts = [doubt for doubt in self.doubts if not draft.vague or doubt.said.split()[-1] != draft.called]
            made = [
                replace(
                    draft,
                    hues=[hue],
                    paint=shaded(self.words, k),
                    count=1,
                    several=False,
                    found=list(draft.found),
                    words="",
                )
                for hue, k in zip(hues, named, strict=True)
            ]
            self.drafts = [each for each in self.drafts if each is not draft] + made
            self._focus = self._main = [*self._focus[:-1], *made]
        else:
            draft.hues, draft.motley, draft.paint = hues[:1], len(hues) > 1, shaded(self.words, named[0])

    def _pronoun(self, word: Word) -> None:
        before = self._peek(-1)
        if before.kind in _ASIDE or before.text == "of" or _orbits(before):
            others = [draft for draft in self.drafts if draft not in self._focus]
            along = before.text == "along" and others and re.search("ring|circle|wheel|hoop", others[-1].called)
            if before.kind == "around" and self._beside is not None and self._peek(-2).kind in NOUNS:
                self._focus, others = [self._beside], self._main  # "a star with a ring around it"
            if before.kind == "around" or _orbits(before) or along:
                self._orbit(others[-1] if others else None)
            elif others:
                self._relate(before.text, others[-1])
            elif self._focus and before.text in _HIGHER:  # "a square and, below it, a circle"
                self._relation = (_HIGHER[before.text], self._focus[-1])
            return
        if before.kind == "which":
            return  # "that itself orbits a sun"
        if word.kind == "they":
            every = word.text.startswith(("all", "they", "each", "every"))
            self._focus = list(self.drafts) if every else self.drafts[-2:]
        elif word.kind == "it":
            self._focus = self._main[-1:]
        elif word.value == "rest":
            self._focus = [draft for draft in self.drafts if draft not in self._focus]
        elif word.value:  # "the inner one"
            inner = word.value == "inner"
            self._focus = [each for each in self.drafts if (each.inside is not None if inner else each.holds)]
        else:
            self._focus = [draft for draft in self.drafts if draft not in self._focus][-1:] or self._focus
        self._main = self._focus
        self._beside = None

    def _negated(self) -> None:
        """Read "does not grow" as the opposite of the verb."""
        following = self._peek(1)
        turned = {"move": "still", "leans": "still", "path": "still", "grow": "keep", "shrink": "keep", "pulse": "keep"}
        if following.kind in turned:
            self._at += 1
            self._verb(Word(turned[following.kind], "", f"not {following.text}"))
        elif following.kind in ("turn", "blink", "cycle", "loose"):
            self._note(f"not {following.text}")
            self._at += 1


def _orbits(word: Word) -> bool:
    """Whether the noun behind a word is what something goes round: "orbiting", "along the edge of"."""
    return (word.kind, word.value) == ("leans", "orbit") or (word.value == "edges" and word.text.endswith(" of"))


#: Kinds of verbs for what changes in its place.
_IN_PLACE = frozenset({"pulse", "grow", "shrink", "blink", "vanish", "cycle", "still"})
#: Things that can stand around another one.
_RING = re.compile(r"\b(?:ring|hoop|frame|border)s?\b")
#: Things that are as long as a bar and turn about an end, as alternatives of a pattern.
HANDS = "hand|needle|pointer|pendulum"
HAND = re.compile(rf"\b(?:{HANDS})s?\b")
