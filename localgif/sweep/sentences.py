"""Sentences about a comparison: what was found, how certain it is, and what would decide an open question."""

from __future__ import annotations

from localgif.search.progress import counted
from localgif.significance import ALPHA
from localgif.sweep.compare import Compared, Row, Tested, Versus
from localgif.sweep.plan import DIFFERENCE, Estimate

#: Smaller differences do not matter, even if enough runs would show them.
_TINY = 0.02


def sentences(compared: Compared) -> list[str]:
    """The conclusions: differences between groups, then each group's gain, then the sources of the spread."""
    gains = len(compared.rows)
    said = [_versus(versus, len(compared.versus), compared.grouping.over) for versus in compared.versus]
    said += [
        f"{names} cannot be compared: no combination of the other settings is in both." for names in compared.apart
    ]
    said += [_gain(row, gains) for row in compared.rows]
    return said + [text for row in compared.rows if (text := _spread(row))]


def _versus(versus: Versus, comparisons: int, over: tuple[str, ...]) -> str:
    """A sentence about a pair of groups, the higher one first."""
    tested = versus.tested
    low, high, sizes, means = versus.first, versus.second, versus.sizes, versus.means
    if tested.difference < 0:
        low, high, sizes, means, tested = high, low, sizes[::-1], means[::-1], _turned(tested)
    numbers = f"mean fresh score {means[1]:.3f} against {means[0]:.3f}, {_numbers(tested, comparisons)}"
    inside = f", compared within each {' and '.join(over)}" if over else ""
    closing = f"({numbers}; {sizes[1]} and {counted(sizes[0], 'run')}{inside})"
    missing = f" Left out, because only one of them has it: {', '.join(versus.left_out)}." if versus.left_out else ""
    if tested.word != "not shown":
        return f"{high.name} scores higher than {low.name} {closing}.{missing}"
    return f"No difference between {high.name} and {low.name} was shown {closing}.{missing} {_open(versus)}"


def _turned(tested: Tested) -> Tested:
    """The same difference with the opposite sign."""
    interval = None if tested.interval is None else (-tested.interval[1], -tested.interval[0])
    return tested._replace(difference=-tested.difference, interval=interval)


def _open(versus: Versus) -> str:
    """What would decide an open question."""
    tested, fewest = versus.tested, min(versus.sizes)
    if tested.smallest_possible_p_value > ALPHA:
        text = f"With {counted(fewest, 'run')} in the smaller group no difference can be shown."
    elif abs(tested.difference) < _TINY:
        return "If there is a difference, it is small."
    else:
        text = "This does not show that they are equal."
    if versus.needed is not None and versus.needed > fewest:
        text += (
            f" If the true difference equals the observed one, {counted(versus.needed, 'run')} per group "
            f"({versus.needed - fewest} more) would detect it 80 % of the time."
        )
    elif versus.needed is None and abs(tested.difference) >= _TINY:
        text += " It is unknown how many runs would decide it."
    return text


def _gain(row: Row, groups: int) -> str:
    """A sentence about the gain of one group."""
    if all(run.facets.get("reflection") == "none" for run in row.group.runs):
        return (
            f"{row.group.name}: the best of each run's samples scores {row.mean:.3f}, the seed prompt's fresh samples "
            f"{row.start:.3f}. The best of several samples is higher by construction; this is not a gain of a prompt."
        )
    gain, n = row.gain, len(row.scores)
    runs = f"{n} run{'s' if n != 1 else ''}"
    own = ", ".join(f"{count} {word}" for word, count in row.verdicts.items())
    numbers = f"{row.start:.3f} before, {row.mean:.3f} after, {_numbers(gain, groups)}; {runs}, own verdicts: {own}"
    word = {
        "better": "the evolved prompts score higher than the seed prompt",
        "worse": "the evolved prompts score lower than the seed prompt",
        "not shown": "no difference from the seed prompt was shown",
    }[gain.word]
    text = f"{row.group.name}: {word} ({numbers})."
    return text + (f" With {runs} none can be shown." if gain.smallest_possible_p_value > ALPHA else "")


def _spread(row: Row) -> str:
    """A sentence that compares the spread between runs with the noise within them; "" if one is unknown."""
    between, noise = row.spread.between, row.spread.noise
    if between is None or noise is None:
        return ""
    if between > noise:
        advice = "more runs help more than more fresh samples"
    elif noise > 1e-9:
        advice = "more fresh samples per run help as much as more runs"
    else:
        advice = "all runs scored the same"
    return (
        f"{row.group.name}: the seed of the search changes the score by a standard deviation of {between:.3f}, "
        f"chance in the fresh samples changes a run's mean by {noise:.3f}: {advice}."
    )


def _numbers(tested: Tested, questions: int) -> str:
    parts = [f"difference {tested.difference:+.3f}"]
    if tested.interval is not None:
        parts.append(f"95 % interval {tested.interval[0]:+.3f} to {tested.interval[1]:+.3f}")
    parts.append(_p(tested.adjusted_p_value) + (f" corrected for {questions} comparisons" if questions > 1 else ""))
    if tested.paired_p_value is not None:
        parts.append(f"paired {_p(tested.paired_p_value)}")
    return ", ".join(parts)


def _p(value: float) -> str:
    return "p < 0.001" if value < 0.0005 else f"p = {value:.3f}"


def plan_sentences(estimate: Estimate) -> list[str]:
    """The cost of a plan, and what it can show."""
    hours = estimate.seconds / 3600
    time = f"{hours:.1f} hours" if hours >= 1 else f"{estimate.seconds / 60:.0f} minutes"
    said = ["All cells are done."]
    if estimate.cells:
        said = [
            f"{counted(estimate.cells, 'cell')} to run, {counted(estimate.metric_calls, 'metric call')}, at most "
            f"{counted(estimate.samples, 'sample')} and about {time} ({estimate.basis})."
        ]
    if estimate.groups < 2:
        return [*said, "There is only one group of runs, so there is nothing to compare."]
    many = f", corrected for {estimate.comparisons} comparisons" if estimate.comparisons > 1 else ""
    said.append(
        f"{estimate.groups} groups of {counted(estimate.runs, 'run')}{many}: a true difference "
        f"of {DIFFERENCE:g} between two of them is detected {100 * estimate.power:.0f} % of the time, if runs differ "
        f"by a standard deviation of {estimate.deviation:.2f} ({estimate.deviation_basis})."
    )
    if estimate.needed is None:
        said.append("Even 1,000 runs per group would not detect it 80 % of the time.")
    elif estimate.needed > estimate.runs:
        said.append(f"To detect it 80 % of the time takes {counted(estimate.needed, 'run')} per group.")
    return said
