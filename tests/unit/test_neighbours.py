import hashlib

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from visrec import neighbours, store
from visrec.errors import UserError


def brute(queries, gallery, k, exclude):
    """All neighbours up to the k-th distance, as sorted (squared distance, row), by plain loops in float64."""
    lists = []
    for query, own in zip(queries.astype(np.float64), exclude, strict=True):
        pairs = sorted(
            (float(np.sum((query - row) ** 2)), i) for i, row in enumerate(gallery.astype(np.float64)) if i != own
        )
        lists.append([pair for pair in pairs if pair[0] <= pairs[k - 1][0]])
    return lists


def lists(found):
    entries = list(zip(found.squared.tolist(), found.rows.tolist(), strict=True))
    return [entries[start:stop] for start, stop in zip(found.starts[:-1], found.starts[1:], strict=True)]


def check(queries, gallery, k, exclude=None):
    expected = brute(queries, gallery, k, np.full(len(queries), -1) if exclude is None else exclude)
    assert lists(neighbours.nearest(queries, gallery, k, exclude)) == expected


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_by_hand():
    gallery = np.array([[0.0], [1.0], [-1.0], [3.0], [1.0]], np.float32)
    found = neighbours.nearest(np.array([[0.0]], np.float32), gallery, 2)
    assert lists(found) == [[(0.0, 0), (1.0, 1), (1.0, 2), (1.0, 4)]]
    nearer, tied = found.count(np.array([0, 1, 1, 2, 0]), 3, 2)
    assert nearer.tolist() == [[1, 0, 0]]
    assert tied.tolist() == [[1, 2, 0]]
    nearer, tied = found.count(np.array([0, 1, 1, 2, 0]), 3, 1)  # k below that of the search
    assert nearer.tolist() == [[0, 0, 0]]
    assert tied.tolist() == [[1, 0, 0]]


@pytest.mark.parametrize("k", [1, 3, 10])
def test_equals_brute_force(k):
    check(normal(30, 17), normal(80, 17, seed=1), k)


@pytest.mark.parametrize("k", [1, 4])
def test_equals_brute_force_with_ties_and_duplicates(k):
    gallery = np.random.default_rng(0).integers(0, 3, (60, 4)).astype(np.float32)
    check(gallery, gallery, k, exclude=np.arange(60))
    assert max(map(len, lists(neighbours.nearest(gallery, gallery, k, np.arange(60))))) > k


def test_only_the_excluded_row_is_left_out():
    gallery = np.zeros((3, 2), np.float32)  # three copies of one image
    found = neighbours.nearest(gallery, gallery, 1, np.arange(3))
    assert [[row for _, row in entries] for entries in lists(found)] == [[1, 2], [0, 2], [0, 1]]


# Values from everyday to the ends of float32, so that products cancel, overflow and underflow.
magnitudes = st.sampled_from([1e-44, 1e-30, 1e-3, 1.0, 1e4, 1e18, 3e38])
elements = st.one_of(
    st.integers(-2, 2).map(float),
    st.floats(-1, 1, width=32),
    st.floats(999.75, 1000.25, width=32),  # far from the origin, near each other
)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_equals_brute_force_on_anything(data):
    dimensions, n = data.draw(st.integers(1, 9)), data.draw(st.integers(3, 14))
    scale = np.float32(data.draw(magnitudes))
    rows = data.draw(hnp.arrays(np.float32, (n, dimensions), elements=elements))
    rows = np.clip(rows * scale.astype(np.float64), -3e38, 3e38).astype(np.float32)
    check(rows, rows, data.draw(st.integers(1, n - 1)), exclude=np.arange(n))


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 1000), tile=st.integers(1, 40), block=st.integers(1, 40), pairs=st.integers(1, 200))
def test_independent_of_tiles_and_row_order(seed, tile, block, pairs):
    rng = np.random.default_rng(seed)
    queries, gallery = (rng.integers(0, 4, (n, 3)).astype(np.float32) / 3 for n in (20, 30))
    expected = lists(neighbours.nearest(queries, gallery, 5))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbours, "QUERIES", tile)
        patch.setattr(neighbours, "GALLERY", block)
        patch.setattr(neighbours, "DIFFERENCES", pairs)
        assert lists(neighbours.nearest(queries, gallery, 5)) == expected
    order, turn = rng.permutation(30), rng.permutation(20)
    shuffled = lists(neighbours.nearest(queries[turn], gallery[order], 5))
    for i, entries in zip(turn, shuffled, strict=True):
        assert sorted((squared, int(order[row])) for squared, row in entries) == expected[i]


def test_independent_of_threads():
    queries, gallery, before = normal(64, 300), normal(500, 300, seed=1), torch.get_num_threads()
    results = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        results.append(lists(neighbours.nearest(queries, gallery, 5)))
    torch.set_num_threads(before)
    assert results[0] == results[1]


def test_distances_that_float32_products_cannot_order():
    # Squared distances differ by parts in 10^8, far below the rounding of a product of 2,000 terms.
    rng = np.random.default_rng(0)
    query = rng.normal(size=2000).astype(np.float32)
    gallery = np.repeat((query + rng.normal(size=2000))[None].astype(np.float32), 50, axis=0)
    for i, column in enumerate(rng.permutation(2000)[:50]):
        gallery[i, column] = np.nextafter(gallery[i, column], np.float32(np.inf))
    check(np.stack([query, query + 1]), gallery, 7)


