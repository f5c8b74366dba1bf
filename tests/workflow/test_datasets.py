"""Every dataset through the whole workflow, from small archives in the official formats."""

import functools
import http.server
import threading

import pandas as pd
import pytest
import small_archives
from small_archives import checksum

from visrec.data.images import read_image_info

FEW = {
    "svhn": {"train": 40, "val": 10, "test": 20},
    "cifar10": {"train": 60, "val": 20, "test": 20},
    "celeba": {"train": 12, "val": 6, "test": 6, "label": "Smiling"},
    "tiny_imagenet": {"val": 8, "test": 16},
}


@pytest.fixture
def small(fresh, tmp_path):
    """A config with all four datasets at 32 px, whose archives are on disk."""
    fresh.config["datasets"] = {}
    for name, few in FEW.items():
        (tmp_path / name).mkdir()
        paths = getattr(small_archives, name)(tmp_path / name)
        archives = {file: {"path": str(path), "checksum": checksum(path)} for file, path in paths.items()}
        fresh.config["datasets"][name] = {"sizes": [32], "archives": archives, **few}
    fresh.config["encoders"] = {"pixels": {}}
    fresh.config["evaluators"] = {"knn": {"k": [1], "features": ["raw"], "distances": ["l2"]}}
    return fresh


def test_all_four_from_archives_on_disk(small):
    small.make()
    scores = pd.read_csv(small.results / "tables/scores.csv")
    headline = "split == 'test' and protocol == 'visrec' and features == 'raw' and distance == 'l2'"
    scores = scores.query(headline).set_index(["metric", "average", "duplicates", "dataset"]).sort_index()
    rows = scores.loc["precision", "micro", "kept"]
    assert rows.n.to_dict() == {"svhn": 20, "cifar10": 20, "celeba": 6, "tiny_imagenet": 16}
    # Only CelebA has attributes and identities.
    assert list(scores.loc["attribute_precision", "macro", "kept"].index) == ["celeba"]
    assert list(scores.loc["identity_precision", "micro", "kept"].index) == ["celeba"]
    assert sum(name.startswith("precision of ") for name in scores.index.unique("metric")) == 40
    info = read_image_info(small.results / "celeba/32px/images.h5")
    assert len(info.attributes) == 40
    assert not (small.folder / "data").exists()
    html = (small.results / "report/index.html").read_text()
    assert all(name in html for name in FEW)


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args) -> None:
        pass


@pytest.fixture
def server(tmp_path):
    """A loopback server of a folder: (folder, address)."""
    folder = tmp_path / "served"
    folder.mkdir()
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def test_downloads_fetches_and_a_second_time_does_nothing(small, server):
    folder, address = server
    small.config["datasets"] = {"cifar10": small.config["datasets"]["cifar10"]}
    (file, archive), *_ = small.config["datasets"]["cifar10"]["archives"].items()
    (path,) = small_archives.cifar10(folder).values()
    small.config["datasets"]["cifar10"]["archives"] = {
        file: {"url": f"{address}/{path.name}", "checksum": archive["checksum"]}
    }
    small.make("downloads")
    assert checksum(small.folder / "data/cifar10" / file) == archive["checksum"]
    assert "Nothing to be done" in small.make("downloads")
    assert small.plan("results/tiny/cifar10/32px/images.h5") == {("prepare", ""): 1}

    small.config["datasets"]["cifar10"]["archives"][file]["checksum"] = "md5:" + "0" * 32
    done = small.snakemake("downloads", "--forceall")
    assert done.returncode != 0
    assert "error: " in done.stderr
    assert not (small.folder / "data/cifar10" / file).exists()


def test_a_missing_network_names_the_way_out(small):
    small.config["datasets"] = {"cifar10": small.config["datasets"]["cifar10"]}
    (file, archive), *_ = small.config["datasets"]["cifar10"]["archives"].items()
    archive.pop("path")
    archive["url"] = "http://127.0.0.1:9/nothing-listens-here.tar.gz"
    done = small.snakemake("downloads")
    assert done.returncode != 0
    line = next(line for line in done.stderr.splitlines() if line.startswith("error: "))
    assert archive["url"] in line
    assert "archives:" in line
    assert not (small.folder / "data/cifar10" / file).exists()


def test_a_wrong_checksum_is_found_before_anything_is_opened(small):
    archives = small.config["datasets"]["svhn"]["archives"]
    archives["train_32x32.mat"]["checksum"] = "md5:" + "0" * 32
    done = small.snakemake("results/tiny/svhn/32px/images.h5")
    assert done.returncode != 0
    assert "error: " in done.stderr
    assert "0" * 32 in done.stderr
    assert not (small.results / "svhn/32px/images.h5").exists()
