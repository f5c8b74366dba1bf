"""The kinds of HDF5 files between stages, and how one is opened with checks.

`images.h5` (`visrec.data.images`), `embeddings.h5` (`visrec.data.embeddings`) and the scores of each query
(`visrec.data.query_scores`) are told apart by their attribute `kind`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from visrec.errors import UserError

SPLITS = ("train", "val", "test")
IMAGES = "visrec images 1"
EMBEDDINGS = "visrec embeddings 2"
QUERY_SCORES = "visrec query scores 1"
ROWS_AT_ONCE = 1024


@contextmanager
def reading(path: str | Path, kind: str) -> Iterator[h5py.File]:
    """Open a file of a kind, such as `IMAGES`, to read parts of it.

    Raises:
        UserError: the file is missing, damaged or of another kind.
    """
    try:
        # Finished files never change, so the lock that network file systems often refuse is not needed.
        file = h5py.File(path, "r", locking=False)
    except OSError as error:
        raise UserError(f"{path}: cannot be read as HDF5 ({error}); delete it and run again") from error
    with file:
        if file.attrs.get("kind") != kind:
            raise UserError(f"{path}: is not a '{kind}' file; delete it and run again")
        yield file


def strings(dataset: h5py.Dataset) -> np.ndarray:
    """Text of a dataset, str (N,)."""
    return dataset.asstr()[:].astype(str)
