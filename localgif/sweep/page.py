"""compare.html: a comparison as one self-contained page in the report's style, without any script. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from localgif.report import page, plots
from localgif.sweep.compare import Compared
from localgif.sweep.runs import Left

#: Groups in the plot; more are in the tables alone.
MOST_STRIPS = 24
#: Letters of a group's name in the plot, about what fits on a phone.
LONGEST_LABEL = 72


def render(compared: Compared, title: str, said: Sequence[str], left: Sequence[Left]) -> str:
    """The page.

    Args:
        compared: What is shown.
        title: Of the sweep, or how many runs.
        said: Its sentences, the first one as the headline.
        left: Runs that are not in it.
    """
    from markupsafe import Markup

    strips = [
        plots.Strip(
            _label(row.group.name),
            [score for run in row.group.runs for scores in run.best for score in scores],
            row.scores,
            row.start,
        )
        for row in compared.rows[:MOST_STRIPS]
    ]
    return (
        page.environment()
        .get_template("compare.html")
        .render(
            title=title,
            style=Markup(page.asset("report.css")),
            plot=Markup(plots.strip_plot(strips)),
            plotted=MOST_STRIPS,
            runs=sum(len(row.scores) for row in compared.rows),
            axes=compared.grouping.axes,
            over=compared.grouping.over,
            notes=compared.grouping.notes,
            rule=compared.rule,
            rows=compared.rows,
            versus=compared.versus,
            sentences=said,
            left=left,
        )
    )


def _label(name: str) -> str:
    """A name in letters that matplotlib's own font has: it complains of others. The tables have them all."""
    plain = "".join(c if c.isprintable() and ord(c) < 0x250 else "?" for c in name)
    return plain if len(plain) <= LONGEST_LABEL else f"{plain[: LONGEST_LABEL - 3]}..."
