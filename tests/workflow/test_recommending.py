"""`snakemake recommend --config query=photos/` after a finished run."""

import csv

import numpy as np
import pytest
from PIL import Image
from tiny import DIVERGED, HEALTHY

from visrec.data.images import read_images
from visrec.data.pictures import decode


@pytest.fixture
def photos(finished, tmp_path):
    """Five digits of test, turned by 10 degrees and enlarged, one picture of noise, and a broken file."""
    images = read_images(finished.results / "digits/32px/images.h5", "test")
    (tmp_path / "photos").mkdir()
    for row in range(5):
        digit = Image.fromarray(images.images[row, 0]).rotate(10, Image.Resampling.BILINEAR)
        digit.resize((200, 200), Image.Resampling.BICUBIC).save(tmp_path / f"photos/{images.labels[row]}-{row}.png")
    noise = np.random.default_rng(0).integers(0, 255, (200, 200, 3)).astype(np.uint8)
    Image.fromarray(noise).save(tmp_path / "photos/noise.png")
    (tmp_path / "photos/broken.png").write_bytes(b"no picture")
    return tmp_path / "photos"


def test_photos_get_pictures_of_their_kind(copy, photos):
    copy.config["recommend"] = {"trial": "pixels/seed~0", "k": 5}
    assert copy.plan("recommend", "--config", f"query={photos}") == {("recommend", ""): 1}
    said = copy.make("recommend", "--config", f"query={photos}")
    assert "query: left out broken.png: is not a picture of a known format" in said
    assert f"recommendations for 6 pictures are at {copy.results}/recommend/recommendations.html" in said

    with (copy.results / "recommend/recommendations.csv").open(newline="") as file:
        rows = [*csv.DictReader(file)]
    assert [*rows[0]] == ["query", "rank", "id", "path", "distance", "label", "closer_than"]
    train = read_images(copy.results / "digits/32px/images.h5", "train")
    values = train.images.reshape(len(train.ids), -1) / 255
    for photo in photos.glob("*-*.png"):
        mine = [row for row in rows if row["query"] == str(photo)]
        distances = np.sqrt(((values - decode(photo, 32).reshape(-1) / 255) ** 2).sum(axis=1))
        order = np.argsort(distances)[:5]
        assert [row["id"] for row in mine] == train.ids[order].tolist()
        assert [float(row["distance"]) for row in mine] == pytest.approx(distances[order], rel=1e-5)
        assert [row["label"] for row in mine] == [str(label) for label in train.labels[order]]
        assert sum(row["label"] == photo.name[0] for row in mine) >= 3
    page = (copy.results / "recommend/recommendations.html").read_text()
    assert page.count("<article") == 6
    (noise,) = [part for part in page.split("<article") if "<h2>noise.png" in part]
    assert "far from all of the gallery" in noise

    assert copy.plan("--config", f"query={photos}") == {}  # neither files nor options are anything to another rule


def test_the_best_trial_on_validation_is_taken_and_nothing_else_is_run(copy, tmp_path):
    asked = ("recommend", "--config", f"query={tmp_path}")
    said = copy.make("--dry-run", *asked)
    assert "Rules with a run or shell declaration but no output" in said
    assert copy.plan(*asked) == {("recommend", ""): 1}
    for path in copy.results.rglob("embeddings.h5"):
        path.unlink()
    plan = copy.plan(*asked)  # of the chosen trial alone
    assert {rule: count for (rule, _), count in plan.items()} == {"embed": 1, "recommend": 1}
    copy.config["recommend"] = {"trial": f"age/{HEALTHY.replace('1000', '750')}"}  # off the grid
    plan = copy.plan(*asked)
    assert plan == {("train", "age"): 1, ("embed", "age"): 1, ("recommend", ""): 1}


def test_a_dataset_that_nothing_embeds_is_refused_before_anything_runs(fresh, tmp_path):
    fresh.config["encoders"] = {"precomputed": {"path": "features.csv"}}
    done = fresh.snakemake("--dry-run", "recommend", "--config", f"query={tmp_path}")
    assert done.returncode != 0
    assert "no encoder of this config embeds new pictures of digits at 32 px; name another" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    "options, arguments, message",
    [
        ({}, (), "recommend for which pictures? Run: snakemake recommend --config query=photos/"),
        ({"trial": "agee/seed~0"}, ("query=x",), "no encoder is called 'agee'; did you mean 'age'?"),
        ({"trial": "pca/sed~0"}, ("query=x",), "trial 'sed~0': unknown key 'sed'"),
        ({"dataset": "svhn"}, ("query=x",), "recommend.dataset: no dataset of this config is called 'svhn'"),
        ({"size": 64}, ("query=x",), "recommend.size: digits has no 64 px in this config; name a trial, too"),
        ({"k": 0}, ("query=x",), "recommend.k: 0 is less than the minimum of 1"),
        ({}, ("query=nowhere",), "query nowhere: there is no such file or folder; correct the path"),
        ({"trial": "precomputed/seed~0"}, ("query=x",), "precomputed has features of its dataset alone; name another"),
    ],
)
def test_a_wrong_question(finished, options, arguments, message):
    config, finished.config = finished.config, {**finished.config, "recommend": options}
    try:
        done = finished.snakemake("--dry-run", "recommend", *(("--config", *arguments) if arguments else ()))
    finally:
        finished.config = config
    assert done.returncode != 0
    assert message in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_a_diverged_trial_recommends_nothing(copy, photos):
    copy.config["recommend"] = {"trial": f"age/{DIVERGED}"}
    done = copy.snakemake("recommend", "--config", f"query={photos}")
    assert done.returncode != 0
    assert "training ended as 'diverged', so it cannot embed pictures; name another trial" in done.stderr
    assert not (copy.results / "recommend").exists()
