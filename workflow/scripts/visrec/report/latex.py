"""The leaderboard as a LaTeX table, and how to cite visrec."""

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

from visrec.report.verdict import METRICS, score

# As in CITATION.cff, which a test compares.
CITATION = {
    "title": "visrec: which image embedding recommends the right pictures?",
    "author": "the visrec contributors",
    "version": "0.1.0",
}
SPECIAL = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
SPECIAL |= {character: f"\\{character}" for character in "&%$#_{}"}


def escaped(text: str) -> str:
    """Text for LaTeX."""
    return "".join(SPECIAL.get(character, character) for character in text)


def leaderboard(chapters: Sequence[Mapping[str, Any]]) -> str:
    """A table of all datasets, in percent with 95 % intervals below; needs the package booktabs.

    Args:
        chapters: with title, rows (of the leaderboard) and constants.
    """
    labels = [escaped(label) for label in chapters[0]["constants"]["labels"]]
    lines = [
        r"\begin{tabular}{l" + len(labels) * "r" + "r}",
        r"\toprule",
        " & ".join(["Encoder", *labels, "Dimensions"]) + r" \\",
    ]
    for chapter in chapters:
        lines.append(r"\midrule")
        if len(chapters) > 1:
            lines.append(rf"\multicolumn{{{len(labels) + 2}}}{{l}}{{{escaped(chapter['title'])}}} \\")
        for row in chapter["rows"]:
            name = escaped(row["encoder"]) + (f" ({escaped(row['disclosed'])})" if row["disclosed"] else "")
            cells = [_score(row, metric) for metric in METRICS]
            lines.append(" & ".join([name, *cells, f"{row['dimensions']:,}" if row["dimensions"] else "--"]) + r" \\")
        lines.append(" & ".join(["chance", *(_constant(row) for row in chapter["constants"]["chance"]), ""]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])


def _score(row: Mapping[str, Any], metric: str) -> str:
    one = score(row, metric)
    return f"{100 * one.value:.1f} [{100 * one.low:.1f}, {100 * one.high:.1f}]" if one.measured else "--"


def _constant(text: str) -> str:
    return text.removesuffix("\N{NO-BREAK SPACE}%").replace("\N{EN DASH}", "--")


def citation(experiment: str, commit: str | None, today: datetime.date) -> str:
    """A BibTeX entry for visrec, which names the experiment, its commit and the day."""
    note = f"Experiment {experiment}" + (f", commit {commit}" if commit else "") + f", report of {today.isoformat()}"
    return "\n".join(
        [
            "@software{visrec,",
            f"  title = {{{escaped(CITATION['title'])}}},",
            f"  author = {{{{{CITATION['author']}}}}},",
            f"  version = {{{CITATION['version']}}},",
            f"  year = {{{today.year}}},",
            f"  note = {{{escaped(note)}}}",
            "}",
        ]
    )
