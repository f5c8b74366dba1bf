"""The ladder: published numbers of a dataset with their protocol and source, and our encoders' points on it.

A published number stands on a ladder with ours only where its protocol is ours in what moves the score: frozen features
and either a plain vote of the nearest neighbours in L2 (`knn`) or a linear probe on all labels of train (`linear`). All
others are shown apart, each with what differs.
"""

import csv
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from visrec.errors import UserError
from visrec.experiment import registry
from visrec.report.leaderboard import mark, position
from visrec.report.verdict import Score, percent, score, span

COLUMNS = ("dataset", "method", "metric", "value_pct", "k_or_probe", "protocol", "evidence", "source")
COLUMNS += ("comparable", "reason")
# what may stand in `comparable`: column of the leaderboard, and what it is called
RUNGS = {
    "knn": ("knn_accuracy", "k-NN accuracy: a plain vote of the nearest in L2"),
    "linear": ("svm_accuracy", "Linear probe: a linear classifier on frozen features, all labels of train"),
}
EVIDENCE = {
    "read": "",
    "secondary": "seen quoted, not in the source",
    "derived": "computed",
}
LINK = re.compile(r"https?://[^\s\"'<>]+")


def read(path: str | Path) -> list[dict[str, Any]]:
    """The rows of ladder.csv with `value` as a fraction, and the source as `link` and `source`, either may be "".

    Raises:
        UserError: the file is missing or malformed; one line with the file's line.
    """
    path = Path(path)
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            lacking = [name for name in COLUMNS if name not in (reader.fieldnames or [])]
            if lacking:
                raise UserError(f"{path}: column '{lacking[0]}' is missing; the ladder has {', '.join(COLUMNS)}")
            return [_row(row, f"{path}, line {reader.line_num}") for row in reader]
    except FileNotFoundError:
        raise UserError(f"{path}: is missing; get it back from the repository") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise UserError(f"{path}: is not a CSV file in UTF-8 ({error}); get it back from the repository") from error


def _row(row: Mapping[str, Any], where: str) -> dict[str, Any]:
    if None in row or None in row.values():
        many = "more" if None in row else "fewer"
        raise UserError(f"{where}: has {many} values than columns; quote those with commas")
    try:
        value = float(row["value_pct"])
    except ValueError:
        value = math.nan
    if not 0 <= value <= 100:
        raise UserError(f"{where}: value_pct is '{row['value_pct']}', not a number from 0 to 100")
    for name, known in (("comparable", ("", *RUNGS)), ("evidence", tuple(EVIDENCE))):
        if row[name] not in known:
            nearest = registry.nearest(row[name], [one for one in known if one])
            raise UserError(f"{where}: {name} is '{row[name]}'; {nearest}")
    if bool(row["comparable"]) == bool(row["reason"]):
        raise UserError(f"{where}: needs either `comparable` or the `reason` why it is not, and not both")
    if row["comparable"] and row["metric"] != "accuracy":
        raise UserError(f"{where}: metric '{row['metric']}' is comparable with nothing of ours; only accuracy is")
    link = LINK.match(row["source"])
    url = link[0] if link else ""
    return {**row, "value": value / 100, "link": url, "source": row["source"][len(url) :].strip()}


def dataset_of(config: Mapping[str, Any], dataset: str) -> tuple[str, bool]:
    """The ladder's name for a dataset, and whether the config says so; else it is the name of what reads it."""
    about = config["datasets"].get(dataset, {})
    return (about["ladder"], True) if "ladder" in about else (about.get("kind", dataset), False)


def rungs(
    rows: Iterable[Mapping[str, Any]], config: Mapping[str, Any], dataset: str, leaders: Sequence[Mapping[str, Any]]
) -> dict[str, Any] | None:
    """The ladders of one dataset and size; None for a dataset without published numbers.

    Args:
        rows: from `read`.
        config: the experiment's.
        dataset: its name in the config.
        leaders: its rows of leaderboard.csv.

    Returns:
        `name`, the ladder's dataset; `ladders`, each {title, rows}, best first, published and ours; `others`, rows
        whose protocol is another one.

    Raises:
        UserError: the config names a ladder that is not there.
    """
    name, asked = dataset_of(config, dataset)
    own = [row for row in rows if row["dataset"] == name]
    if not own:
        if asked:
            known = dict.fromkeys(row["dataset"] for row in rows)
            raise UserError(f"config: datasets.{dataset}.ladder: unknown '{name}'; {registry.nearest(name, known)}")
        return None
    ladders = []
    for kind, (column, title) in RUNGS.items():
        published = [_published(row) for row in own if row["comparable"] == kind]
        ours = [_ours(row, column) for row in leaders if score(row, column).measured]
        if published or ours:
            ladders.append({"title": title, "rows": _best_first([*published, *ours]), "published": len(published)})
    others = _best_first([_published(row) for row in own if not row["comparable"]])
    return {"name": name, "ladders": ladders, "others": others}


def _best_first(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: -row["number"])


def _published(row: Mapping[str, Any]) -> dict[str, Any]:
    about = [row["k_or_probe"], row["protocol"], EVIDENCE[row["evidence"]]]
    return {
        "encoder": None,
        "label": row["method"],
        "metric": row["metric"],
        "number": row["value"],
        "value": percent(row["value"]),
        "span": "",
        "mark": {"v": position(row["value"]), "l": position(row["value"]), "h": position(row["value"])},
        "about": "; ".join(filter(None, about)),
        "reason": row["reason"],
        "link": row["link"],
        "source": row["source"],
    }


def _ours(row: Mapping[str, Any], column: str) -> dict[str, Any]:
    one: Score = score(row, column)
    probe = f"k = {row['k']}" if column == "knn_accuracy" else "linear SVM, C chosen on validation"
    return {
        "encoder": row["encoder"],
        "label": row["encoder"],
        "metric": "accuracy",
        "number": one.value,
        "value": percent(one.value),
        "span": span(one.low, one.high),
        "mark": mark(one),
        "about": probe,
        "reason": "",
        "link": "",
        "source": "",
    }
