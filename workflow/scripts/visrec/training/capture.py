"""A method's step on a GPU as one CUDA graph: the same kernels, launched at once instead of one by one.

At batch 64 a GPU can be done with a kernel before Python has launched the next.
"""

import logging
import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from visrec.training.method import Method

log = logging.getLogger(__name__)

WARM_UP = 3  # steps in which libraries choose and allocate what they need; they leave no trace

Step = Callable[[Tensor, Tensor | None], dict[str, Tensor]]


def prepare(build: Callable[[], Method], images: Tensor, labels: Tensor | None) -> tuple[Method, Step]:
    """A method, ready to train, and its step in the fastest form that the device has.

    Args:
        build: makes the method, on its device; called again if a capture fails.
        images: float32 (B, 3, S, S), of the shape and memory format of all batches.
        labels: int64 (B,), or None for a method that does not see them.

    Returns:
        the method, and a function like `Method.step`. What that returns is overwritten by its next call.
    """
    method = build()
    method.begin()
    if method.device.type != "cuda":
        return method, _plain(method)
    try:
        return method, _captured(method, images, labels)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:  # an operation that this torch or driver cannot capture
        log.warning("CUDA graphs do not work here (%s): training without them, more slowly", str(error).split("\n")[0])
        device = method.device
    del method  # its memory is needed for the second one
    # The stream that the capture failed on may still be the current one.
    torch.cuda.set_stream(torch.cuda.default_stream(device))
    method = build()
    method.begin()
    return method, _plain(method)


def _plain(method: Method) -> Step:
    return lambda images, labels: _detached(method.step(images, labels))


def _detached(terms: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: term.detach() for name, term in terms.items()}


def _captured(method: Method, images: Tensor, labels: Tensor | None) -> Step:
    images, labels = images.clone(), None if labels is None else labels.clone()
    before = method.state()
    current, aside = torch.cuda.current_stream(method.device), torch.cuda.Stream(method.device)
    aside.wait_stream(current)
    with torch.cuda.stream(aside), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*capturable=True")  # not captured yet, as it should be
        for _ in range(WARM_UP):
            method.step(images, labels)
    current.wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    graph.register_generator_state(method.random)
    with torch.cuda.graph(graph):
        terms = _detached(method.step(images, labels))
    method.restore(before)

    def step(batch: Tensor, its_labels: Tensor | None) -> dict[str, Tensor]:
        images.copy_(batch)
        if labels is not None:
            labels.copy_(its_labels)
        graph.replay()
        return terms

    return step
