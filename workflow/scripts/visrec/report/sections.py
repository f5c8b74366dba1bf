"""The sections of numbers in the report, all of one dataset and size; see `visrec.report.score_tables`."""

import math
import string
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from visrec.report import score_names
from visrec.report.headline import HEADLINE
from visrec.report.score_names import named
from visrec.report.score_tables import DASH, MINUS, Rows, best_spaces, decimal, group, line, pick, spaces_of
from visrec.report.verdict import BETTER, WORSE, Score, compared, missing, percent, signed, span
from visrec.report.verdict import METRICS as LEADERBOARD
from visrec.scoring.metrics import ATTRIBUTES_AND_IDENTITY, HEALTH, METRICS
from visrec.scoring.protocols import PROTOCOLS

PAPER_K = 3
FEW_LABELS = {
    "ali": "ALI and DCGAN: linear SVM on some random labels of train, 1,000 by default; C chosen on validation",
    "mteb": "MTEB: logistic regression on some labels per class, 16 by default; C = 1",
}
SELECTORS = {
    "sliced_wasserstein": "sliced Wasserstein distance, samples to validation images",
    "fid_torchvision": "Fréchet distance of Inception features, samples to validation images",
    "reconstruction_error": "reconstruction error on validation",
    "rankme_output": "RankMe of the output",
    "rankme_stack": "RankMe of the stack",
    "hubness": "hubness on validation",
}


def _scores(rows: Rows, encoders: Sequence[str], names: Iterable[tuple[str, str]], k: int, **more: str) -> list:
    """Lines of some scores, at k where they have one."""
    lines = []
    for name in names:
        found = pick(rows, *name, k if score_names.has_k(*name) else None, **score_names.average(*name) | more)
        lines.append(line(named(*name, k), found, encoders))
    return lines


def _counts_neighbours(row: Mapping[str, Any]) -> bool:
    return row["metric"] == "precision" and row["protocol"] == HEADLINE["protocol"] and bool(row["k"])


def all_scores(rows: Rows, encoders: Sequence[str], k: int) -> list[dict[str, Any]]:
    """The tables of all test scores: {summary, groups}; the first is shown, the others are folded away."""
    ks = sorted({row["k"] for own in rows.values() for row in own if _counts_neighbours(row)})
    others = [other for other in ks if other != k]
    by_group = {title: list(score_names.labels(title)) for title in score_names.groups()}
    shown = [each for title, names in by_group.items() for each in group(title, _scores(rows, encoders, names, k))]
    shown += group("Other evaluators", _others(rows, encoders))
    at_k = [name for names in by_group.values() for name in names if score_names.has_k(*name)]
    further = group("", [one for name in at_k for other in others for one in _scores(rows, encoders, [name], other)])
    over_classes = [name for names in by_group.values() for name in names if not score_names.average(*name)]
    macro = group("", _scores(rows, encoders, over_classes, k, average="macro"))
    tables = [
        ("", shown),
        (f"Macro averages: every class counts the same, at k = {k}", macro),
        (f"Other numbers of neighbours: k = {', '.join(map(str, others))}", further),
        *_of_each_attribute(rows, encoders, k),
    ]
    return [{"summary": summary, "groups": groups} for summary, groups in tables if groups]


def _of_each_attribute(rows: Rows, encoders: Sequence[str], k: int) -> list[tuple[str, list[dict[str, Any]]]]:
    """Tables (summary, groups) of metrics that are measured for each attribute."""
    tables = []
    for metric in (metric for metric in METRICS.values() if metric.each):
        known = dict.fromkeys(row["metric"] for own in rows.values() for row in own)
        names = [name for name in known if name.startswith(metric.each)]
        lines = [line(name.removeprefix(metric.each), pick(rows, "knn", name, k), encoders) for name in names]
        tables.append((metric.each_label.format(k=k), group("", lines)))
    return tables


def has_attributes(rows: Rows) -> bool:
    """Whether images have attributes or identities that are scored."""
    names = {metric for _, metric in score_names.labels(ATTRIBUTES_AND_IDENTITY)}
    return any(row["metric"] in names for own in rows.values() for row in own)


def _others(rows: Rows, encoders: Sequence[str]) -> list[dict[str, Any] | None]:
    """Test scores of evaluators that have no names here."""
    known = score_names.evaluators()
    found = dict.fromkeys(
        (row["evaluator"], row["metric"], row["k"])
        for own in rows.values()
        for row in own
        if row["evaluator"] not in known and row["split"] == "test" and row["metric"] not in score_names.NOT_SHOWN
    )
    return [line(named(*name), pick(rows, *name), encoders) for name in found]


