"""The report: one HTML file that needs nothing else, no network and no JavaScript.

Everything that comes from data goes through Jinja's autoescape; pictures are inlined as data: URIs.
"""

import base64
import importlib.metadata
import io
import json
import math
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
import numpy as np
import pandas as pd
import yaml
from PIL import Image, UnidentifiedImageError

from visrec import duplicates, store
from visrec.errors import UserError
from visrec.report import style
from visrec.report.tables import UNFINISHED, benchmark, folder, read_status, statuses
from visrec.report.verdict import (
    METRICS,
    NOT_RESOLVED,
    Score,
    duration,
    enumerate_words,
    missing,
    percent,
    relation,
    score,
    span,
    verdict,
)

TEMPLATES = Path(__file__).parent / "templates"
PACKAGES = ("visrec", "torch", "scikit-learn", "numpy", "pandas", "h5py", "snakemake")
WEBP_QUALITY = 88
UNQUOTED = ",;?=@&$+!*[]{}|'"  # allowed in a data: URI inside srcset; what HTML minds is escaped on top

# What the seed paper prints for SVHN (K = 3, L2, 4416 features), as text, and where ours stands in scores.csv:
# (label, the paper's value, evaluator, metric, split, whose: the trained encoder, a named one or a constant)
PAPER = (
    ("k-NN precision, the query counts itself; train", "43.2 %", "knn", "precision_self_counted", "train", "trained"),
    ("k-NN precision, the query left out; train", "14.8 % (derived)", "knn", "precision", "train", "trained"),
    ("k-NN precision; validation", "16.2 %", "knn", "precision", "val", "trained"),
    (
        "the same of an untrained network, counting itself; train",
        "",
        "knn",
        "precision_self_counted",
        "train",
        "random",
    ),
    ("chance of k-NN precision; validation", "11.5 – 11.6 %", "knn", "precision", "val", "chance"),
    ("SVM on the network's features; train", "23.54 %", "svm", "accuracy", "train", "trained"),
    ("SVM on the network's features; validation", "19.46 %", "svm", "accuracy", "val", "trained"),
    ("SVM on raw pixels; train", "46.49 %", "svm", "accuracy", "train", "pixels"),
    ("SVM on raw pixels; validation", "12.79 %", "svm", "accuracy", "val", "pixels"),
    ("constant answer, the commonest class; train", "18.92 %", "svm", "accuracy", "train", "majority"),
    ("constant answer, the commonest class; test", "19.59 %", "svm", "accuracy", "test", "majority"),
)


