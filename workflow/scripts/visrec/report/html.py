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
from visrec.report import sections, style
from visrec.report.tables import TEXT, UNFINISHED, benchmark, folder, read_status, statuses
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
# Columns of the tables that are text even where all of them are empty.
WORDS = [*TEXT, "reason", "setting", "chosen_by", "beside_chosen", "trial", "best_trial", "note", "variant", "pooling"]
NUMBERS = ("scores", "leaderboard", "grid", "comparisons", "overall", "selection", "overlap", "atlas")  # tables read
WEBP_QUALITY = 88
UNQUOTED = ",;?=@&$+!*[]{}|'"  # allowed in a data: URI inside srcset; what HTML minds is escaped on top


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


def _leaders(
    board: Sequence[Mapping[str, Any]],
    comparisons: Sequence[Mapping[str, Any]],
    trained: Sequence[str],
    options: Mapping,
) -> list[dict[str, Any]]:
    """Rows of the leaderboard as the page shows them."""
    scored = [row for row in board if score(row, "precision").measured]
    best = max(scored, key=lambda row: row["precision"], default={"encoder": None})["encoder"]
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
        encoder = row["encoder"]
        seeds = f"{row['n_seeds']} of {row['seeds']} seeds" if row["seeds"] > 1 else ""
        chosen = f"chosen among {row['settings']} settings" if row["chosen_by"] else ""
        rows.append(
            {
                **row,
                "cells": cells,
                "notes": [note for note in (row["setting"], seeds, chosen) if not missing(note) and note],
                "lift": percent(row["precision_lift"]),
                "cost": "none" if options[encoder] is None else duration(row["cost_seconds"]),
                "trained": encoder in trained,
                "tie": encoder != best and relation(comparisons, encoder, best) == NOT_RESOLVED,
                "best": encoder == best,
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
    here = {
        name: table[(table["dataset"] == dataset) & (table["size"] == size)]
        for name, table in tables.items()
        if name != "overall"
    }
    board, pairs = (here[name].to_dict("records") for name in ("leaderboard", "comparisons"))
    k, shown = board[0]["k"], {row["encoder"]: row["trial"] for row in board}
    scores = sections.of_chosen(here["scores"], shown)
    found = statuses(results_dir, trials, tables["scores"], evaluators)
    states = {(encoder, trial): state for (_, _, encoder, trial), state in found.items()}
    trained = list(dict.fromkeys(trial["encoder"] for trial in trials if trial["stage"] == "train"))
    info = store.read_image_info(results_dir / dataset / f"{size}px" / "images.h5")
    options = {trial["encoder"]: trial["stage"] for trial in trials}
    absent = [name for name in ("random", "pixels") if name not in options]
    columns = [*shown, *absent]
    return {
        "dataset": dataset,
        "size": size,
        "title": f"{dataset}, {size} px",
        "info": info,
        "verdict": verdict(board, trained, pairs),
        "rows": _leaders(board, pairs, trained, options),
        "constants": _constants(board),
        "absent": absent,
        "columns": columns,
        "scores": scores,
        "all_scores": sections.all_scores(scores, columns, k),
        "shares_attributes": sections.has_attributes(scores),
        "spaces": sections.spaces(scores, columns, k),
        "leaks": sections.leaks(scores, columns, k),
        "protocols": sections.protocols(scores, columns),
        "duels": sections.duels(pairs, list(shown), k),
        "health": sections.health(scores, columns, k),
        "overlaps": sections.overlaps(here["overlap"]),
        "selection": sections.selection(here["selection"]),
        "atlases": _atlases(here["atlas"], trials, shown),
        "several_seeds": any(row["n_seeds"] > 1 for row in board),
        "magnified": _magnified(board),
        "duplicates": _duplicates(results_dir / dataset / f"{size}px" / "images.h5"),
        "k": k,
        "queries": max(row["queries"] for row in board),
        "trials": trials,
        "trained": trained,
        "headliner": "age" if "age" in trained or not trained else trained[0],
        "shown": shown,
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


def _atlases(rows: pd.DataFrame, trials: Sequence[Mapping[str, Any]], shown: Mapping[str, str]) -> list[dict[str, Any]]:
    """The atlas of each encoder's chosen trial, in the order of the leaderboard."""
    options = {(trial["encoder"], trial["trial"]): trial["options"] for trial in trials}
    found = []
    for encoder, trial in shown.items():
        own = rows[(rows["encoder"] == encoder) & (rows["trial"] == trial)]
        if len(own):
            mode = options[encoder, trial].get("batchnorm", "running")
            found.append({"encoder": encoder, "trial": trial} | sections.atlas(own, mode))
    return found


def _open_settings(grid: pd.DataFrame, dataset: str, size: int) -> list[str]:
    """One sentence per encoder with a grid: how many trials of other settings are not resolved from the chosen one."""
    sentences = []
    here = grid[(grid["dataset"] == dataset) & (grid["size"] == size)]
    for encoder, rows in here.groupby("encoder", sort=False):
        beside = rows.loc[(rows["status"] == "ok") & ~rows["chosen"], "beside_chosen"]
        if len(beside) and (rows["chosen"] & (rows["status"] == "ok")).any():
            number = (beside == NOT_RESOLVED).sum()
            word = "is" if number == 1 else "are"
            sentences.append(
                f"{encoder}: {number} of {len(beside)} trials of other settings {word} not resolved from the chosen."
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
    unfinished: Mapping[str, Any] | None = None,
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
        unfinished: of a partial report, how many trials there are (`total`), which of them `failed`, as (trial, how),
            and how many are still `open`.

    Raises:
        UserError: a figure, images.h5 or an image that a gallery names is missing or damaged.
    """
    results_dir, tables_dir, figures_dir = Path(results_dir), Path(tables_dir), Path(figures_dir)
    tables = {name: pd.read_csv(tables_dir / f"{name}.csv", dtype=dict.fromkeys(WORDS, "string")) for name in NUMBERS}
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
                    "atlas": _figure(figures_dir, dataset, size, "atlas", narrow=True),
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
        paper=sections.paper(chapters),
        attributes=any(chapter["shares_attributes"] for chapter in chapters),
        overall=sections.overall(tables["overall"], k),
        runs=runs,
        failed=[run for run in runs if run["status"] != "ok"],
        commit=commit,
        config=yaml.safe_dump(json.loads(json.dumps(config)), sort_keys=False, allow_unicode=True),
        environment=_environment(results_dir, trials),
        k=k,
        words=enumerate_words,
        queries=queries,
        neighbours=neighbours,
        unfinished=unfinished,
    )
    store.write_text(out_html, page)
