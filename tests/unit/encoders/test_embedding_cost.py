"""What embedding says that it costs."""

import time
from types import SimpleNamespace

import numpy as np

from visrec import encoders


def test_the_reading_of_the_pictures_counts():
    def slowly(split):
        time.sleep(0.05)
        return np.zeros((3, 3, 2, 2), np.uint8)

    source = SimpleNamespace(images=slowly, ids=lambda split: np.array(["a", "b", "c"]))
    spent = {"images": 0, "seconds": 0.0}
    found = list(encoders._batches(source, "val", lambda images, ids: {"x": images.reshape(3, -1)}, spent))
    assert [batch["x"].shape for batch in found] == [(3, 12)]
    assert spent["images"] == 3
    assert spent["seconds"] >= 0.05
