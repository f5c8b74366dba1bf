import numpy as np
import pandas as pd
import pytest

from visrec.data.embeddings import read_embeddings, write_embeddings
from visrec.data.hdf5 import SPLITS
from visrec.data.images import ImageSet, ImageSource, write_images
from visrec.errors import UserError
from visrec.scoring import layers, moments


@pytest.fixture
def embeddings(tmp_path):
    """Thirty train vectors in three layers of different spread."""
    rng = np.random.default_rng(0)
    sources = {
        split: ImageSource(
            [np.zeros((30, 3, 8, 8), np.uint8)], np.zeros(30), np.array([f"{split}{i}" for i in range(30)])
        )
        for split in SPLITS
    }
    write_images(tmp_path / "images.h5", ImageSet(sources, ["a"], "", ""), 8)
    parts = {"first": 3.0, "second": 1.0, "output": 0.1}
    batch = {name: rng.normal(5, spread, (30, 2 + i)) for i, (name, spread) in enumerate(parts.items())}
    write_embeddings(tmp_path / "embeddings.h5", tmp_path / "images.h5", {split: [batch] for split in SPLITS}, spec={})
    return tmp_path / "embeddings.h5"


def test_share_of_distance_is_that_of_the_mean_squared_pairwise_distance(embeddings, tmp_path):
    features = read_embeddings(embeddings).splits["train"].features.astype(float)
    per_column = ((features[:, None] - features[None]) ** 2).mean(axis=(0, 1))
    layers.write(embeddings, tmp_path / "layers.csv")
    table = pd.read_csv(tmp_path / "layers.csv")
    assert list(table.columns) == layers.COLUMNS
    assert table.layer.tolist() == ["first", "second", "output"]
    assert table.dimensions.tolist() == [2, 3, 4]
    assert table.share_of_dimensions.tolist() == pytest.approx([2 / 9, 3 / 9, 4 / 9])
    shares = [per_column[start:stop].sum() / per_column.sum() for start, stop in ((0, 2), (2, 5), (5, 9))]
    assert table.share_of_distance.tolist() == pytest.approx(shares, rel=1e-6)


def test_shares_do_not_depend_on_blocks(embeddings, monkeypatch):
    whole = [row["share_of_distance"] for row in layers.rows(embeddings)]
    monkeypatch.setattr(moments, "ROWS", 7)
    assert [row["share_of_distance"] for row in layers.rows(embeddings)] == pytest.approx(whole, rel=1e-12)


def test_a_damaged_file_is_one_line(tmp_path):
    (tmp_path / "embeddings.h5").write_bytes(b"no HDF5")
    with pytest.raises(UserError, match="delete it and run again"):
        layers.write(tmp_path / "embeddings.h5", tmp_path / "layers.csv")
    assert not (tmp_path / "layers.csv").exists()
