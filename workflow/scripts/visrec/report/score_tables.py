"""Cells, rows and groups of the tables of scores: which row of scores.csv stands where, and as what text.

Everything here is of one dataset and size. A table is a list of groups, {title, note, rows}; a row has a label, one
cell per encoder, and what chance and the most common class give. Cells are text, so that the page only prints them.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from visrec.report.headline import HEADLINE, HEADLINE_KNN, HEADLINE_SPACE
from visrec.report.verdict import missing, percent, span

Rows = Mapping[str, Sequence[Mapping[str, Any]]]  # encoder -> the rows of scores.csv of its chosen trial
Found = Mapping[str, Mapping[str, Any] | None]  # encoder -> its row of one score
Form = Callable[[float | None], str]  # a number as text

DASH, MINUS = "\N{EN DASH}", "\N{MINUS SIGN}"


def of_chosen(scores: pd.DataFrame, shown: Mapping[str, str]) -> dict[str, list[dict[str, Any]]]:
    """The rows of each encoder's chosen trial.

    Args:
        scores: rows of scores.csv of one dataset and size, missing text as "".
        shown: encoder -> trial.
    """
    found = {}
    for encoder, trial in shown.items():
        rows = scores[(scores["encoder"] == encoder) & (scores["trial"] == trial)].to_dict("records")
        found[encoder] = [row | {"k": None if pd.isna(row["k"]) else int(row["k"])} for row in rows]
    return found


def pick(rows: Rows, evaluator: str, metric: str, k: int | None = None, split: str = "test", **more: str) -> Found:
    """Each encoder's row of one score; the headline's unless `more` says otherwise.

    Args:
        rows: from `of_chosen`.
        evaluator: that measured it.
        metric: its name.
        k: number of neighbours, or None.
        split: of the queries.
        more: other columns and their values. Under a protocol the space is its own, and not looked at.
    """
    wanted = {"evaluator": evaluator, "metric": metric, "k": k, "split": split} | HEADLINE
    wanted |= (HEADLINE_KNN if evaluator == "knn" and "protocol" not in more else {}) | more
    return {
        encoder: next((row for row in own if all(row[key] == value for key, value in wanted.items())), None)
        for encoder, own in rows.items()
    }


def spaces_of(rows: Rows) -> list[tuple[str, str]]:
    """The spaces in which precision was measured, (features, distance), in the order of scores.csv."""
    return list(
        dict.fromkeys(
            (row["features"], row["distance"])
            for own in rows.values()
            for row in own
            if row["evaluator"] == "knn" and row["metric"] == "precision" and row["protocol"] == HEADLINE["protocol"]
        )
    )


def best_spaces(rows: Rows, k: int) -> dict[str, tuple[str, str]]:
    """Encoder -> its space with the highest precision on validation, (features, distance), of those that have one.

    Of equals the first counts: the headline's, if it is among them.
    """
    best: dict[str, tuple[float, tuple[str, str]]] = {}
    spaces = sorted(spaces_of(rows), key=lambda space: space != HEADLINE_SPACE)
    for features, distance in spaces:
        for encoder, row in pick(rows, "knn", "precision", k, "val", features=features, distance=distance).items():
            if row is not None and not missing(row["value"]) and row["value"] > best.get(encoder, (-1.0, None))[0]:
                best[encoder] = row["value"], (features, distance)
    return {encoder: space for encoder, (_, space) in best.items()}


def decimal(value: float | None) -> str:
    """A number that is no share, "1.24"; a dash where there is none."""
    return DASH if missing(value) else f"{round(value, 2) + 0.0:.2f}".replace("-", MINUS)


def cell(row: Mapping[str, Any] | None, form: Form = percent, lifted: bool = True) -> dict[str, str]:
    """Value, interval and lift of a score as text, and in `note` why there is none; `flag` is for what stands out."""
    text = dict.fromkeys(("value", "span", "lift", "note", "flag"), "")
    if row is None or missing(row["value"]):
        return text | {"value": DASH, "note": "" if row is None or row["status"] == "ok" else row["status"]}
    if lifted and not missing(row["lift"]):
        text["lift"] = f"lift {percent(row['lift'])}".replace("-", MINUS)
    if not (missing(row["low"]) or missing(row["high"])):
        shares = form is percent
        text["span"] = span(row["low"], row["high"]) if shares else f"[{form(row['low'])}, {form(row['high'])}]"
    return text | {"value": form(row["value"])}


def line(
    label: str,
    found: Found,
    encoders: Sequence[str],
    form: Form = percent,
    lifted: bool = True,
) -> dict[str, Any] | None:
    """A row of a table; None where no encoder has this score.

    Args:
        label: what is measured.
        found: from `pick`.
        encoders: the columns.
        form: of a number as text.
        lifted: whether lifts are shown.
    """
    there = [row for row in found.values() if row is not None]
    if not there:
        return None
    constants = {
        name: next((form(row[name]) for row in there if not missing(row[name])), "") for name in ("chance", "majority")
    }
    return {"label": label, "cells": [cell(found.get(encoder), form, lifted) for encoder in encoders], **constants}


def group(title: str, rows: Iterable[dict[str, Any] | None], note: str = "") -> list[dict[str, Any]]:
    """A list of one group, of the rows that are there; of none if there are none."""
    kept = [row for row in rows if row is not None]
    return [{"title": title, "note": note, "rows": kept}] if kept else []
