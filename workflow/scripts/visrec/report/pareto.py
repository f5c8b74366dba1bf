"""Precision beside cost: what training and embedding take, how long the vectors are, and which encoders are worth it.

An encoder is on the Pareto front if no other one is at least as precise at no higher cost and better in one of the two.
It is a front of values as they were measured: neighbours on it may have no measurable difference.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from visrec.report.charts import Axis, decades, shares
from visrec.report.verdict import duration, missing, percent, score, span

PICTURES = 1000  # that are embedded


def front(costs: Sequence[float], precisions: Sequence[float]) -> list[bool]:
    """Whether each of some points is on the Pareto front: low cost, high precision. Equal points are on it together."""
    points = list(zip(costs, precisions, strict=True))
    return [
        not any(c <= cost and p >= precision and (c, p) != (cost, precision) for c, p in points)
        for cost, precision in points
    ]


def pareto(leaders: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The charts of one dataset and size; None where no two encoders have a precision and a cost.

    Args:
        leaders: rows of leaderboard.csv, in their order.

    Returns:
        `charts`: title, x and y ticks, `points` and the corners of the front's `line`; and `rows`, the same as a table.
    """
    rows = []
    for row in leaders:
        one, speed = score(row, "precision"), row["embed_images_per_second"]
        if one.measured and not any(map(missing, (row["cost_seconds"], speed))) and speed > 0 and row["dimensions"]:
            embedding = PICTURES / speed
            rows.append(
                {
                    "number": len(rows) + 1,
                    "encoder": row["encoder"],
                    "score": one,
                    "seconds": row["cost_seconds"] + embedding,
                    "training": row["cost_seconds"],
                    "embedding": embedding,
                    "dimensions": row["dimensions"],
                }
            )
    if len(rows) < 2:
        return None
    kinds = {
        "seconds": f"time to train and to embed {PICTURES:,} pictures",
        "dimensions": "dimensions of the embedding",
    }
    fronts = {kind: front([row[kind] for row in rows], [row["score"].value for row in rows]) for kind in kinds}
    return {
        "charts": [_chart(rows, kind, title, fronts[kind]) for kind, title in kinds.items()],
        "rows": [
            {
                "number": row["number"],
                "encoder": row["encoder"],
                "value": percent(row["score"].value),
                "span": span(row["score"].low, row["score"].high),
                "training": _seconds(row["training"]) if row["training"] else "none",
                "embedding": _seconds(row["embedding"]),
                "dimensions": f"{row['dimensions']:,}",
                "front": [
                    name for name, kind in (("time", "seconds"), ("dimensions", "dimensions")) if fronts[kind][at]
                ],
            }
            for at, row in enumerate(rows)
        ],
    }


def _chart(rows: Sequence[Mapping[str, Any]], kind: str, title: str, on_front: Sequence[bool]) -> dict[str, Any]:
    across, x_ticks = decades([row[kind] for row in rows])
    up, y_ticks = shares([row["score"].low for row in rows], [row["score"].high for row in rows])
    form = _seconds if kind == "seconds" else "{:,.0f}".format
    corners = sorted({(row[kind], row["score"].value) for row, there in zip(rows, on_front, strict=True) if there})
    return {
        "title": title,
        "x": [{"at": across.at(tick), "label": form(tick)} for tick in x_ticks],
        "y": [{"at": up.at(tick), "label": percent(tick, 0 if up.high - up.low >= 0.05 else 1)} for tick in y_ticks],
        "points": [
            {
                "number": row["number"],
                "encoder": row["encoder"],
                "x": across.at(row[kind]),
                "y": up.at(row["score"].value),
                "low": up.at(row["score"].low),
                "high": up.at(row["score"].high),
                "front": there,
            }
            for row, there in zip(rows, on_front, strict=True)
        ],
        "line": _stairs(corners, across, up),
    }


def _stairs(corners: Sequence[tuple[float, float]], across: Axis, up: Axis) -> str:
    """The front as the points of an SVG polyline in a square of 100, y from the top: level, then up at each cost."""
    line: list[tuple[float, float]] = []
    for cost, precision in corners:
        if line:
            line.append((across.at(cost), line[-1][1]))
        line.append((across.at(cost), 100 - up.at(precision)))
    if line:
        line.append((100.0, line[-1][1]))
    return " ".join(f"{x:.6g},{y:.6g}" for x, y in line)


def _seconds(seconds: float) -> str:
    """Seconds in words, with two digits below a second: "0.0074 s", "3 min 20 s"."""
    return f"{seconds:.2g}\N{NO-BREAK SPACE}s" if seconds < 1 else duration(seconds)
