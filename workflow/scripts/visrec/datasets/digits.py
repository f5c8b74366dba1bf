"""scikit-learn's handwritten digits: 1,797 real 8x8 scans that are part of the package, so nothing is downloaded.

Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998
(its test part).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from visrec.data.images import ImageSet, ImageSource

OPTIONS: dict[str, Any] = {}
TRAIN, VAL = 1297, 250  # the other 250 are test


def read(size: int, options: Mapping[str, Any], archives: Mapping[str, Path], threads: int) -> ImageSet:
    """The scans, enlarged bilinearly to size x size, grey in all three channels.

    Args:
        size: S, pixels.
        options: none.
        archives: none.
        threads: not used.
    """
    digits = load_digits()
    rows = np.arange(len(digits.target))
    train, held_out = train_test_split(rows, train_size=TRAIN, stratify=digits.target, random_state=0)
    val, test = train_test_split(held_out, train_size=VAL, stratify=digits.target[held_out], random_state=0)
    splits = {
        split: ImageSource(
            batches=[np.stack([_enlarge(digits.images[row], size) for row in part])],
            labels=digits.target[part],
            ids=np.array([f"digits-{row:04d}" for row in part]),
        )
        for split, part in (("train", train), ("val", val), ("test", test))
    }
    return ImageSet(
        splits,
        classes=list("0123456789"),
        split_rule="stratified by digit, drawn once with seed 0: 1,297 / 250 / 250",
        source="scikit-learn load_digits (UCI Optical Recognition of Handwritten Digits, test part)",
    )


def _enlarge(scan: np.ndarray, size: int) -> np.ndarray:
    """An 8x8 scan of 0..16 -> uint8 (3, S, S) of 0..255."""
    picture = Image.fromarray(np.round(scan * (255 / 16)).astype(np.uint8))
    return np.repeat(np.asarray(picture.resize((size, size), Image.Resampling.BILINEAR))[None], 3, axis=0)
