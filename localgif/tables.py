"""What commands print on stdout for people: tables, verdicts, one line about each thing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from localgif.sandbox.text import printable
from localgif.tally import clock

if TYPE_CHECKING:
    from rich.console import Console

    from localgif.search.roster import Row


def result_table(console: Console, result: dict[str, Any]) -> None:
    """The article's table for this run, the verdict, the evolved prompt, and where it all lies."""
    from rich import box
    from rich.table import Table

    if result.get("mode", "single") != "single":
        _task_table(console, result)
        _closing(console, result)
        return
    fresh = len(result["seed"]["scores"])
    table = Table(
        box=box.SIMPLE_HEAD, pad_edge=False, title=f"{fresh} fresh samples of each prompt", title_justify="left"
    )
    others = list(result["seed"].get("also", {}))
    for name in ("prompt", "mean", *others, "samples", "frames", "loop (gap / step)", "in the search", "re-test"):
        table.add_column(name, justify="right" if name in ("mean", *others) else "left", no_wrap=name != "prompt")
    rows = [("seed", result["seed"])]
    if not result["best"]["is_seed"]:
        rows.append(("evolved", result["best"]))
    for label, prompt in rows:
        table.add_row(
            label,
            f"{prompt['mean']:.3f}",
            *(_mean_alone(prompt["also"].get(rule)) for rule in others),
            " ".join(f"{s:.3f}" for s in prompt["scores"]),
            " ".join(_cell(f, "{}") for f in prompt["frames"]),
            " ".join(_cell(r, "{:.1f}") for r in prompt["loop_ratios"]),
            _mean(prompt.get("search_scores")),
            _mean(prompt.get("retest_scores")),
        )
    console.print(table)
    _closing(console, result)


def _task_table(console: Console, result: dict[str, Any]) -> None:
    """One row for each task that the two prompts were tested on, and their mean."""
    from rich import box
    from rich.table import Table

    seen = "held-out tasks, which the search never saw" if result["mode"] == "general" else "tasks"
    fresh = len(result["tasks"][0]["seed_scores"])
    table = Table(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        title=f"{len(result['tasks'])} {seen}: {fresh} fresh samples of each, by {result['scorer']}",
        title_justify="left",
    )
    for name in ("task", "seed", "evolved", "difference", "seed's samples", "evolved one's samples"):
        table.add_column(name, justify="right" if name in ("seed", "evolved", "difference") else "left")
    for row in result["tasks"]:
        table.add_row(
            row["task"],
            f"{row['seed_mean']:.3f}",
            f"{row['best_mean']:.3f}",
            f"{row['difference']:+.3f}",
            *(" ".join(f"{s:.3f}" for s in row[key]) for key in ("seed_scores", "best_scores")),
        )
    table.add_section()
    table.add_row(
        "mean",
        f"{result['seed']['mean']:.3f}",
        f"{result['best']['mean']:.3f}",
        f"{result['verdict']['difference']:+.3f}",
    )
    console.print(table)


def _closing(console: Console, result: dict[str, Any]) -> None:
    """The verdict, the evolved prompt, and where it all lies."""
    console.print(verdict_sentence(result), markup=False, highlight=False, soft_wrap=True)
    if not result["best"]["is_seed"]:
        console.print("\nThe evolved prompt:\n", markup=False)
        console.print(printable(result["best"]["prompt"]), markup=False, highlight=False, soft_wrap=True)
    console.print(footer(result), markup=False, highlight=False, soft_wrap=True)


def _mean_alone(scores: Sequence[float] | None) -> str:
    return f"{sum(scores) / len(scores):.3f}" if scores else "-"


def _mean(scores: Sequence[float] | None) -> str:
    """Mean and number of the samples of one purpose; runs of older versions did not store them."""
    return f"{sum(scores) / len(scores):.3f} ({len(scores)})" if scores else "-"


def _cell(value: Any, form: str) -> str:
    return "-" if value is None else form.format(value)


def verdict_sentence(result: dict[str, Any]) -> str:
    """What may be said of the run, in one or two sentences."""
    if result.get("best_of") is not None:
        return best_of_sentence(result["best_of"])
    if result["best"]["is_seed"]:
        return "Verdict: no proposal beat the seed prompt; the seed is kept."
    verdict = result["verdict"]
    word = {
        "better": "the evolved prompt is better",
        "worse": "the evolved prompt is worse",
        "not shown": "a difference is not shown",
    }[verdict["word"]]
    text = f"Verdict: {word} ({verdict_numbers(result)})."
    if verdict["smallest_possible_p_value"] > 0.05:
        if verdict.get("unit") == "task":
            text += f" With {verdict['tasks']} tasks no difference can be shown; 6 or more are needed."
        else:
            text += (
                f" With {len(result['seed']['scores'])} samples each no difference can be shown; use --fresh 4 or more."
            )
    return text


