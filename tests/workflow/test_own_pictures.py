"""A folder of pictures of one's own, through the whole workflow."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image


def photograph(seed: int, shade: int) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 60, (20, 24, 3)) + shade
    return Image.fromarray(pixels.astype(np.uint8))


@pytest.fixture
def catalogue(fresh, tmp_path):
    """A newcomer's: three classes of twelve pictures, two broken files among them, and defaults meant for more."""
    for number, name in enumerate(["boots", "<script>alert(1)</script>", "sandals"]):
        folder = tmp_path / "my shoes" / name.replace("/", "_")
        folder.mkdir(parents=True)
        for i in range(12):
            photograph(100 * number + i, 70 * number).save(folder / f"{i}.png")
    (tmp_path / "my shoes/boots/empty.jpg").touch()
    (tmp_path / "my shoes/boots/page.jpg").write_text("<html>404</html>")
    fresh.config["datasets"] = {
        "shoes": {
            "kind": "image_folder",
            "path": str(tmp_path / "my shoes"),
            "sizes": [32],
            "on_error": "skip",
            "val": 6,
            "test": 6,
        }
    }
    fresh.config["encoders"] = {"pixels": {}, "pca": {}}
    fresh.config["evaluators"] = {"knn": {"features": ["raw"], "distances": ["l2"]}}
    return fresh


def test_a_catalogue_from_folder_to_report_and_recommendations(catalogue, tmp_path):
    pixels = [f"results/tiny/shoes/32px/pixels/seed~0/{name}.csv" for name in ("knn", "neighbours", "projection")]
    catalogue.make(*pixels)
    done = catalogue.run()  # a job of each rule that is left in a process of its own, as for users
    assert done.returncode == 0, done.stdout + done.stderr
    scores = pd.read_csv(catalogue.results / "tables/scores.csv")
    one = scores.query("metric == 'precision' and split == 'test' and k == 1 and duplicates == 'kept'")
    assert (one.value == 1).all()  # the shades tell the classes apart
    log = (catalogue.results / "logs/prepare/shoes/32px.log").read_text()
    assert "boots/empty.jpg" in log
    assert "boots/page.jpg" in log
    log = (catalogue.results / "logs/fit/shoes/32px/pca/seed~0.log").read_text()
    assert "components: 23 in the place of the default 128, for 24 training images" in log
    html = (catalogue.results / "report/index.html").read_text()
    assert "alert(1)" in html
    assert "<script>alert(1)" not in html

    # A picture that came after the training is recommended, and the trial is the leaderboard's.
    photograph(999, 100).save(tmp_path / "my shoes/sandals/new.png")
    photograph(999, 100).save(tmp_path / "new.bmp")  # the same pixels in another file: not the picture itself
    said = catalogue.make("recommend", "--config", f"query={tmp_path}/new.bmp")
    assert "pixels/seed~0 of shoes at 32 px: the cheapest (no training) of pca and pixels. pca is the best" in said
    assert "on test: precision@3 100.0\N{NO-BREAK SPACE}%" in said
    assert "gallery: left out boots/empty.jpg: is empty (0 bytes)" in said
    found = pd.read_csv(catalogue.results / "recommend/recommendations.csv")
    assert found.path[0] == str(tmp_path / "my shoes/sandals/new.png")
    assert (found.label[0], len(found)) == ("sandals", 10)
    assert found.distance[0] == pytest.approx(0, abs=1e-4)  # it is embedded in another batch than the gallery was
    assert "same features as a gallery picture" in (catalogue.results / "recommend/recommendations.html").read_text()


def test_a_broken_picture_stops_unless_told_to_skip(catalogue):
    catalogue.config["datasets"]["shoes"]["on_error"] = "stop"
    done = catalogue.run("results/tiny/shoes/32px/images.h5")  # in a process of its own, as for users
    assert done.returncode != 0
    assert "error: " in done.stderr
    assert "boots/empty.jpg" in done.stderr
    assert not (catalogue.results / "shoes/32px/images.h5").exists()


def test_pictures_without_labels_get_neighbours_and_no_scores(catalogue, tmp_path):
    flat = tmp_path / "flat"
    flat.mkdir()
    for i in range(20):
        photograph(i, i * 8).save(flat / f"{i:02d}.jpg")
    catalogue.config["datasets"]["shoes"] |= {"path": str(flat), "val": 3, "test": 3}
    done = catalogue.snakemake("results/tiny/shoes/32px/pixels/seed~0/knn.csv")
    assert done.returncode != 0
    assert "labels are missing for 14 of 14 images of split 'train'" in done.stderr
    catalogue.config["evaluators"] = {}
    catalogue.make()
    neighbours = pd.read_csv(catalogue.results / "shoes/32px/pixels/seed~0/neighbours.csv")
    assert len(neighbours) == 3 * 3
    assert neighbours.label.isna().all()
    assert (catalogue.results / "report/index.html").stat().st_size > 10_000
