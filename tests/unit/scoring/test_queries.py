import hashlib

import numpy as np
import pandas as pd

from visrec.data.embeddings import write_embeddings
from visrec.data.images import ImageSet, ImageSource, write_images
from visrec.scoring import queries


def test_queries_are_chosen_by_class_and_id_alone():
    rng = np.random.default_rng(0)
    labels, ids = np.repeat([0, 1, 2], [50, 5, 20]), np.array([f"image {i}" for i in range(75)])
    chosen = queries.choose_queries(labels, ids, 9)
    assert [sorted(labels[chosen[turn : turn + 3]]) for turn in (0, 3, 6)] == 3 * [[0, 1, 2]]
    digests = {image: hashlib.sha256(image.encode()).hexdigest() for image in ids}
    assert [image for image in ids[chosen] if image in ids[:50]] == sorted(ids[:50], key=digests.get)[:3]
    assert ids[chosen[:3]].tolist() == sorted(ids[chosen[:3]], key=digests.get)  # of one turn
    order = rng.permutation(75)
    assert ids[order][queries.choose_queries(labels[order], ids[order], 9)].tolist() == ids[chosen].tolist()
    assert queries.choose_queries(labels, ids, 60)[:9].tolist() == chosen.tolist()
    # A class that runs out leaves its turns to the others.
    assert np.bincount(labels[queries.choose_queries(labels, ids, 21)]).tolist() == [8, 5, 8]
    assert len(queries.choose_queries(labels, ids, 100)) == 75


def test_images_come_in_the_order_of_their_digests():
    ids = np.array([f"image {i}" for i in range(30)])
    expected = sorted(ids, key=lambda image: hashlib.sha256(image.encode()).hexdigest())
    assert ids[queries.first_by_digest(ids, 7)].tolist() == expected[:7]
    assert ids[queries.first_by_digest(ids, 99)].tolist() == expected


def write(folder, features, labels, status="ok"):
    """embeddings.h5 with one feature per image; ids are split and 9 less the row."""
    sources = {
        split: ImageSource(
            [np.zeros((len(values), 3, 1, 1), np.uint8)],
            np.array(labels[split]),
            np.array([f"{split}{9 - i}" for i in range(len(values))]),
        )
        for split, values in features.items()
    }
    write_images(folder / "images.h5", ImageSet(sources, ["cat", "dog"], "", ""), 1)
    batches = {split: [{"only": np.array(values, np.float32)[:, None]}] for split, values in features.items()}
    write_embeddings(folder / "embeddings.h5", folder / "images.h5", batches, spec={}, status=status)
    return folder / "embeddings.h5"


FEATURES = {"train": [5.0, 1.0, -1.0, 0.5], "val": [0.0], "test": [0.0, 6.0]}
LABELS = {"train": [1, 0, 1, 0], "val": [0], "test": [0, 1]}


def test_neighbours_csv(tmp_path):
    queries.write_neighbours(write(tmp_path, FEATURES, LABELS), tmp_path / "out.csv", queries=5, k=2)
    assert (tmp_path / "out.csv").read_text().splitlines() == [
        "query_id,query_label,rank,id,label,distance,correct",
        "test8,dog,1,train9,dog,1.0,True",  # of one turn, test8 comes first by its SHA-256
        "test8,dog,2,train8,cat,5.0,False",
        "test9,cat,1,train6,cat,0.5,True",
        "test9,cat,2,train7,dog,1.0,False",  # tied with train8 of a lower row: by id
    ]


def test_neighbours_csv_without_labels(tmp_path):
    labels = {split: [-1] * len(values) for split, values in LABELS.items()}
    queries.write_neighbours(write(tmp_path, FEATURES, labels), tmp_path / "out.csv", queries=2, k=1)
    table = pd.read_csv(tmp_path / "out.csv")
    assert dict(zip(table["query_id"], table["id"], strict=True)) == {"test9": "train6", "test8": "train9"}
    assert table[["query_label", "label", "correct"]].isna().all(axis=None)


def test_neighbours_csv_of_a_failed_training_is_a_header(tmp_path):
    path = write(tmp_path, FEATURES, LABELS, status="collapsed")
    queries.write_neighbours(path, tmp_path / "out.csv", queries=5, k=2)
    table = pd.read_csv(tmp_path / "out.csv")
    assert table.empty
    assert list(table) == queries.COLUMNS
