import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_metric_learning.distances import LpDistance
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from pytorch_metric_learning.utils.inference import CustomKNN
from ranking_fixture import enumerate_orders, ranked
from torchmetrics.functional.retrieval import retrieval_reciprocal_rank

from visrec.scoring import ranking


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 2), st.booleans()), min_size=1, max_size=6).filter(
        lambda rows: any(r for _, r in rows)
    )
)
def test_rankings_count_ties_with_their_expected_value(rows):
    squared, relevant = zip(*rows, strict=True)
    found = ranked([[float(each) for each in squared]], [relevant])
    assert [found[name][0] for name in ("r_precision", "map_at_r", "mrr")] == pytest.approx(
        enumerate_orders(squared, relevant), abs=1e-13
    )


def test_rankings_by_hand():
    squared = [[1.0, 2.0, 3.0, 4.0, 5.0]] * 4
    relevant = [[1, 0, 1, 1, 0], [0, 0, 0, 0, 1], [1, 1, 1, 1, 1], [0, 0, 0, 0, 0]]
    found = ranked(squared, relevant)
    # Relevant at ranks 1, 3, 4 (R = 3): precision 2/3 at rank 3; 1 at the first and 2/3 at the third place.
    np.testing.assert_allclose(found["r_precision"], [2 / 3, 0, 1, np.nan])
    np.testing.assert_allclose(found["map_at_r"], [(1 + 2 / 3) / 3, 0, 1, np.nan])
    np.testing.assert_allclose(found["mrr"], [1, 1 / 5, 1, np.nan])
    # Two rows tied before everything, one of them relevant, R = 1.
    found = ranked([[0.0, 0.0, 7.0]], [[1, 0, 0]])
    assert {name: value.tolist() for name, value in found.items()} == {
        "r_precision": [0.5],
        "map_at_r": [0.5],
        "mrr": [0.75],
    }


def test_excluded_rows_are_out_of_the_ranking():
    inf = np.inf
    with_excluded = ranked([[inf, 1.0, 1.0, 4.0, inf]], [[1, 0, 1, 1, 0]])
    without = ranked([[1.0, 1.0, 4.0]], [[0, 1, 1]])
    assert with_excluded == without
    assert np.isnan(ranked([[inf, 1.0]], [[1, 0]])["map_at_r"])
    assert np.isnan(ranked([[inf, inf]], [[1, 1]])["mrr"])


def test_rankings_in_tiles_and_in_any_order_of_rows(monkeypatch):
    rng = np.random.default_rng(5)
    squared, relevant = rng.integers(0, 9, (30, 40)) * 2.0**-37, rng.random((30, 40)) < rng.random((30, 1))
    whole, order = ranked(squared, relevant), rng.permutation(40)
    monkeypatch.setattr(ranking, "CELLS", 100)
    for found in (ranked(squared, relevant), ranked(squared[:, order], relevant[:, order])):
        for name in whole:
            np.testing.assert_allclose(found[name], whole[name], rtol=1e-14)
    assert {name: found.shape for name, found in ranked(np.zeros((0, 4)), np.zeros((0, 4))).items()} == {
        "r_precision": (0,),
        "map_at_r": (0,),
        "mrr": (0,),
    }


@pytest.mark.parametrize("levels", [3, 40, 10**6])
@pytest.mark.parametrize("share", [0.005, 0.05, 0.3])
def test_rankings_cut_behind_rank_r_are_those_of_the_whole(levels, share, monkeypatch):
    rng = np.random.default_rng(levels)
    squared, relevant = rng.integers(0, levels, (40, 300)).astype(float), rng.random((40, 300)) < share
    squared[rng.random(squared.shape) < 0.1] = np.inf
    found = ranked(squared, relevant)
    monkeypatch.setattr(ranking, "smallest_sorted", lambda bits, relevant, count: (bits | ~relevant).sort(dim=1).values)
    whole = ranked(squared, relevant)
    assert {name: each.tobytes() for name, each in found.items()} == {n: each.tobytes() for n, each in whole.items()}


def test_what_is_relevant_can_be_asked_for_a_part_at_a_time(monkeypatch):
    monkeypatch.setattr(ranking, "CELLS", 1000)
    rng = np.random.default_rng(0)
    squared, relevant = rng.integers(0, 50, (40, 300)).astype(float), rng.random((40, 300)) < 0.1
    whole, asked = ranked(squared, relevant), []
    parts = ranking.ranked(
        torch.from_numpy(squared), lambda rows: asked.append(rows) or torch.from_numpy(relevant[rows])
    )
    assert {name: each.tobytes() for name, each in whole.items()} == {n: each.tobytes() for n, each in parts.items()}
    assert sorted((rows.start, rows.stop) for rows in asked) == [(start, start + 3) for start in range(0, 40, 3)]


