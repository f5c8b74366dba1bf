"""Decode and embed picture files, a batch at a time."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from visrec.data.pictures import Source, decoded


@dataclass(frozen=True)
class Embedder:
    """How pictures become features.

    Attributes:
        size: S, pixels of a side.
        width: D, the number of features.
        features: uint8 (n, 3, S, S), RGB -> float32 (n, D).
        threads: that read and decode.
    """

    size: int
    width: int
    features: Callable[[np.ndarray], np.ndarray]
    threads: int = 1

    def embed(self, items: Sequence[tuple[str, Source]], label: str) -> Iterator[tuple[np.ndarray | None, str]]:
        """Features (D,) and "" of each picture in turn, or None and the reason why it cannot be read.

        Args:
            items: (name, source) of each, as for `visrec.data.pictures.decoded`.
            label: of the progress bar.
        """
        broken: list[tuple[int, str]] = []
        start = 0
        for batch in decoded(items, self.size, self.threads, broken=broken, label=label):
            reasons = {row - start: reason for row, reason in broken}
            broken.clear()
            readable = [row for row in range(len(batch)) if row not in reasons]
            vectors = iter(self.features(batch[readable]) if readable else ())
            for row in range(len(batch)):
                yield (None, reasons[row]) if row in reasons else (next(vectors), "")
            start += len(batch)
