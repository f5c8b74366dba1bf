"""The section of classes: precision of each and what is recommended for it, of the best encoder and a baseline."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from visrec.report.verdict import percent, span

BASELINES = ("pixels", "random")
MATRIX = 12  # classes that a matrix holds
LINES = 20  # of a table that is not folded away
PAIRS = 15  # confused pairs that are listed


def classes(
    rows: pd.DataFrame, confusions: pd.DataFrame, shown: Sequence[str], names: Sequence[str]
) -> dict[str, Any] | None:
    """What the section says of one dataset and size; None where nothing is known of single classes.

    Args:
        rows: of classes.csv.
        confusions: rows of confusion.csv.
        shown: the encoders, best first.
        names: of the classes, in their order.

    Returns:
        `encoders`, the best and a baseline; `k`; `lines`, one per class, the least precise first, and `folded`, whether
        they are too many to be shown at once; and `confused`, for each encoder its `matrix` or its most confused
        `pairs`.
    """
    known = [encoder for encoder in shown if encoder in set(rows["encoder"])]
    if not known:
        return None
    baseline = next((encoder for encoder in BASELINES if encoder in known and encoder != known[0]), None)
    encoders = [known[0], *([baseline] if baseline else [])]
    cells = {(row["encoder"], row["class"]): row for row in rows.to_dict("records")}
    there = [name for name in names if (known[0], name) in cells]
    lines = [
        {
            "name": name,
            "queries": f"{cells[known[0], name]['queries']:,}",
            "cells": [_cell(cells.get((encoder, name))) for encoder in encoders],
            "chance": percent(cells[known[0], name]["chance"]),
        }
        for name in sorted(there, key=lambda name: cells[known[0], name]["precision"])
    ]
    return {
        "encoders": encoders,
        "k": int(rows["k"].iloc[0]),
        "lines": lines,
        "folded": len(lines) > LINES,
        "confused": [
            {"encoder": encoder} | _confused(confusions[confusions["encoder"] == encoder], there)
            for encoder in encoders
        ],
    }


def _cell(row: Mapping[str, Any] | None) -> dict[str, str]:
    if row is None:
        return {"value": "\N{EN DASH}", "span": ""}
    return {"value": percent(row["precision"]), "span": span(row["low"], row["high"])}


def _confused(rows: pd.DataFrame, names: Sequence[str]) -> dict[str, Any]:
    """A matrix of shares where the classes are few, and the pairs of different classes that are confused most."""
    shares = {(row["class"], row["recommended"]): row["share"] for row in rows.to_dict("records")}
    wrong = sorted((pair for pair in shares if pair[0] != pair[1]), key=lambda pair: -shares[pair])
    columns = [name for name in names if any(pair[1] == name for pair in shares)]
    few = len(names) <= MATRIX and bool(shares)
    return {
        "columns": columns,
        "matrix": [
            {
                "name": name,
                "cells": [
                    {
                        "share": round(100 * shares.get((name, other), 0.0)),
                        "text": _whole(shares.get((name, other), 0.0)),
                        "own": name == other,
                    }
                    for other in columns
                ],
            }
            for name in names
        ]
        if few
        else [],
        "pairs": [
            {"name": name, "other": other, "share": percent(shares[name, other])} for name, other in wrong[:PAIRS]
        ],
        "queries": int(rows.drop_duplicates("class")["queries"].sum()) if len(rows) else 0,
    }


def _whole(share: float) -> str:
    """A share in whole percent, "" for none and "<1" for less than one half."""
    return "" if not share else "<1" if share < 0.005 else f"{100 * share:.0f}"