def spaces(
    rows: Rows, encoders: Sequence[str], k: int, apart: Iterable[Mapping[str, Any]] = ()
) -> list[dict[str, Any]]:
    """Precision by what is done to features and by distance; each encoder's best on validation is marked.

    Args:
        rows: from `score_tables.of_chosen`.
        encoders: the columns.
        k: the headline's number of neighbours.
        apart: rows of spaces.csv: the mark has the paired difference from the headline's space.
    """
    best, lines = best_spaces(rows, k), []
    differences = {(row["encoder"], row["features"], row["distance"]): row for row in apart}
    scored = {
        (features, distance): pick(rows, "knn", "precision", k, features=features, distance=distance)
        for features, distance in spaces_of(rows)
    }
    for kind, found in scored.items():
        one = line(score_names.space(*kind), found, encoders, lifted=False)
        if one is not None:
            for encoder, each in zip(encoders, one["cells"], strict=True):
                if len(scored) > 1 and best.get(encoder) == kind:
                    each["flag"] = f"★ best on validation{_beside_headline(differences.get((encoder, *kind)))}"
            lines.append(one)
    return group("", lines)


def _beside_headline(row: Mapping[str, Any] | None) -> str:
    """The paired difference of a space from the headline's, where there is one: ", better: +4.0 [+1.1, +6.9]"."""
    if row is None or row["word"] not in (BETTER, WORSE):
        return ""
    return f", {row['word']}: {points(row['difference'])} [{points(row['low'])}, {points(row['high'])}]"


def leaks(rows: Rows, encoders: Sequence[str], k: int) -> list[dict[str, Any]]:
    """Precision with the query among its own neighbours, without it, and without its near duplicates."""
    counted = pick(rows, "knn", "precision", PAPER_K, "train", protocol="paper")
    left_out = pick(rows, "knn", "precision", PAPER_K, "train", protocol="leave-one-out")
    dropped = pick(rows, "knn", "precision", k, duplicates="dropped")
    lines = [
        line(f"train, precision@{PAPER_K}: the query counts itself", counted, encoders, lifted=False),
        line(f"train, precision@{PAPER_K}: the query is left out", left_out, encoders, lifted=False),
        line(f"test, precision@{k}", pick(rows, "knn", "precision", k), encoders, lifted=False),
        line(f"test, precision@{k}: without near duplicates of the query", dropped, encoders, lifted=False),
    ]
    return group("", lines)


def protocols(rows: Rows, encoders: Sequence[str]) -> list[dict[str, Any]]:
    """One group per protocol of others, with what it does."""
    about = {name: protocol.about for name, protocol in PROTOCOLS.items()} | FEW_LABELS
    found = dict.fromkeys(
        (row["protocol"], row["evaluator"], row["metric"], row["k"], row["split"])
        for own in rows.values()
        for row in own
        if row["protocol"] != HEADLINE["protocol"] and row["metric"] != "accuracy_sd"
    )
    order = [*about, *dict.fromkeys(name for name, *_ in found if name not in about)]
    groups = []
    for name in order:
        lines = []
        for protocol, evaluator, metric, k, split in found:
            if protocol != name:
                continue
            picked = pick(rows, evaluator, metric, k, split, protocol=protocol)
            one = line(f"{named(evaluator, metric, k)}; {split}", picked, encoders)
            spread = pick(rows, evaluator, "accuracy_sd", None, split, protocol=protocol)
            for encoder, each in zip(encoders, one["cells"], strict=True):
                row = spread.get(encoder)
                if row is not None and not missing(row["value"]):
                    each["note"] = f"sd {100 * row['value']:.1f} over {int(row['n'])} draws"
            lines.append(one)
        groups += group(name, lines, about.get(name, ""))
    return groups


def health(rows: Rows, encoders: Sequence[str], k: int) -> list[dict[str, Any]]:
    """What the lists of all test queries recommend, beside what random lists would."""
    lines = []
    for name, label in score_names.labels(HEALTH).items():
        found, form = pick(rows, *name, k), decimal if METRICS[name[1]].decimal else percent
        lines.append(line(label.format(k=k), found, encoders, form, lifted=False))
    return group("", lines)