def test_candidates_are_few_where_distances_differ():
    rows = normal(1000, 400)
    search = neighbours._Search(rows, float(np.abs(rows).max()))
    query, _ = search.candidates(rows[:100], 10, torch.arange(100))
    assert 100 * 10 <= len(query) < 100 * 12


def test_exact_where_the_products_underflow():
    rows = normal(60, 5) * np.float32(1e-22)
    rows[:2] = [[1.0], [-1.0]]
    check(rows, rows, 5, exclude=np.arange(60))


def test_products_are_float32_even_where_the_caller_allows_less(monkeypatch):
    addmm, seen = torch.addmm, []
    monkeypatch.setattr(
        torch, "addmm", lambda *a, **k: seen.append(torch.get_float32_matmul_precision()) or addmm(*a, **k)
    )
    torch.set_float32_matmul_precision("medium")
    try:
        check(normal(40, 256), normal(300, 256, seed=1), 5)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")
    assert set(seen) == {"highest"}


def test_tiles_cover_the_queries(monkeypatch):
    monkeypatch.setattr(neighbours, "QUERIES", 4)
    rows = normal(10, 3)
    parts = list(neighbours.tiles(rows, rows, 2))
    assert [(part.start, part.stop) for part, _ in parts] == [(0, 4), (4, 8), (8, 10)]
    whole = lists(neighbours.nearest(rows, rows, 2))
    assert [entries for _, found in parts for entries in lists(found)] == whole


def test_too_few_rows():
    rows = normal(3, 2)
    check(rows, rows, 3)
    with pytest.raises(UserError, match="k = 4"):
        neighbours.nearest(rows, rows, 4)
    with pytest.raises(UserError, match="k = 3"):
        neighbours.nearest(rows, rows, 3, np.arange(3))


def test_queries_are_chosen_by_class_and_id_alone():
    rng = np.random.default_rng(0)
    labels, ids = np.repeat([0, 1, 2], [50, 5, 20]), np.array([f"image {i}" for i in range(75)])
    chosen = neighbours.choose_queries(labels, ids, 9)
    assert labels[chosen].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    digests = {image: hashlib.sha256(image.encode()).hexdigest() for image in ids}
    assert ids[chosen[:3]].tolist() == sorted(ids[:50], key=digests.get)[:3]
    order = rng.permutation(75)
    assert ids[order][neighbours.choose_queries(labels[order], ids[order], 9)].tolist() == ids[chosen].tolist()
    assert set(chosen) <= set(neighbours.choose_queries(labels, ids, 10))
    # A class that runs out leaves its turns to the others.
    assert np.bincount(labels[neighbours.choose_queries(labels, ids, 21)]).tolist() == [8, 5, 8]
    assert len(neighbours.choose_queries(labels, ids, 100)) == 75


def write(folder, features, labels, status="ok"):
    """embeddings.h5 with one feature per image; ids are split and 9 less the row."""
    sources = {
        split: store.ImageSource(
            [np.zeros((len(values), 3, 1, 1), np.uint8)],
            np.array(labels[split]),
            np.array([f"{split}{9 - i}" for i in range(len(values))]),
        )
        for split, values in features.items()
    }
    store.write_images(folder / "images.h5", store.ImageSet(sources, ["cat", "dog"], "", ""), 1)
    batches = {split: [{"only": np.array(values, np.float32)[:, None]}] for split, values in features.items()}
    store.write_embeddings(folder / "embeddings.h5", folder / "images.h5", batches, spec={}, status=status)
    return folder / "embeddings.h5"


FEATURES = {"train": [5.0, 1.0, -1.0, 0.5], "val": [0.0], "test": [0.0, 6.0]}
LABELS = {"train": [1, 0, 1, 0], "val": [0], "test": [0, 1]}


def test_neighbours_csv(tmp_path):
    neighbours.write_neighbours(write(tmp_path, FEATURES, LABELS), tmp_path / "out.csv", queries=5, k=2)
    assert (tmp_path / "out.csv").read_text().splitlines() == [
        "query_id,query_label,rank,id,label,distance,correct",
        "test9,cat,1,train6,cat,0.5,True",
        "test9,cat,2,train7,dog,1.0,False",  # tied with train8 of a lower row: by id
        "test8,dog,1,train9,dog,1.0,True",
        "test8,dog,2,train8,cat,5.0,False",
    ]


def test_neighbours_csv_without_labels(tmp_path):
    labels = {split: [-1] * len(values) for split, values in LABELS.items()}
    neighbours.write_neighbours(write(tmp_path, FEATURES, labels), tmp_path / "out.csv", queries=2, k=1)
    table = pd.read_csv(tmp_path / "out.csv")
    assert dict(zip(table["query_id"], table["id"], strict=True)) == {"test9": "train6", "test8": "train9"}
    assert table[["query_label", "label", "correct"]].isna().all(axis=None)


def test_neighbours_csv_of_a_failed_training_is_a_header(tmp_path):
    path = write(tmp_path, FEATURES, LABELS, status="collapsed")
    neighbours.write_neighbours(path, tmp_path / "out.csv", queries=5, k=2)
    table = pd.read_csv(tmp_path / "out.csv")
    assert table.empty
    assert list(table) == neighbours.COLUMNS
