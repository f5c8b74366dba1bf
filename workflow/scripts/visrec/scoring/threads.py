"""Work on parts of arrays, in threads of one core each.

Libraries have threads of their own, which keep their cores busy while they wait for more. NumPy's products and torch's
arithmetic by turns so hold each other up: the full search took longer in two threads of both than in one
(docs/decisions/0024). Here each part is computed by one thread from end to end.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import torch
    from threadpoolctl import ThreadpoolController

Item = TypeVar("Item")
Result = TypeVar("Result")


def number(device: "torch.device") -> int:
    """How many parts are worked on at once: torch's threads on a CPU; 1 on a GPU, which needs no help."""
    import torch  # seconds: the report needs none of it

    return torch.get_num_threads() if device.type == "cpu" else 1


def each(work: Callable[[Item], Result], items: Sequence[Item], device: "torch.device") -> Iterator[Result]:
    """The result of each item, in their order, some of them at once.

    As many are in memory as there are threads. A single item has all threads of the libraries.

    Args:
        work: an item -> its result; thread-safe.
        items: of about equal work.
        device: where `work` computes.
    """
    import torch  # seconds: the report needs none of it

    threads = number(device)
    if threads == 1 or len(items) < 2:
        yield from map(work, items)
        return
    with ThreadPoolExecutor(threads, initializer=_take_one_core) as pool:
        for start in range(0, len(items), threads):
            with _libraries().limit(limits=1, user_api="blas"):
                try:
                    done = list(pool.map(work, items[start : start + threads]))
                finally:
                    torch.set_num_threads(threads)  # the last to call it decides for threads that are new
            yield from done


def _take_one_core() -> None:
    """Give torch one thread in the thread that calls.

    A thread's first question takes over the number that was set last, by whichever thread; so it is asked before.
    """
    import torch  # seconds: the report needs none of it

    torch.get_num_threads()
    torch.set_num_threads(1)


def shares(count: int, device: "torch.device", least: int = 1) -> list[slice]:
    """The rows 0..count in consecutive shares of about equal size, one for each thread, of at least `least` rows."""
    parts = max(1, min(number(device), count // max(1, least)))
    return [slice(count * part // parts, count * (part + 1) // parts) for part in range(parts)]


@cache
def _libraries() -> "ThreadpoolController":
    """The libraries whose threads can be told to rest, those that are loaded at the first call."""
    import numpy as np  # noqa: F401  # its BLAS is to be among them
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
