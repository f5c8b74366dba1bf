"""The report: one HTML file that needs nothing else, no network and no JavaScript.

Everything that comes from data goes through Jinja's autoescape; pictures are inlined as data: URIs.
"""

import datetime
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from visrec.data import duplicates
from visrec.data.csv_files import read_table
from visrec.data.files import write_text
from visrec.data.hdf5 import IMAGES, reading
from visrec.data.images import read_image_info
from visrec.data.models import USABLE
from visrec.experiment import layout
from visrec.experiment.layout import Experiment
from visrec.experiment.trials import Trial
from visrec.report import (
    PROVENANCE,
    TABLES,
    ladder,
    latex,
    leaderboard,
    provenance,
    score_tables,
    sections,
    sheets,
    style,
)
from visrec.report.class_section import classes
from visrec.report.examples import examples
from visrec.report.facts import better_spaces, costs, facts, label_free, limits, near_copies
from visrec.report.glance import glance
from visrec.report.grid import grid, open_settings
from visrec.report.inline_svg import Colours, figure
from visrec.report.inputs import UNFINISHED, State, disclosures, statuses, titles, warnings
from visrec.report.layer_sections import layers
from visrec.report.lead import lead
from visrec.report.map import embedding_map
from visrec.report.over_k import curves
from visrec.report.paper import paper
from visrec.report.pareto import pareto
from visrec.report.rendering import render
from visrec.report.settings import varied_names
from visrec.report.sprites import Pictures
from visrec.report.together import together
from visrec.report.verdict import enumerate_words, missing, score, spelled, verdict

TEMPLATES = Path(__file__).parent / "templates"
# Contents of the page: title of a group -> anchor and label of its sections, in their order.
CONTENTS = {
    "Answer": {
        "verdict": "Verdict",
        "leaderboard": "Leaderboard",
        "pairs": "Pairwise comparison",
        "neighbours": "Neighbours",
        "map": "Map",
    },
    "Limits": {
        "leaks": "Train-test overlap",
        "spaces": "Distance and scaling",
        "training": "Training",
        "grid": "Grid",
        "pictures": "Pictures",
    },
    "Appendix": {
        "scores": "All scores",
        "classes": "Classes",
        "cost": "Cost",
        "over_k": "Over k",
        "protocols": "Published protocols",
        "paper": "The original paper",
        "ladder": "Ladder",
        "health": "Health",
        "layers": "Layers",
        "selection": "Choosing without labels",
        "atlas": "Layer atlas",
        "runs": "Runs",
        "how": "How to read this",
    },
}
OVERALL = ("overall", "overall_pairs")  # tables of all datasets together
# tables read
NUMBERS = ("scores", "leaderboard", "grid", "comparisons", "spaces", *OVERALL, "selection", "overlap", "atlas")
DRAWN = {"curves": True, "heatmap": True, "layers": False, "atlas": True}  # figure -> whether there is one for phones
WORDS = {"classes": ["class"], "confusion": ["class", "recommended"]}  # further tables read, and a user's words there


def _figures(folder: Path, prefix: str, colours: Colours) -> dict[str, list[dict[str, Any]]]:
    """The figures of one dataset and size, from `inline_svg.figure`: each for a window, and some for phones as well."""
    return {
        name: [
            figure(folder, f"{name}{end}", f"{prefix}-{name}{end}", colours)
            for end in (("", "-narrow") if narrow else ("",))
        ]
        for name, narrow in DRAWN.items()
    }