def data_uri(content: bytes, kind: str) -> str:
    """A data: URI of a MIME type."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def picture_uri(image: Image.Image) -> str:
    """A picture as WebP, as a data: URI."""
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "WEBP", quality=WEBP_QUALITY, method=4)
    return data_uri(buffer.getvalue(), "image/webp")


def _sheet(path: Path) -> dict[str, Any] | None:
    """A sheet of pictures (samples, reconstructions) and its size; None where there is none."""
    if not path.exists():
        return None
    try:
        with Image.open(path) as image:
            return {"uri": picture_uri(image), "width": image.width, "height": image.height}
    except UnidentifiedImageError as error:
        raise UserError(f"{path}: is not a picture; delete it and run again") from error


def thumbnails(path: str | Path, split: str, ids: Iterable[str]) -> dict[str, str]:
    """Images of a split of images.h5 by id, as data: URIs.

    Reads the wanted rows only: the report shows some two hundred of up to a hundred thousand.

    Raises:
        UserError: an id is not in the split.
    """
    wanted = sorted(set(ids))
    with store.reading(path, store.IMAGES) as file:
        rows = {name: row for row, name in enumerate(file[split]["ids"].asstr()[:])}
        unknown = [name for name in wanted if name not in rows]
        if unknown:
            raise UserError(
                f"{path}: neighbours.csv names image '{unknown[0]}', which is not in {split}; run embed again"
            )
        return {
            name: picture_uri(Image.fromarray(np.moveaxis(file[split]["images"][rows[name]], 0, 2))) for name in wanted
        }


def _figure(figures_dir: Path, dataset: str, size: int, stem: str, narrow: bool = False) -> dict[str, str]:
    """The data: URIs of one figure: light, dark and, with `narrow`, both once more for phones."""
    variants = {"light": "", "dark": "-dark"}
    if narrow:
        variants |= {"narrow_light": "-narrow", "narrow_dark": "-narrow-dark"}
    found = {}
    for variant, end in variants.items():
        path = figures_dir / dataset / f"{size}px" / f"{stem}{end}.svg"
        if not path.exists():
            raise UserError(f"{path}: figure is missing; run the rule figures")
        # Percent-encoding makes SVG text a quarter shorter than base64 does.
        found[variant] = f"data:image/svg+xml,{quote(path.read_text(encoding='utf-8'), safe=UNQUOTED)}"
    return found


def _mark(one: Score, low: float = 0.0, high: float = 1.0) -> dict[str, float]:
    """Where value and interval stand on an axis from `low` to `high`, in percent of its length."""
    place = {"v": one.value, "l": one.low, "h": one.high}
    return {key: round(100 * min(1, max(0, (value - low) / (high - low))), 3) for key, value in place.items()}


def _leaders(board: Sequence[Mapping[str, Any]], trained: Sequence[str], options: Mapping) -> list[dict[str, Any]]:
    """Rows of the leaderboard as the page shows them."""
    best = max((s for row in board if (s := score(row, "precision")).measured), key=lambda s: s.value, default=None)
    rows = []
    for row in board:
        cells = []
        for name, words in METRICS.items():
            one = score(row, name)
            cells.append(
                {
                    "label": words.format(k=row["k"]),
                    "value": percent(one.value),
                    "span": span(one.low, one.high),
                    "mark": _mark(one) if one.measured else None,
                    "sort": one.value if one.measured else -1,
                    "chance": _place(row[f"{name}_chance"]),
                    "majority": _place(row["majority"]) if name != "precision" else None,
                }
            )
        mine = score(row, "precision")
        seeds = f"{row['n_seeds']} of {row['seeds']} seeds" if row["seeds"] > 1 else ""
        chosen = f"chosen among {row['settings']} settings" if row["chosen_by"] else ""
        rows.append(
            {
                **row,
                "cells": cells,
                "notes": [note for note in (row["setting"], seeds, chosen) if not missing(note) and note],
                "lift": percent(row["precision_lift"]),
                "cost": "none" if options[row["encoder"]] is None else duration(row["cost_seconds"]),
                "trained": row["encoder"] in trained,
                "tie": best is not None and mine.measured and mine != best and relation(mine, best) == NOT_RESOLVED,
                "best": best is not None and mine == best,
            }
        )
    return rows


def _place(value: float | None) -> float | None:
    return None if missing(value) else round(100 * value, 3)


def _constants(board: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Chance of each metric and the constant answer, over all rows: they are there even if an encoder failed."""

    def first(column: str) -> float | None:
        return next((row[column] for row in board if not missing(row[column])), None)

    chance = [first(f"{name}_chance") for name in METRICS]
    majority = first("majority")
    labels = [words.format(k=board[0]["k"]) for words in METRICS.values()]
    return {
        "labels": labels,
        "chance": [percent(value) for value in chance],
        "chance_place": [_place(value) for value in chance],
        "majority": ["", *(percent(majority) for _ in labels[1:])],
        "majority_place": [None, *(_place(majority) for _ in labels[1:])],
    }


