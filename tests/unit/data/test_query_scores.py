import numpy as np
import pytest

from visrec.data.query_scores import read_lists, read_query_scores, write_query_scores
from visrec.errors import UserError


def test_labels_and_scores_follow_their_ids(tmp_path):
    rows = [{"metric": "hit", "k": 1}, {"metric": "precision", "k": 3}]
    scores = np.array([[0.0, 1.0, 0.5], [0.1, np.nan, 0.3]])
    lists = np.array(["b", "a"]), np.array([[7, 8], [9, 1]])
    splits = {"val": (np.array(["c", "a", "b"]), np.array([3, 1, 2]))}
    write_query_scores(tmp_path / "knn.h5", splits, {"val": rows}, {"val": scores}, lists)
    found = read_query_scores(tmp_path / "knn.h5", "val")
    assert (found.ids.tolist(), found.labels.tolist(), found.rows) == (["a", "b", "c"], [1, 2, 3], rows)
    np.testing.assert_array_equal(found.scores, [[1.0, 0.5, 0.0], [np.nan, 0.3, 0.1]])
    ids, listed = read_lists(tmp_path / "knn.h5")
    assert (ids.tolist(), listed.tolist()) == (["b", "a"], [[7, 8], [9, 1]])


def test_a_file_of_another_kind_is_one_line(tmp_path):
    (tmp_path / "knn.h5").write_bytes(b"no HDF5")
    with pytest.raises(UserError, match=r"knn\.h5"):
        read_query_scores(tmp_path / "knn.h5", "val")