def overlaps(rows: pd.DataFrame, leaders: Iterable[Mapping[str, Any]]) -> list[dict[str, str]]:
    """How alike the lists of different seeds are, of each encoder's chosen setting.

    Args:
        rows: of overlap.csv.
        leaders: of leaderboard.csv, of the same dataset and size.
    """
    chosen = {(row["encoder"], "" if missing(row["setting"]) else row["setting"]) for row in leaders}
    return [
        {
            "encoder": row["encoder"],
            "setting": row["setting"],
            "seeds": str(row["seeds"]),
            "k": str(row["k"]),
            "overlap": percent(row["overlap"]),
            "chance": percent(row["chance"]),
        }
        for row in rows.to_dict("records")
        if (row["encoder"], "" if missing(row["setting"]) else row["setting"]) in chosen
    ]


def points(value: float | None) -> str:
    """A difference of fractions in percentage points with its sign, "+1.3"; what rounds to 0 keeps its sign."""
    return DASH if missing(value) else signed(value)


def duels(comparisons: Sequence[Mapping[str, Any]], encoders: Sequence[str], k: int) -> list[dict[str, Any]]:
    """One matrix per metric: what can be said of each encoder beside each other one, with the paired difference.

    Args:
        comparisons: rows of comparisons.csv.
        encoders: in the order of the leaderboard.
        k: the headline's number of neighbours.
    """
    tables = []
    for metric in dict.fromkeys(row["metric"] for row in comparisons):
        rows = []
        for a in encoders:
            cells = []
            for b in encoders:
                word, apart = ("", Score(*3 * [math.nan])) if a == b else compared(comparisons, a, b, metric)
                limits = f"[{points(apart.low)}, {points(apart.high)}]" if apart.measured else ""
                cells.append({"word": word, "value": points(apart.value), "span": limits})
            rows.append({"encoder": a, "cells": cells})
        tables.append({"metric": metric, "label": metric_name(metric, k), "encoders": list(encoders), "rows": rows})
    return tables


def metric_name(metric: str, k: int) -> str:
    """What a column of the leaderboard, or another name in comparisons.csv, is called."""
    return (LEADERBOARD | {"map_at_r": METRICS["map_at_r"].label}).get(metric, metric).format(k=k)


def overall(rows: pd.DataFrame, k: int) -> list[dict[str, Any]]:
    """Means over datasets, one table per metric; rows of overall.csv."""
    return [
        {
            "label": metric_name(metric, k),
            "datasets": int(part["datasets"].iloc[0]),
            "rows": [
                {"encoder": row["encoder"], "value": percent(row["value"]), "span": span(row["low"], row["high"])}
                for row in part.to_dict("records")
            ],
        }
        for metric, part in rows.groupby("metric", sort=False)
    ]


def selection(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """What each measure without labels would have chosen; rows of selection.csv."""
    found = []
    for row in rows.to_dict("records"):
        one, best = (
            {"value": percent(row[f"{prefix}precision"]), "span": span(row[f"{prefix}low"], row[f"{prefix}high"])}
            for prefix in ("", "best_")
        )
        if not missing(row["spearman"]):
            correlation = f"{row['spearman']:+.2f}".replace("-", MINUS)
        else:
            correlation = (
                "fewer than three settings" if row["settings"] < 3 else "undefined: one of the two is constant"
            )
        found.append(
            {
                "encoder": row["encoder"],
                "selector": SELECTORS.get(row["selector"], row["selector"]),
                "better": row["better"],
                "settings": int(row["settings"]),
                "correlation": correlation,
                "defined": not missing(row["spearman"]),
                "trial": row["trial"],
                "test": one,
                "best_trial": row["best_trial"],
                "best_test": best,
                "same": bool(row["trial"]) and row["trial"] == row["best_trial"],
            }
        )
    return found


def letters(rows: pd.DataFrame) -> dict[str, str]:
    """A letter for each measure without labels, in the order of selection.csv: {"sliced_wasserstein": "A", ...}."""
    return dict(zip(rows["selector"].unique(), string.ascii_uppercase, strict=False))


def chosen_without(rows: pd.DataFrame) -> dict[tuple[str, str], str]:
    """(encoder, trial) -> the letters of the measures that would choose it, "A C"; rows of selection.csv."""
    known, found = letters(rows), {}
    for row in rows[rows["trial"].fillna("") != ""].to_dict("records"):
        found.setdefault((row["encoder"], row["trial"]), []).append(known.get(row["selector"], row["selector"]))
    return {key: " ".join(several) for key, several in found.items()}