def _magnified(board: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The headline scores on an axis that just holds them; None where the whole axis shows them well enough."""
    scores = {row["encoder"]: one for row in board if (one := score(row, "precision")).measured}
    if len(scores) < 2:
        return None
    low = math.floor(min(one.low for one in scores.values()) * 50) / 50
    high = math.ceil(max(one.high for one in scores.values()) * 50) / 50
    if high - low > 0.35 or high <= low:
        return None
    return {
        "low": percent(low, 0),
        "high": percent(high, 0),
        "rows": [
            {
                "encoder": encoder,
                "mark": _mark(one, low, high),
                "value": percent(one.value),
                "span": span(one.low, one.high),
            }
            for encoder, one in scores.items()
        ],
    }


def _paper(chapters: Sequence[Mapping[str, Any]], scores: pd.DataFrame, k: int) -> dict[str, Any]:
    """The seed paper's figures and ours, under its protocol and under the honest one."""
    rows = []
    for label, printed, evaluator, metric, split, whose in PAPER:
        ours = []
        for chapter in chapters:
            here = scores[
                (scores["dataset"] == chapter["dataset"])
                & (scores["size"] == chapter["size"])
                & (scores["evaluator"] == evaluator)
                & (scores["metric"] == metric)
                & (scores["split"] == split)
            ]
            here = here[here["k"] == k] if evaluator == "knn" else here
            if whose in ("chance", "majority"):
                known = here[whose].dropna()
                ours.append({"value": percent(known.iloc[0] if len(known) else None), "span": ""})
                continue
            encoder = chapter["headliner"] if whose == "trained" else whose
            trial = chapter["shown"].get(encoder)
            found = here[(here["encoder"] == encoder) & (here["trial"] == trial) & (here["status"] == "ok")]
            if found.empty:
                ours.append({"value": percent(None), "span": ""})
            else:
                one = found.iloc[0]
                ours.append({"value": percent(one["value"]), "span": span(one["low"], one["high"])})
        rows.append({"label": label, "paper": printed, "ours": ours})
    same = [chapter["dataset"] == "svhn" for chapter in chapters]
    return {"rows": rows, "same": same, "any_same": any(same), "all_same": all(same), "k": k}


def _gallery(
    results_dir: Path, chapter: Mapping[str, Any], trials: Sequence[Mapping[str, Any]], queries: int, neighbours: int
) -> list[dict[str, Any]]:
    """Query images and their nearest train images by each encoder's shown trial."""
    tables, order = {}, {}
    for trial in trials:
        path = folder(results_dir, trial) / "neighbours.csv"
        if not path.exists():
            continue
        table = pd.read_csv(
            path, dtype={"query_id": str, "query_label": str, "id": str, "label": str}, keep_default_na=False
        )
        tables[trial["encoder"]] = table
        for query, label in zip(table["query_id"], table["query_label"], strict=True):
            order.setdefault(query, label)
    kept = list(order)[:queries]
    parts = [table[table["query_id"].isin(kept) & (table["rank"] <= neighbours)] for table in tables.values()]
    if not kept:
        return []
    images = results_dir / chapter["dataset"] / f"{chapter['size']}px" / "images.h5"
    shown = thumbnails(images, "train", [name for part in parts for name in part["id"]])
    asked = thumbnails(images, "test", kept)
    gallery = []
    for query in kept:
        encoders = []
        for encoder, part in zip(tables, parts, strict=True):
            found = part[part["query_id"] == query].sort_values("rank", kind="stable").to_dict("records")
            hits = sum(bool(one["correct"]) for one in found)
            pictures = [one | {"uri": shown[one["id"]]} for one in found]
            encoders.append({"encoder": encoder, "status": chapter["status"][encoder], "found": pictures, "hits": hits})
        gallery.append({"id": query, "label": order[query], "uri": asked[query], "encoders": encoders})
    return gallery


def _number(value: float | None, unit: str, decimals: int = 0) -> str:
    return (
        "not measured"
        if missing(value)
        else f"{value:,.{decimals}f}\N{NO-BREAK SPACE}{unit}".replace(",", "\N{THIN SPACE}")
    )


def _run(
    results_dir: Path,
    experiment: str,
    trial: Mapping[str, Any],
    state: tuple[str, str],
    evaluators: Sequence[str],
    configfiles: Sequence[str],
) -> dict[str, Any]:
    """A row of the run table."""
    about = read_status(results_dir, trial)
    stages = [trial["stage"]] if trial["stage"] else []
    costs = {rule: benchmark(results_dir, rule, trial) for rule in (*stages, "embed", "neighbours")}
    costs |= {f"evaluate {name}": benchmark(results_dir, "evaluate", trial, name) for name in evaluators}
    memory = [cost["max_rss"] for cost in costs.values() if not missing(cost["max_rss"])]
    target = Path("results", experiment) / folder("", trial) / f"{evaluators[0] if evaluators else 'neighbours'}.csv"
    command = ["snakemake", *(["--configfile", *configfiles, "--"] if configfiles else []), str(target)]
    status, reason = state
    return {
        "name": f"{trial['dataset']}, {trial['size']} px, {trial['encoder']}",
        "trial": trial["trial"],
        "status": status,
        "reason": reason,
        "iterations": f"{about['iterations']:,}".replace(",", "\N{THIN SPACE}") if "iterations" in about else "",
        "device": about.get("device", ""),
        "precision": about.get("precision", ""),
        "host": about.get("host", ""),
        "seconds": duration(about["seconds"]) if "seconds" in about else "",
        "costs": [(rule, duration(cost["s"])) for rule, cost in costs.items()],
        "memory": _number(max(memory), "MB") if memory else "not measured",
        "speed": _number(about["images_per_second"], "img/s") if "images_per_second" in about else "",
        "parameters": about.get("parameters", {}),
        "command": shlex.join(command),
    }


def _environment(results_dir: Path, trials: Iterable[Mapping]) -> dict[str, list[str]]:
    """What the trainings and the report ran on, each value once."""
    found: dict[str, dict[str, None]] = {"hosts": {}, "devices": {}, "torch": {}}
    for trial in trials:
        about = read_status(results_dir, trial)
        for name, key in (("hosts", "host"), ("devices", "device"), ("torch", "torch")):
            if about.get(key):
                found[name][str(about[key])] = None
    versions = []
    for package in PACKAGES:
        try:
            versions.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:  # visrec on the path without being installed
            continue
    return {name: list(values) for name, values in found.items()} | {"report": versions}


def _chapter(
    results_dir: Path,
    dataset: str,
    size: int,
    trials: Sequence[Mapping],
    tables: Mapping[str, pd.DataFrame],
    evaluators: Sequence[str],
) -> dict[str, Any]:
    """What all sections need to know of one dataset and size."""
    board_table = tables["leaderboard"]
    board_table = board_table[(board_table["dataset"] == dataset) & (board_table["size"] == size)]
    board = board_table.to_dict("records")
    found = statuses(results_dir, trials, tables["scores"], evaluators)
    states = {(encoder, trial): state for (_, _, encoder, trial), state in found.items()}
    trained = list(dict.fromkeys(trial["encoder"] for trial in trials if trial["stage"] == "train"))
    info = store.read_image_info(results_dir / dataset / f"{size}px" / "images.h5")
    options = {trial["encoder"]: trial["stage"] for trial in trials}
    return {
        "dataset": dataset,
        "size": size,
        "title": f"{dataset}, {size} px",
        "info": info,
        "verdict": verdict(board, trained),
        "rows": _leaders(board, trained, options),
        "constants": _constants(board),
        "absent": [name for name in ("random", "pixels") if name not in options],
        "magnified": _magnified(board),
        "duplicates": _duplicates(results_dir / dataset / f"{size}px" / "images.h5"),
        "k": board[0]["k"],
        "queries": max(row["queries"] for row in board),
        "trials": trials,
        "trained": trained,
        "headliner": "age" if "age" in trained or not trained else trained[0],
        "shown": {row["encoder"]: row["trial"] for row in board},
        "status": {row["encoder"]: row["status"] for row in board},
        "states": states,
        "open": _open_settings(tables["grid"], dataset, size),
        "unfinished": any(state[0] == UNFINISHED for state in states.values()),
    }


def _duplicates(path: Path) -> dict[str, Any] | None:
    """How many test images have a near duplicate in train; None in a file that was not searched."""
    with store.reading(path, store.IMAGES) as file:
        if "duplicates" not in file:
            return None
        found = duplicates.count(file["duplicates"][:])["test in train"]
    return found | {"threshold": duplicates.THRESHOLD, "side": duplicates.SIDE}


def _open_settings(grid: pd.DataFrame, dataset: str, size: int) -> list[str]:
    """One sentence per encoder with a grid: how many other trials are not resolved from the chosen one."""
    sentences = []
    here = grid[(grid["dataset"] == dataset) & (grid["size"] == size)]
    for encoder, rows in here.groupby("encoder", sort=False):
        rows = rows.sort_values("seed", kind="stable").to_dict("records")
        best = [row for row in rows if row["chosen"] and row["status"] == "ok"]
        others = [row for row in rows if not row["chosen"] and row["status"] == "ok"]
        if best and others:
            mine = score(best[0], "val_precision")
            number = sum(relation(mine, score(row, "val_precision")) == NOT_RESOLVED for row in others)
            word = "is" if number == 1 else "are"
            sentences.append(
                f"{encoder}: {number} of {len(others)} other trials {word} not resolved from the chosen one."
            )
    return sentences


def _sheets(results_dir: Path, chapter: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Samples and reconstructions of the trained trials, the shown ones first."""
    cards = []
    for trial in chapter["trials"]:
        if trial["stage"] != "train":
            continue
        where = folder(results_dir, trial)
        status, reason = chapter["states"][trial["encoder"], trial["trial"]]
        cards.append(
            {
                "encoder": trial["encoder"],
                "trial": trial["trial"],
                "status": status,
                "reason": reason,
                "shown": chapter["shown"].get(trial["encoder"]) == trial["trial"],
                "samples": _sheet(where / "samples.png"),
                "reconstructions": _sheet(where / "reconstructions.png"),
            }
        )
    return sorted(cards, key=lambda card: not card["shown"])


def report(
    results_dir: str | Path,
    experiment: str,
    trials: Sequence[Mapping[str, Any]],
    tables_dir: str | Path,
    figures_dir: str | Path,
    out_html: str | Path,
    config: Mapping[str, Any],
    commit: str | None,
    queries: int,
    neighbours: int,
    configfiles: Sequence[str] = (),
) -> None:
    """Write the report.

    Args:
        results_dir: results/{experiment}.
        experiment: its name.
        trials: as for `tables.tables`.
        tables_dir: where `tables.tables` wrote.
        figures_dir: where `plots.figures` drew.
        out_html: the page.
        config: the experiment's config, printed at the end.
        commit: of the code, None outside a checkout.
        queries: query images in the gallery.
        neighbours: neighbours of each.
        configfiles: files to name in the commands that rebuild a run; none for the default config.

    Raises:
        UserError: a figure, images.h5 or an image that a gallery names is missing or damaged.
    """
    results_dir, tables_dir, figures_dir = Path(results_dir), Path(tables_dir), Path(figures_dir)
    tables = {
        name: pd.read_csv(
            tables_dir / f"{name}.csv", dtype={"reason": "string", "setting": "string", "chosen_by": "string"}
        )
        for name in ("scores", "leaderboard", "grid")
    }
    for table in tables.values():
        words = table.select_dtypes("string").columns
        table[words] = table[words].fillna("")
    evaluators = list(config["evaluators"])
    chapters = []
    for number, (dataset, size) in enumerate(dict.fromkeys((trial["dataset"], trial["size"]) for trial in trials)):
        here = [trial for trial in trials if (trial["dataset"], trial["size"]) == (dataset, size)]
        chapter = _chapter(results_dir, dataset, size, here, tables, evaluators)
        shown = [trial for trial in here if chapter["shown"][trial["encoder"]] == trial["trial"]]
        chapters.append(
            chapter
            | {
                "id": f"d{number + 1}",
                "figures": {
                    "curves": _figure(figures_dir, dataset, size, "curves", narrow=True),
                    "heatmap": _figure(figures_dir, dataset, size, "heatmap"),
                    "layers": _figure(figures_dir, dataset, size, "layers"),
                },
                "sheets": _sheets(results_dir, chapter),
                "gallery": _gallery(results_dir, chapter, shown, queries, neighbours),
            }
        )
    runs = []
    for chapter in chapters:
        for trial in chapter["trials"]:
            state = chapter["states"][trial["encoder"], trial["trial"]]
            runs.append(_run(results_dir, experiment, trial, state, evaluators, configfiles))
    k = chapters[0]["k"]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("report.html").render(
        experiment=experiment,
        chapters=chapters,
        encoders=list(dict.fromkeys(trial["encoder"] for trial in trials)),
        trials=trials,
        colours=style.encoder_colours(trial["encoder"] for trial in trials),
        style=style,
        paper=_paper(chapters, tables["scores"], k),
        runs=runs,
        failed=[run for run in runs if run["status"] != "ok"],
        commit=commit,
        config=yaml.safe_dump(json.loads(json.dumps(config)), sort_keys=False, allow_unicode=True),
        environment=_environment(results_dir, trials),
        k=k,
        words=enumerate_words,
        queries=queries,
        neighbours=neighbours,
    )
    store.write_text(out_html, page)
