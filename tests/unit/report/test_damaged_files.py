"""Files of an experiment with flipped bits or without their end: read, or one line that says which file to delete."""

import dataclasses

import fuzz
import numpy as np
import pytest
import report_fixture as fixture

from visrec.data.embeddings import read_embeddings
from visrec.data.files import write_json
from visrec.data.images import read_images
from visrec.data.query_scores import read_lists, read_query_scores
from visrec.errors import UserError
from visrec.experiment import status
from visrec.jobs import attempts
from visrec.jobs.claims import Claim
from visrec.recommender.choice import choose
from visrec.report import TABLES, comparisons, examples, inputs
from visrec.report import map as points
from visrec.report import tables as t
from visrec.report.figures.curves import read_history

AGE = fixture.age(500, 10)


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    trials = [AGE, fixture.trial("pixels", {})]
    results = fixture.build(tmp_path_factory.mktemp("damaged"), trials, fixture.STANDARD)
    whole = fixture.experiment(results, trials)
    t.tables(whole, {name: results / "tables" / file for name, file in TABLES.items()})
    (results / AGE.folder / "checkpoints").mkdir()
    write_json(results / AGE.folder / "checkpoints/claim.json", dataclasses.asdict(Claim.of_this_process()))
    attempts.begin(whole.log("train", AGE))
    return whole


def state(experiment, path):
    """What `make status` says, which takes what it cannot read for not being there."""
    return status._trial(fixture.CONFIG, experiment.results, AGE, None)


READERS = {
    "knn.csv": lambda all, path: inputs.read_scores(all.of([AGE])),
    "layers.csv": lambda all, path: inputs.read_layers(all.of([AGE])),
    "atlas.csv": lambda all, path: inputs.read_atlas(all.of([AGE])),
    "status.json": lambda all, path: (inputs.read_status(all, AGE), state(all, path)),
    "embed.json": lambda all, path: inputs.read_cost(all, AGE),
    "history.csv": lambda all, path: (state(all, path), read_history(all.results, AGE)),
    "neighbours.csv": lambda all, path: examples.read(path, 5),
    "projection.csv": lambda all, path: points._read(path),
    "selectors.csv": lambda all, path: comparisons._selectors(path, AGE),
    "embeddings.h5": lambda all, path: read_embeddings(path),
    "knn.h5": lambda all, path: (read_query_scores(path, "test"), read_lists(path)),
    "../../images.h5": lambda all, path: read_images(path, "train"),
    "../../../../tables/leaderboard.csv": lambda all, path: choose(path, all.trials, AGE.dataset, AGE.size),
    "checkpoints/claim.json": state,
}


def damaged(content, tries):
    rng = np.random.default_rng(0)
    for number in range(tries):
        changed = bytearray(content)
        for place in rng.integers(0, len(content), (1, 5, 20)[number % 3]):
            changed[place] ^= 1 << rng.integers(8)
        yield changed if number % 4 else content[: rng.integers(len(content))]


@fuzz.tries(40, 120)
@pytest.mark.parametrize("name", READERS)
def test_damage_is_one_line_at_most(experiment, name, tries):
    path = experiment.results / AGE.folder / name
    content = path.read_bytes()
    READERS[name](experiment, path)
    try:
        for changed in damaged(content, tries):
            path.write_bytes(changed)
            with fuzz.cheap():
                try:
                    READERS[name](experiment, path)
                except UserError as error:
                    assert "\n" not in str(error) and path.name in str(error)
    finally:
        path.write_bytes(content)


@fuzz.tries(40, 200)
def test_a_damaged_log_is_no_attempt(experiment, tries):
    log = experiment.log("train", AGE)
    (kept,) = log.parent.glob("*.1.log")
    for changed in damaged(kept.read_bytes(), tries):
        kept.write_bytes(changed)
        assert len(attempts.read(log)) <= 1