def _pictured(experiment: Experiment, chapter: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """The examples, the map, and the pictures that both show; `experiment` has the shown trial of each encoder."""
    pictures = Pictures()
    about = config["report"]
    shown = examples(experiment, chapter, pictures, about["queries"], about["neighbours"])
    points = embedding_map(experiment, chapter, pictures)
    averages = {row["encoder"]: row["precision"] for row in chapter["rows"]}  # the best first
    beside = glance(experiment, averages, [*list(averages)[:1], "pixels", *averages], chapter["k"], pictures)
    sprite = pictures.sprite(experiment.images(chapter["dataset"], chapter["size"]))
    return {"examples": shown, "glance": beside, "map": points, "pictures": pictures.data(), "sprite": sprite}


def _chapter(
    experiment: Experiment,
    tables: Mapping[str, pd.DataFrame],
    config: Mapping[str, Any],
    published: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """What all sections need to know of one dataset and size, of which `experiment` has the trials."""
    trials = experiment.trials
    dataset, size = trials[0].dataset, trials[0].size
    here = {
        name: table[(table["dataset"] == dataset) & (table["size"] == size)]
        for name, table in tables.items()
        if name not in OVERALL
    }
    leaders, pairs = (here[name].to_dict("records") for name in ("leaderboard", "comparisons"))
    k, shown = leaders[0]["k"], {row["encoder"]: row["trial"] for row in leaders}
    scores = score_tables.of_chosen(here["scores"], shown)
    states = statuses(experiment, tables["scores"])
    stages = {trial.encoder: trial.stage for trial in trials}
    trained = [encoder for encoder, stage in stages.items() if stage == "train"]
    disclosed = disclosures(trials)
    images = experiment.images(dataset, size)
    near, queries = _duplicates(images), max(row["queries"] for row in leaders)
    info = read_image_info(images)
    absent = [name for name in ("random", "pixels") if name not in stages]
    chance = next((row["precision_chance"] for row in leaders if not missing(row["precision_chance"])), None)
    columns = [*shown, *absent]
    return {
        "dataset": dataset,
        "size": size,
        "kind": config["datasets"].get(dataset, {}).get("kind", dataset),
        "title": f"{dataset}, {size} px",
        "info": info,
        "verdict": verdict(leaders, trained, pairs, disclosed, titles(trials)),
        "lead": lead({row["encoder"]: score(row, "precision") for row in leaders}, pairs, disclosed),
        "better_spaces": better_spaces(here["spaces"].to_dict("records"), leaders),
        "facts": facts(leaders, pairs, scores, disclosed),
        "label_free": label_free(leaders, pairs, disclosed),
        "costs": costs(leaders, pairs, stages, disclosed),
        "near_copies": near_copies(near, queries),
        "limits": limits(leaders, trained, pairs, near, queries),
        "rows": leaderboard.rows(leaders, pairs, stages, disclosed),
        "groups": leaderboard.groups(trials),
        "constants": leaderboard.constants(leaders),
        "pareto": pareto(leaders),
        "by_class": classes(here["classes"], here["confusion"], list(shown), info.classes),
        "over_k": curves(scores, list(shown)),
        "absent": absent,
        "columns": columns,
        "scores": scores,
        "all_scores": sections.all_scores(scores, columns, k),
        "shares_attributes": sections.has_attributes(scores),
        "spaces": sections.spaces(scores, columns, k, here["spaces"].to_dict("records")),
        "leaks": sections.leaks(scores, columns, k),
        "protocols": sections.protocols(scores, columns),
        "duels": sections.duels(pairs, list(shown), k),
        "health": sections.health(scores, columns, k),
        "overlaps": sections.overlaps(here["overlap"], leaders),
        "warnings": warnings(experiment, shown),
        "selection": sections.selection(here["selection"]),
        "grid": grid(here["grid"], here["scores"], trials, sections.chosen_without(here["selection"]), k),
        "letters": [
            {"letter": letter, "words": sections.SELECTORS.get(selector, selector)}
            for selector, letter in sections.letters(here["selection"]).items()
        ],
        "atlases": _atlases(here["atlas"], trials, shown),
        "several_seeds": any(row["n_seeds"] > 1 for row in leaders),
        "magnified": leaderboard.magnified(leaders, chance),
        "ladder": ladder.rungs(published, config, dataset, leaders),
        "duplicates": near,
        "k": k,
        "queries": queries,
        "trained": trained,
        "first": trained[0] if trained else None,  # the encoder that examples and map show first
        "shown": shown,
        "status": {row["encoder"]: row["status"] for row in leaders},
        "states": states,
        "open": open_settings(here["grid"]),
        "unfinished": any(state.status == UNFINISHED for state in states.values()),
    }


def _duplicates(path: Path) -> dict[str, Any] | None:
    """How many test images have a near duplicate in train; None in a file that was not searched."""
    with reading(path, IMAGES) as file:
        if "duplicates" not in file:
            return None
        found = duplicates.count(file["duplicates"][:])["test in train"]
    return found | {"threshold": duplicates.THRESHOLD, "side": duplicates.SIDE}


def _contents(chapters: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[tuple[str, str]]]]:
    """The contents of the page, without sections that have nothing to show on any dataset."""
    filled = {
        "training": any(chapter["trained"] for chapter in chapters),
        "grid": any(chapter["grid"] for chapter in chapters),
        "pictures": any(chapter["sheets"] for chapter in chapters),
        "cost": any(chapter["pareto"] for chapter in chapters),
        "classes": any(chapter["by_class"] for chapter in chapters),
        "over_k": any(chapter["over_k"] for chapter in chapters),
        "ladder": any(chapter["ladder"] for chapter in chapters),
        "selection": any(chapter["selection"] for chapter in chapters),
        "atlas": any(chapter["atlases"] for chapter in chapters),
    }
    return [
        (title, [(anchor, label) for anchor, label in sections.items() if filled.get(anchor, True)])
        for title, sections in CONTENTS.items()
    ]


def _atlases(rows: pd.DataFrame, trials: Sequence[Trial], shown: Mapping[str, str]) -> list[dict[str, Any]]:
    """The atlas of each encoder's chosen trial, in the order of the leaderboard."""
    options = {(trial.encoder, trial.name): trial.options for trial in trials}
    found = []
    for encoder, trial in shown.items():
        own = rows[(rows["encoder"] == encoder) & (rows["trial"] == trial)]
        if len(own):
            mode = options[encoder, trial].get("batchnorm", "running")
            found.append({"encoder": encoder, "trial": trial} | layers(own, mode))
    return found


def _read(tables: Path, trials: Sequence[Trial]) -> dict[str, pd.DataFrame]:
    """The tables that the page is made of, missing text as ""."""
    text = {"grid": varied_names(trials)}
    return {
        name: read_table(tables / TABLES[name], text=text.get(name, ()), words=WORDS.get(name, ()))
        for name in (*NUMBERS, *WORDS)
    }


def report(
    experiment: Experiment,
    config: Mapping[str, Any],
    out: str | Path,
    commit: str | None,
    configfiles: Sequence[str] = (),
    unfinished: Mapping[str, Any] | None = None,
    ladder_csv: str | Path | None = None,
) -> None:
    """Write the report, report/index.html, and provenance.csv beside the other tables.

    Args:
        experiment: with all trials to be reported on.
        config: the experiment's config, checked; printed at the end.
        out: the folder in which `tables.tables` wrote tables/ and `figures.write.figures` drew figures/.
        commit: of the code, None outside a checkout.
        configfiles: files to name in the commands that rebuild a run; none for the default config.
        unfinished: of a partial report, how many trials there are (`total`), which of them `failed`, as (trial, how),
            and how many are still `open`.
        ladder_csv: published numbers (see `visrec.report.ladder`); None for a page without them.

    Raises:
        UserError: ladder_csv is malformed; a figure, images.h5 or an image of the examples is missing or damaged.
    """
    out, trials = Path(out), experiment.trials
    tables, figures = _read(out / layout.TABLES, experiment.trials), out / layout.FIGURES
    published = ladder.read(ladder_csv) if ladder_csv else []
    most = sheets.bytes_per_sheet(trials)
    chapters = []
    encoders = list(dict.fromkeys(trial.encoder for trial in trials))
    colours = Colours(encoders)
    states: dict[str, State] = {}
    for number, (dataset, size) in enumerate(dict.fromkeys((trial.dataset, trial.size) for trial in trials)):
        here = experiment.of([trial for trial in trials if (trial.dataset, trial.size) == (dataset, size)])
        chapter = _chapter(here, tables, config, published)
        states |= chapter["states"]
        shown = [trial for trial in here.trials if chapter["shown"][trial.encoder] == trial.name]
        chapter |= {
            "id": f"d{number + 1}",
            "figures": _figures(figures / dataset / f"{size}px", f"d{number + 1}", colours),
            "sheets": sheets.sheets(here, chapter["states"], chapter["shown"], most),
        }
        chapters.append(chapter | _pictured(experiment.of(shown), chapter, config))
    sources = provenance.rows(experiment, states, configfiles)
    runs = provenance.runs(sources)
    k = chapters[0]["k"]
    contents, today = _contents(chapters), datetime.datetime.now(datetime.UTC).date()
    page = render(
        TEMPLATES / "report.html",
        contents=contents,
        filled=[anchor for _, entries in contents for anchor, _ in entries],
        experiment=experiment.name,
        chapters=chapters,
        titles=titles(trials),
        spelled=spelled(titles(trials), disclosures(trials)),
        encoders=encoders,
        trials=trials,
        looks=style.looks(encoders),
        colours=colours.further,
        style=style,
        paper=paper(chapters),
        filters=leaderboard.filters(chapters),
        attributes=any(chapter["shares_attributes"] for chapter in chapters),
        overall=sections.overall(tables["overall"], k),
        common=together(tables, trials),
        runs=runs,
        scored=bool(experiment.evaluators),
        failed=[run for run in runs if run["status"] not in USABLE],
        unstable=[run for run in runs if run["status"] == "unstable"],
        commit=commit,
        today=today,
        citation=latex.citation(experiment.name, commit, today),
        latex=latex.leaderboard(chapters),
        config=yaml.safe_dump(json.loads(json.dumps(config)), sort_keys=False, allow_unicode=True),
        environment=provenance.environment(sources),
        k=k,
        enumerated=enumerate_words,
        neighbours=config["report"]["neighbours"],
        unfinished=unfinished,
    )
    write_text(out / layout.TABLES / PROVENANCE, provenance.table(sources).to_csv(index=False))
    write_text(out / layout.PAGE, page)
