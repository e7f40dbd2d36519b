"""Sentences that a reader can quote: what was found, how sure it is, and what would decide what is open. Pure."""

from __future__ import annotations

from localgif.run.result import ALPHA
from localgif.sweep.compare import Compared, Row, Tested, Versus
from localgif.sweep.estimate import DIFFERENCE, Estimate

#: Below it a difference is of no use to anyone, however many runs would show it.
_TINY = 0.02


def sentences(compared: Compared) -> list[str]:
    """Verdicts: differences of groups first, then each group's gain, then where the spread comes from."""
    gains = len(compared.rows)
    said = [versus_sentence(versus, len(compared.versus), compared) for versus in compared.versus]
    said += [f"{names} have nothing in common that they could be compared on." for names in compared.apart]
    said += [gain_sentence(row, gains) for row in compared.rows]
    return said + spread_sentences(compared)


def versus_sentence(versus: Versus, comparisons: int, compared: Compared) -> str:
    """One pair of groups, the higher one first."""
    tested, over = versus.tested, compared.grouping.over
    low, high, sizes, means = versus.first, versus.second, versus.sizes, versus.means
    if tested.difference < 0:
        low, high, sizes, means, tested = high, low, sizes[::-1], means[::-1], _turned(tested)
    numbers = f"mean fresh score {means[1]:.3f} against {means[0]:.3f}, {_numbers(tested, comparisons)}"
    inside = f", compared within each {' and '.join(over)}" if over else ""
    closing = f"({numbers}; {sizes[1]} and {sizes[0]} runs{inside})"
    missing = f" Left out, because only one of them has it: {', '.join(versus.left_out)}." if versus.left_out else ""
    if tested.word != "not shown":
        return f"{high.name} scores higher than {low.name} {closing}.{missing}"
    return f"A difference between {high.name} and {low.name} is not shown {closing}.{missing} {_open(versus)}"


def _turned(tested: Tested) -> Tested:
    """The same difference, taken the other way round."""
    interval = None if tested.interval is None else (-tested.interval[1], -tested.interval[0])
    return tested._replace(difference=-tested.difference, interval=interval)


def _open(versus: Versus) -> str:
    """What would decide it."""
    tested, fewest = versus.tested, min(versus.sizes)
    if tested.smallest > ALPHA:
        text = f"With {fewest} runs of the smaller group no difference could be shown."
    elif abs(tested.difference) < _TINY:
        return "If there is one, it is small."
    else:
        text = "That does not say that they are equal."
    if versus.needed is not None and versus.needed > fewest:
        more = versus.needed - fewest
        text += (
            f" Were the difference as it looks, {versus.needed} runs of each ({more} more) would show it four times "
            "in five."
        )
    elif versus.needed is None and abs(tested.difference) >= _TINY:
        text += " How many runs would decide it cannot be told from these."
    return text


def gain_sentence(row: Row, groups: int) -> str:
    """What evolving the prompt gained in one group."""
    if all(run.facets.get("reflection") == "none" for run in row.group.runs):
        return (
            f"{row.group.name}: the best of each run's samples scores {row.mean:.3f}, the seed prompt's fresh samples "
            f"{row.start:.3f}; the best of many is higher by its nature, and no prompt gained anything."
        )
    gain, n = row.gain, len(row.scores)
    runs = f"{n} run{'s' if n != 1 else ''}"
    own = ", ".join(f"{count} {word}" for word, count in row.verdicts.items())
    numbers = f"{row.start:.3f} to {row.mean:.3f}, {_numbers(gain, groups)}; {runs}, by their own verdicts {own}"
    word = {
        "better": "the evolved prompts score higher than the seed prompt",
        "worse": "the evolved prompts score lower than the seed prompt",
        "not shown": "that evolved prompts score other than the seed prompt is not shown",
    }[gain.word]
    text = f"{row.group.name}: {word} ({numbers})."
    if gain.smallest > ALPHA:
        text += f" With {runs} it cannot be."
    return text


def spread_sentences(compared: Compared) -> list[str]:
    """Variance inside runs against variance between them."""
    said = []
    for row in compared.rows:
        between, noise = row.spread.between, row.spread.noise
        if between is None or noise is None:
            continue
        which = (
            "more runs tell more than more fresh samples"
            if between > noise
            else "more fresh samples of each run tell as much as more runs"
            if noise > 1e-9
            else "all runs came to the same"
        )
        said.append(
            f"{row.group.name}: another seed of the search moves the score by a standard deviation of {between:.3f}, "
            f"the luck of the fresh samples moves a run's mean by {noise:.3f}: {which}."
        )
    return said


def _numbers(tested: Tested, questions: int) -> str:
    parts = [f"difference {tested.difference:+.3f}"]
    if tested.interval is not None:
        parts.append(f"95 % interval {tested.interval[0]:+.3f} to {tested.interval[1]:+.3f}")
    parts.append(p_word(tested.adjusted) + (f" corrected for {questions} such questions" if questions > 1 else ""))
    if tested.paired is not None:
        parts.append(f"paired {p_word(tested.paired)}")
    return ", ".join(parts)


def p_word(value: float) -> str:
    """ "p = 0.031"."""
    return "p < 0.001" if value < 0.0005 else f"p = {value:.3f}"


def plan_sentences(estimate: Estimate) -> list[str]:
    """What a plan costs, and what it can show."""
    hours = estimate.seconds / 3600
    time = f"{hours:.1f} hours" if hours >= 1 else f"{estimate.seconds / 60:.0f} minutes"
    said = ["All cells are done."]
    if estimate.cells:
        said = [
            f"{estimate.cells} cells to run, {estimate.metric_calls:,} metric calls, at most {estimate.samples:,} "
            f"samples: at most about {time}, {estimate.basis}."
        ]
    if estimate.groups < 2:
        return [*said, "There is one group of runs, so nothing is compared."]
    many = f", {estimate.comparisons} comparisons, corrected for" if estimate.comparisons > 1 else ""
    said.append(
        f"{estimate.groups} groups of {estimate.runs} run{'s' if estimate.runs != 1 else ''}{many}: a true difference "
        f"of {DIFFERENCE:g} between two of them is found in {100 * estimate.power:.0f} % of such sweeps, if runs "
        f"differ by a standard deviation of {estimate.deviation:.2f} ({estimate.deviation_basis})."
    )
    if estimate.needed is None:
        said.append("Even 1,000 runs of each would not find it in 80 %.")
    elif estimate.needed > estimate.runs:
        said.append(f"To find it in 80 % takes {estimate.needed} runs of each.")
    return said
