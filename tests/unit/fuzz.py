"""How many damaged files a test reads, how they are damaged, and what none of them may cost."""

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

SECONDS = 10  # of a case, of CPU: a machine may be busy
BYTES = 2 * 2**30  # that the memory of the process grows by, at most


def tries(few: int, many: int) -> pytest.MarkDecorator:
    """The argument `tries` of a test: few in every run, many in `make test-slow`."""
    return pytest.mark.parametrize("tries", [few, pytest.param(many, marks=pytest.mark.slow)])


@contextmanager
def cheap() -> Iterator[None]:
    """A case that takes neither long nor much memory."""
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, sum(os.times()[:4])
    yield
    assert sum(os.times()[:4]) - began < SECONDS  # with that of processes that it started
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < BYTES  # Linux counts in KiB


def damaged(content: bytes, count: int, seed: int = 0, words: tuple[bytes, ...] = ()) -> Iterator[bytes]:
    """Contents with flipped bits, other bytes, without an end, with a part twice, or with a word put somewhere."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        changed = bytearray(content)
        at, other = sorted(rng.integers(0, len(content), 2))
        how = number % (5 + bool(words))
        if how == 0:
            for place in rng.integers(0, len(content), rng.integers(1, 6)):
                changed[place] ^= 1 << rng.integers(8)
        elif how == 1:
            for place in rng.integers(0, len(content), rng.integers(1, 21)):
                changed[place] = rng.integers(256)
        elif how == 2:
            del changed[at:]
        elif how == 3:
            changed[at:at] = changed[at : min(other, at + 200)]
        elif how == 4:
            del changed[at : min(other, at + 50)]
        else:
            word = words[rng.integers(len(words))]
            changed[at : at + len(word) * int(rng.integers(2))] = word
        yield bytes(changed)
