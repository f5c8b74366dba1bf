"""Pictures become features in their order, and one that cannot be read does not stop the others."""

import io

import numpy as np
from PIL import Image

from visrec.data import pictures
from visrec.recommender.embedder import Embedder


def picture(shade):
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), (shade, 0, 0)).save(stream, "PNG")
    return stream.getvalue()


def test_features_in_order_and_reasons_over_several_batches(monkeypatch):
    monkeypatch.setattr(pictures, "BATCH", 3)
    sizes = []

    def features(images):
        sizes.append(len(images))
        return images.mean(axis=(2, 3)).astype(np.float32)

    items = [(str(shade), picture(shade)) for shade in range(8)]
    items[1] = ("1", b"")
    items[3:6] = [(str(shade), b"x") for shade in (3, 4, 5)]  # a whole batch
    found = [*Embedder(8, 3, features, 2).embed(items, "embedding")]
    unknown = "is not a picture of a known format"
    assert [reason for _, reason in found] == ["", "is empty (0 bytes)", "", unknown, unknown, unknown, "", ""]
    assert [None if vector is None else vector.tolist() for vector, _ in found] == [
        [shade, 0, 0] if shade in (0, 2, 6, 7) else None for shade in range(8)
    ]
    assert sizes == [2, 2]
