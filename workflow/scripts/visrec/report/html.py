"""The report: one HTML file that needs nothing else, no network and no JavaScript.

Everything that comes from data goes through Jinja's autoescape; pictures are inlined as data: URIs.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd
import yaml

from visrec.data import duplicates
from visrec.data.files import write_text
from visrec.data.hdf5 import IMAGES, reading
from visrec.data.images import read_image_info
from visrec.errors import UserError
from visrec.report import PROVENANCE, ladder, leaderboard, provenance, score_tables, sections, sheets, style
from visrec.report.gallery import gallery
from visrec.report.grid import grid
from visrec.report.layer_sections import layers
from visrec.report.map import embedding_map
from visrec.report.paper import paper
from visrec.report.rendering import render
from visrec.report.sprites import Pictures
from visrec.report.tables import TEXT, UNFINISHED, statuses
from visrec.report.verdict import NOT_RESOLVED, enumerate_words, verdict

TEMPLATES = Path(__file__).parent / "templates"
# Columns of the tables that are text even where all of them are empty.
WORDS = [*TEXT, "reason", "setting", "chosen_by", "beside_chosen", "trial", "best_trial", "note", "variant", "pooling"]
NUMBERS = ("scores", "leaderboard", "grid", "comparisons", "overall", "selection", "overlap", "atlas")  # tables read
UNQUOTED = ",;?=@&$+!*[]{}|'"  # allowed in a data: URI inside srcset; what HTML minds is escaped on top


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


def _pictured(
    results_dir: Path, chapter: Mapping[str, Any], trials: Sequence[Mapping[str, Any]], queries: int, neighbours: int
) -> dict[str, Any]:
    """The gallery, the map, and the pictures that both show."""
    pictures = Pictures()
    shown = gallery(results_dir, chapter, trials, pictures, queries, neighbours)
    points = embedding_map(results_dir, chapter, trials, pictures)
    sprite = pictures.sprite(results_dir / chapter["dataset"] / f"{chapter['size']}px" / "images.h5")
    return {"gallery": shown, "map": points, "pictures": pictures.data(), "sprite": sprite}


def _chapter(
    results_dir: Path,
    dataset: str,
    size: int,
    trials: Sequence[Mapping],
    tables: Mapping[str, pd.DataFrame],
    config: Mapping[str, Any],
    published: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """What all sections need to know of one dataset and size."""
    here = {
        name: table[(table["dataset"] == dataset) & (table["size"] == size)]
        for name, table in tables.items()
        if name != "overall"
    }
    board, pairs = (here[name].to_dict("records") for name in ("leaderboard", "comparisons"))
    k, shown = board[0]["k"], {row["encoder"]: row["trial"] for row in board}
    scores = score_tables.of_chosen(here["scores"], shown)
    found = statuses(results_dir, trials, tables["scores"], list(config["evaluators"]))
    states = {(encoder, trial): state for (_, _, encoder, trial), state in found.items()}
    trained = list(dict.fromkeys(trial["encoder"] for trial in trials if trial["stage"] == "train"))
    info = read_image_info(results_dir / dataset / f"{size}px" / "images.h5")
    options = {trial["encoder"]: trial["stage"] for trial in trials}
    absent = [name for name in ("random", "pixels") if name not in options]
    columns = [*shown, *absent]
    return {
        "dataset": dataset,
        "size": size,
        "kind": config["datasets"].get(dataset, {}).get("kind", dataset),
        "title": f"{dataset}, {size} px",
        "info": info,
        "verdict": verdict(board, trained, pairs),
        "rows": leaderboard.rows(board, pairs, trained, options),
        "constants": leaderboard.constants(board),
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
        "grid": grid(here["grid"], here["scores"], trials, sections.chosen_without(here["selection"]), k),
        "letters": [
            {"letter": letter, "words": sections.SELECTORS.get(selector, selector)}
            for selector, letter in sections.letters(here["selection"]).items()
        ],
        "atlases": _atlases(here["atlas"], trials, shown),
        "several_seeds": any(row["n_seeds"] > 1 for row in board),
        "magnified": leaderboard.magnified(board),
        "ladder": ladder.rungs(published, config, dataset, board),
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
    with reading(path, IMAGES) as file:
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
            found.append({"encoder": encoder, "trial": trial} | layers(own, mode))
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
    ladder_csv: str | Path | None = None,
) -> None:
    """Write the report, and provenance.csv beside the other tables.

    Args:
        results_dir: results/{experiment}.
        experiment: its name.
        trials: as for `tables.tables`.
        tables_dir: where `tables.tables` wrote.
        figures_dir: where `figures.write.figures` drew.
        out_html: the page.
        config: the experiment's config, printed at the end.
        commit: of the code, None outside a checkout.
        queries: pictures in each selection of the gallery.
        neighbours: neighbours of each query.
        configfiles: files to name in the commands that rebuild a run; none for the default config.
        unfinished: of a partial report, how many trials there are (`total`), which of them `failed`, as (trial, how),
            and how many are still `open`.
        ladder_csv: published numbers (see `visrec.report.ladder`); None for a page without them.

    Raises:
        UserError: ladder_csv is malformed; a figure, images.h5 or an image that a gallery names is missing or damaged.
    """
    results_dir, tables_dir, figures_dir = Path(results_dir), Path(tables_dir), Path(figures_dir)
    tables = {name: pd.read_csv(tables_dir / f"{name}.csv", dtype=dict.fromkeys(WORDS, "string")) for name in NUMBERS}
    for table in tables.values():
        words = table.select_dtypes("string").columns
        table[words] = table[words].fillna("")
    evaluators = list(config["evaluators"])
    published = ladder.read(ladder_csv) if ladder_csv else []
    most = sheets.share(trials)
    chapters = []
    for number, (dataset, size) in enumerate(dict.fromkeys((trial["dataset"], trial["size"]) for trial in trials)):
        here = [trial for trial in trials if (trial["dataset"], trial["size"]) == (dataset, size)]
        chapter = _chapter(results_dir, dataset, size, here, tables, config, published)
        shown = [trial for trial in here if chapter["shown"][trial["encoder"]] == trial["trial"]]
        chapters.append(
            chapter
            | {
                "id": f"d{number + 1}",
                "figures": {
                    "curves": _figure(figures_dir, dataset, size, "curves", narrow=True),
                    "heatmap": _figure(figures_dir, dataset, size, "heatmap", narrow=True),
                    "layers": _figure(figures_dir, dataset, size, "layers"),
                    "atlas": _figure(figures_dir, dataset, size, "atlas", narrow=True),
                },
                "sheets": sheets.sheets(results_dir, chapter, most),
            }
            | _pictured(results_dir, chapter, shown, queries, neighbours)
        )
    states = {
        (chapter["dataset"], chapter["size"], *trial): state
        for chapter in chapters
        for trial, state in chapter["states"].items()
    }
    sources = provenance.rows(results_dir, experiment, trials, states, evaluators, configfiles)
    runs = provenance.runs(sources)
    k = chapters[0]["k"]
    page = render(
        TEMPLATES / "report.html",
        experiment=experiment,
        chapters=chapters,
        encoders=list(dict.fromkeys(trial["encoder"] for trial in trials)),
        trials=trials,
        colours=style.encoder_colours(trial["encoder"] for trial in trials),
        style=style,
        paper=paper(chapters),
        filters=leaderboard.filters(chapters),
        attributes=any(chapter["shares_attributes"] for chapter in chapters),
        overall=sections.overall(tables["overall"], k),
        runs=runs,
        scored=bool(evaluators),
        failed=[run for run in runs if run["status"] != "ok"],
        commit=commit,
        config=yaml.safe_dump(json.loads(json.dumps(config)), sort_keys=False, allow_unicode=True),
        environment=provenance.environment(sources),
        k=k,
        words=enumerate_words,
        neighbours=neighbours,
        unfinished=unfinished,
    )
    write_text(tables_dir / PROVENANCE, provenance.table(sources).to_csv(index=False))
    write_text(out_html, page)