def test_the_smallest_keys_end_with_a_whole_tie_group():
    rng = np.random.default_rng(0)
    far = 2 * rng.integers(100, 10**6, (2, 2000))
    far[:, :4] = [[4, 5, 5, 4], [2, 8, 6, 4]]  # 4 and 5 are tied, as they differ in the last bit alone
    far[:, 4:400] = [[4], [8]]
    far = rng.permuted(far, axis=1)
    found = ranking.smallest_sorted(torch.from_numpy(far & ~1), torch.from_numpy(far & 1 == 0), 3)
    assert found.tolist() == np.sort(far, axis=1)[:, :400].tolist()


@pytest.mark.parametrize("sure", [5, -2])  # enough rows pass the limit, or too few: then everything is sorted
@pytest.mark.parametrize("count", [30, 100])
def test_the_smallest_keys_are_those_of_a_sort(monkeypatch, count, sure):
    monkeypatch.setattr(ranking, "SURE", sure)
    keys = 2 * np.random.default_rng(count).integers(0, 10**6, (50, 1000))
    relevant = np.random.default_rng(0).random(keys.shape) < 0.1
    found = ranking.smallest_sorted(torch.from_numpy(keys), torch.from_numpy(relevant), count)
    keys |= ~relevant
    assert (found.shape[1] < 1000) == (sure == 5)
    assert found[:, :count].tolist() == np.sort(keys, axis=1)[:, :count].tolist()


@pytest.mark.parametrize("wrong", [-1.0, 1 + 2.0**-52, float("nan")])
def test_rankings_refuse_distances_that_leave_no_bit_for_relevance(wrong):
    with pytest.raises(ValueError, match="must be >= 0 and exact"):
        ranked([[1.0, wrong]], [[1, 0]])


def distinct_distances(rng, queries, gallery):
    """Integer points in a plane whose squared distances never tie for a query, and these distances."""
    reference = rng.integers(0, 30_000, (gallery, 2))
    query = rng.integers(0, 30_000, (queries, 2))
    squared = np.square(query[:, None] - reference).sum(axis=2)
    assert all(len(np.unique(row)) == gallery for row in squared)
    return query, reference, squared.astype(float)


def test_rankings_agree_with_pytorch_metric_learning():
    rng = np.random.default_rng(6)
    query, reference, squared = distinct_distances(rng, 25, 80)
    reference_labels = np.concatenate([np.repeat(np.arange(5), [40, 20, 15, 4, 1])])
    query_labels = rng.integers(0, 5, 25)
    found = ranked(squared, query_labels[:, None] == reference_labels)
    names = {"r_precision": "r_precision", "map_at_r": "mean_average_precision_at_r", "mrr": "mean_reciprocal_rank"}
    calculator = AccuracyCalculator(
        include=tuple(names.values()),
        k=80,
        device=torch.device("cpu"),
        knn_func=CustomKNN(LpDistance(normalize_embeddings=False)),
    )
    for i in range(25):
        theirs = calculator.get_accuracy(
            torch.tensor(query[i : i + 1]).double(),
            torch.tensor(query_labels[i : i + 1]),
            torch.tensor(reference).double(),
            torch.tensor(reference_labels),
        )
        for name, their_name in names.items():
            assert found[name][i] == pytest.approx(theirs[their_name], abs=1e-6)  # their means are float32


def test_reciprocal_rank_agrees_with_torchmetrics():
    rng = np.random.default_rng(7)
    _, _, squared = distinct_distances(rng, 30, 60)
    relevant = rng.random((30, 60)) < 0.1
    relevant[:, 0] = True
    theirs = [  # of positive similarities: it ignores others
        retrieval_reciprocal_rank(1 / (1 + torch.tensor(row)), torch.tensor(hits))
        for row, hits in zip(squared, relevant, strict=True)
    ]
    np.testing.assert_allclose(ranked(squared, relevant)["mrr"], theirs, rtol=1e-6)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device")
def test_rankings_on_a_gpu_are_those_on_the_cpu():
    rng = np.random.default_rng(8)
    squared, relevant = rng.integers(0, 50, (20, 300)), rng.random((20, 300)) < 0.2
    here, there = ranked(squared, relevant), ranked(squared, relevant, "cuda")
    for name in here:
        np.testing.assert_allclose(there[name], here[name], rtol=1e-12)