def best_of_sentence(found: dict[str, Any]) -> str:
    """What a run without reflection came to."""
    each = ", ".join(f"{task} {score:.3f}" for task, score in zip(found["tasks"], found["scores"], strict=True))
    return f"No prompt was searched for. The best of {found['samples']} samples of the seed prompt: {each or 'none'}."


def verdict_numbers(result: dict[str, Any]) -> str:
    """Difference, interval, p and what was resampled; runs of older versions did not store an interval."""
    verdict, n = result["verdict"], len(result["seed"]["scores"])
    parts = [f"{verdict['difference']:+.3f} on average"]
    interval = verdict.get("interval")
    if interval is not None and interval[0] < interval[1]:
        parts.append(f"95 % interval {interval[0]:+.3f} to {interval[1]:+.3f}")
    elif interval is not None:
        parts.append("the same in each pair" if verdict["unit"] == "sample" else "the same in each task")
    parts.append(f"p = {verdict['p_value']:.3f}" if verdict["p_value"] >= 0.0005 else "p < 0.001")
    if "pairs" not in verdict:
        parts.append(f"{n} fresh samples each")
    elif verdict["tasks"] == 1:
        parts.append(f"{verdict['pairs']} pairs of fresh samples")
    else:
        by = "tasks" if verdict["unit"] == "task" else "pairs inside each task"
        parts.append(f"{verdict['pairs']} pairs of fresh samples of {verdict['tasks']} tasks, {by} resampled")
    return ", ".join(parts)


def footer(result: dict[str, Any]) -> str:
    """Cost and places, a line each."""
    seconds, tokens = result["seconds"], result["output_tokens"]
    rest = seconds["total"] - seconds["weights"] - seconds["load"] - seconds["llm"] - seconds["sandbox"]
    return "\n".join(
        [
            "",
            f"time      {clock(seconds['total'])} = weights {clock(seconds['weights'])} "
            f"+ load {clock(seconds['load'])} + models {clock(seconds['llm'])}{_by_role(seconds)} "
            f"+ sandbox {clock(seconds['sandbox'])} + rest {clock(rest)}",
            f"models    {result['llm_calls']} calls, {tokens['animator']} tokens written by the animator, "
            f"{tokens['reflector']} by the reflector",
            f"run       {result['folder']}   (best_prompt.md, report.html, samples.jsonl, gifs/)",
        ]
    )


def _by_role(seconds: dict[str, float]) -> str:
    """Time of each role; runs of older versions did not store it."""
    if "animator" not in seconds:
        return ""
    return f" (animator {clock(seconds['animator'])}, reflector {clock(seconds['reflector'])})"


def models_text(rows: Sequence[Row]) -> str:
    """`localgif models list`: what has a table, what an Ollama has besides, weights without a table."""
    titles = {
        "file": "in models.toml:",
        "ollama": "on Ollama, to be named as they are here:",
        "weights": "weights for the embedded endpoint that no table is about:",
    }
    lines: list[str] = []
    for found, title in titles.items():
        some = [line for row in rows if row.found == found for line in _model_lines(row)]
        lines += [title, *some] if some else []
    return "\n".join(lines)


def _model_lines(row: Row) -> list[str]:
    word = {True: "here", False: "NOT HERE", None: "unknown"}[row.present]
    facts = [
        f"{row.size / 1e6:,.0f} MB" if row.size else "",
        row.licence or "",
        f"sha256 {row.digest[:12]}" if row.digest else "",
    ]
    marks = f"   <- {', '.join(row.roles)}" if row.roles else ""
    lines = [
        f"  {row.name:<24} {row.model} on {row.endpoint}{marks}",
        f"  {'':<24} {word}: {row.where}",
    ]
    told = ", ".join(filter(None, facts))
    return [printable(line) for line in [*lines, *([f"  {'':<24} {told}"] if told else [])]]


def rescored_table(console: Console, result: dict[str, Any]) -> None:
    """`localgif rescore`: for each prompt and purpose the stored scores' mean and the new one."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=f"run {result['run']}", title_justify="left")
    for name in ("prompt", "purpose", "samples", result["old_scorer"], result["scorer"]):
        table.add_column(name, justify="left" if name in ("prompt", "purpose") else "right", no_wrap=True)
    for row in result["rows"]:
        table.add_row(
            row["candidate"][:12] + (f" ({row['label']})" if row["label"] else ""),
            row["purpose"],
            str(row["samples"]),
            f"{row['old_mean']:.3f}",
            f"{row['mean']:.3f}",
        )
    console.print(table)
    console.print(f"scores    {result['file']}", markup=False, highlight=False, soft_wrap=True)


def runs_table(console: Console, rows: Sequence[tuple[str, ...]]) -> None:
    """`localgif runs`."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("run", "status", "task", "seed", "best", "verdict"):
        table.add_column(name, no_wrap=name == "run")
    for row in rows:
        table.add_row(*(printable(cell) for cell in row))
    console.print(table)
