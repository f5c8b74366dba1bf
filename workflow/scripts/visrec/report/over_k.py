"""Precision over k, the number of recommendations: a curve for each encoder."""

from collections.abc import Mapping, Sequence
from typing import Any

from visrec.report.charts import shares, spaced
from visrec.report.score_tables import Rows, pick
from visrec.report.verdict import missing, percent, span

LABEL = 7.5  # height of a label, in percent of the chart's


def curves(scores: Rows, encoders: Sequence[str]) -> dict[str, Any] | None:
    """The curves of one dataset and size; None where fewer than two k were measured.

    Args:
        scores: from `visrec.report.score_tables.of_chosen`.
        encoders: in the order of the leaderboard.

    Returns:
        x and y ticks, `chance` of each k, and `lines`: encoder, corners of an SVG polyline and of a band, the points
        with what is said at them, and the place of its label.
    """
    ks = sorted({row["k"] for own in scores.values() for row in own if row["metric"] == "precision" and row["k"]})
    found = {k: pick(scores, "knn", "precision", k) for k in ks}
    ks = [k for k in ks if any(map(_measured, found[k].values()))]
    known = [row for k in ks for row in found[k].values() if _measured(row)]
    if len(ks) < 2:
        return None
    up, y_ticks = shares([row["low"] for row in known], [row["high"] for row in known])
    across = {k: round(100 * number / (len(ks) - 1), 3) for number, k in enumerate(ks)}
    lines = []
    for encoder in encoders:
        own = [(k, found[k].get(encoder)) for k in ks]
        own = [(k, row) for k, row in own if _measured(row)]
        if not own:
            continue
        ends = {
            end: [(across[k], round(100 - up.at(row[end]), 3)) for k, row in own] for end in ("value", "low", "high")
        }
        lines.append(
            {
                "encoder": encoder,
                "line": _corners(ends["value"]),
                "band": _corners([*ends["high"], *reversed(ends["low"])]),
                "points": [
                    {"x": across[k], "y": up.at(row["value"]), "says": _says(encoder, k, row)} for k, row in own
                ],
                "last": up.at(own[-1][1]["value"]),
                "says": ", ".join(f"{percent(row['value'])} at {k}" for k, row in own),
            }
        )
    for line, label in zip(lines, spaced([line["last"] for line in lines], LABEL), strict=True):
        line["label"] = label
    return {
        "x": [{"at": across[k], "label": str(k)} for k in ks],
        "y": [{"at": up.at(tick), "label": percent(tick, 0 if up.high - up.low >= 0.05 else 1)} for tick in y_ticks],
        "lines": lines,
        "chance": next((percent(row["chance"]) for row in known if not missing(row["chance"])), ""),
    }


def _measured(row: Mapping[str, Any] | None) -> bool:
    return row is not None and not any(missing(row[name]) for name in ("value", "low", "high"))


def _says(encoder: str, k: int, row: Mapping[str, Any]) -> str:
    return f"{encoder}: {percent(row['value'])} {span(row['low'], row['high'])} at k = {k}"


def _corners(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.6g},{y:.6g}" for x, y in points)
