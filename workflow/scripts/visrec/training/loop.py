"""The loop that trains every encoder, whatever its method: batches, schedule, readings, checkpoints, and its files."""

import json
import logging
import math
import platform
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from visrec.data.files import atomic, remove_unfinished, sync, write_text
from visrec.data.models import packed
from visrec.errors import UserError
from visrec.jobs import progress
from visrec.networks.stack import to_unit_range
from visrec.training import capture
from visrec.training.average import Average
from visrec.training.batches import Batches
from visrec.training.checkpoint import Checkpoints
from visrec.training.course import Course
from visrec.training.method import Method, Setup, make
from visrec.training.readings import values
from visrec.training.reconstruction import reconstruction_error

log = logging.getLogger(__name__)

# Options of every trained encoder, see `OPTIONS_OF` in docs/adding-an-encoder.md.
OPTIONS = {
    "iterations": {
        "type": "integer",
        "minimum": 1,
        "default": 10000,
        "description": "Number of training iterations, a batch of real images each.",
    },
    "batch": {
        "type": "integer",
        "minimum": 2,
        "at_most": ["train"],
        "default": 256,
        "description": "Images per batch; by default fewer where there are fewer training images.",
    },
    "learning_rate": {
        "type": "number",
        "exclusiveMinimum": 0,
        "default": 0.001,
        "description": "Of all optimisers; the largest of its schedule.",
    },
    "schedule": {
        "enum": ["halved", "cosine"],
        "default": "cosine",
        "description": "The learning rate: halved every so often, or warmed up for a tenth, then a cosine down to 0.",
    },
    "halve_every": {
        "type": "integer",
        "minimum": 0,
        "default": 0,
        "description": "Iterations after which a halved learning rate halves, again and again; 0 keeps it constant.",
    },
    "weight_decay": {
        "type": "number",
        "minimum": 0,
        "default": 0,
        "description": "Decoupled weight decay of all optimisers.",
    },
    "average": {
        "type": "number",
        "minimum": 0,
        "exclusiveMaximum": 1,
        "default": 0,
        "description": "Decay d of an average of the weights over iterations, about the last 1 / (1 - d), which is "
        "embedded and drawn in their place; 0 for none.",
    },
    "precision": {
        "enum": ["auto", "fp32", "bf16"],
        "default": "auto",
        "description": "Arithmetic of the networks; auto is bf16 where the hardware multiplies matrices in it.",
    },
}
WARM_UP = 0.1  # share of the iterations in which the rate of schedule "cosine" rises
ROWS = 200  # of history.csv, when a training is long enough to choose
SHOWN = 3  # readings beside the progress bar


@dataclass(frozen=True)
class TrainingFiles:
    """What a training writes, whatever its method."""

    model: Path
    history: Path
    status: Path


@dataclass(frozen=True)
class Data:
    """What a training sees.

    Attributes:
        images: uint8 (N, 3, S, S), the training images.
        labels: int64 (N,), -1 = none; None unless the encoder declares LABELS.
        unseen: uint8 (V, 3, S, S), images that are not trained on and whose `reconstruction_error` is read; None for
            methods without reconstructions.
    """

    images: np.ndarray
    labels: np.ndarray | None = None
    unseen: np.ndarray | None = None


def learning_rate(iteration: int, options: Mapping[str, Any]) -> float:
    """The learning rate of an iteration, from 0.

    halved: start * 2^(-floor(iteration / halve_every)), constant when `halve_every` is 0.
    cosine: up in a straight line in the first tenth, then start * (1 + cos(pi t)) / 2, t from 0 to 1 over the rest.
    """
    start = options["learning_rate"]
    if options["schedule"] == "halved":
        return start if options["halve_every"] == 0 else start * 0.5 ** (iteration // options["halve_every"])
    share = iteration / options["iterations"]
    if share < WARM_UP:
        return start * (iteration + 1) / (options["iterations"] * WARM_UP + 1)
    return start * (1 + float(np.cos(np.pi * (share - WARM_UP) / (1 - WARM_UP)))) / 2


def updates(
    method: Method, step: capture.Step, average: Average | None, batches: Batches, iterations: Iterable[int]
) -> Iterator[tuple[int, float, dict[str, Tensor]]]:
    """Update a method, and its average if it has one, by a batch in each iteration.

    Args:
        method: as the iteration before the first of these left it.
        step: its step, see `capture.prepare`.
        average: what follows it, or None.
        batches: the batch of each iteration.
        iterations: from 1, in their order.

    Yields:
        after each: the iteration, its learning rate, and what the step returned.
    """
    for iteration in iterations:
        rate = learning_rate(iteration - 1, method.options)
        method.set_learning_rate(rate)
        method.progress.fill_((iteration - 1) / method.options["iterations"])
        terms = step(*batches[iteration])
        if average:
            average.follow(method, iteration)
        yield iteration, rate, terms


def train(
    kind: type[Method],
    setup: Setup,
    data: Data,
    readings: Mapping[str, Mapping[str, Any]],
    files: TrainingFiles,
    checkpoints: Checkpoints,
    tensorboard: Path | None = None,
) -> None:
    """Train one method and write its files; a divergence or a collapse ends it with that status, without error.

    Killed at any moment and started again with the same arguments, it goes on from its newest checkpoint and ends with
    the same weights and history (but for speeds), bit by bit, on the same machine with as many threads.

    Args:
        kind: the method.
        setup: what it is built for; its seed is that of the order of the data, too.
        data: the training images, and labels for a method that declares them.
        readings: what its file declares as READINGS.
        files: what to write. `history` grows while the training runs, the others come at its end.
        checkpoints: where its state is kept.
        tensorboard: folder for logs, or None for no logs.

    Raises:
        UserError: fewer images than one batch; a live process trains this already; a checkpoint is of something else.
        StoppedError: a signal asked it to stop; its state is saved.
        SupersededError: another process has begun the same training since; nothing more is written.
    """
    options = setup.options
    batch, iterations = options["batch"], options["iterations"]
    if len(data.images) < batch:
        raise UserError(f"training needs a batch of {batch} images and got {len(data.images)}; set a smaller `batch`")
    images = torch.from_numpy(data.images).to(setup.device)
    labels = None if data.labels is None else torch.from_numpy(data.labels).to(setup.device)
    unseen = None if data.unseen is None else to_unit_range(torch.from_numpy(data.unseen).to(setup.device))
    batches = Batches(images, labels, batch, setup.seed)
    method, step = capture.prepare(lambda: make(kind, setup), *batches[1])
    average = Average(kind, setup, options["average"]) if options["average"] else None
    result = average.method if average else method  # what is read and published
    checkpoints.belong_to(precision=_name(method.dtype))
    course = _resume(method, average, checkpoints)
    with checkpoints:
        board = progress.board(tensorboard, course.iteration)  # it hides what an earlier start showed
        for path in vars(files).values():
            remove_unfinished(path)
        course.start()
        log.info("training on %d images of %d px, %s on %s", *data.images.shape[::3], method.dtype, method.device)
        last = iterations if course.status == "ok" else course.iteration  # it had collapsed or diverged
        bar = progress.bar(
            range(course.iteration + 1, last + 1),
            desc="training",
            unit="it",
            initial=course.iteration,
            total=iterations,
        )
        for iteration, rate, terms in updates(method, step, average, batches, bar):
            course.iteration = iteration
            # Reading waits for the device, so it is rare.
            if iteration % -(-iterations // ROWS) == 0 or iteration == iterations:
                measures = method.readings(terms)
                if unseen is not None:
                    measures |= {"reconstruction_error": reconstruction_error(result, unseen)}
                course.read(values(measures), rate, batch, readings)
                row = course.history[-1]
                bar.set_postfix({name: f"{row[name]:.3g}" for name in [*readings][:SHOWN]}, refresh=False)
                checkpoints.check()
                write_text(files.history, _csv(course.history))
                board.show(row)
                if course.status != "ok":
                    break
            course.estimate(iterations)
            checkpoints.keep(iteration, lambda: (_state(method, average), course.record()))
        bar.close()
        board.close()
        checkpoints.finish(course.iteration, lambda: (_state(method, average), course.record()))
        course.end(readings, result.state_dict())
        course.record()
        _publish(result, course, files, checkpoints)


def _name(dtype: torch.dtype) -> str:
    return "bf16" if dtype == torch.bfloat16 else "fp32"


def _state(method: Method, average: Average | None) -> dict[str, Tensor]:
    return method.state() | (average.state() if average else {})


def _resume(method: Method, average: Average | None, checkpoints: Checkpoints) -> Course:
    """Bring the method and its average to the newest checkpoint, if there is one."""
    saved = checkpoints.newest()
    if saved is None:
        return Course()
    tensors, record = saved
    method.restore(tensors)
    if average:
        average.restore(tensors)
    course = Course(**{key: record[key] for key in Course.__dataclass_fields__})
    log.info("going on from iteration %d", course.iteration)
    return course


def _csv(history: list[dict[str, float]]) -> str:
    return pd.DataFrame(history).to_csv(index=False)


def _publish(method: Method, course: Course, files: TrainingFiles, checkpoints: Checkpoints) -> None:
    """Write all files under other names, make sure that they are still ours to write, and give them their names."""
    with ExitStack() as stack:  # leaves in reverse: status.json, which says that all is there, comes last
        paths = {name: stack.enter_context(atomic(path)) for name, path in reversed(vars(files).items())}
        # Copies: tensors that two networks share cannot be written otherwise.
        weights = {name: tensor.numpy(force=True).copy() for name, tensor in method.state_dict().items()}
        paths["model"].write_bytes(packed(weights))
        paths["history"].write_text(_csv(course.history), encoding="utf-8")
        paths["status"].write_text(json.dumps(_status(method, course), indent=2) + "\n", encoding="utf-8")
        for path in paths.values():
            sync(path)  # now, so that little time passes between the look at the claim and the last name
        checkpoints.check()


def _known(value: float | None) -> float | None:
    """A reading as JSON has it: null where there is none, or it is not finite."""
    return value if value is not None and math.isfinite(value) else None


def _status(method: Method, course: Course) -> dict[str, Any]:
    """What status.json says: how the training ended, what it cost and what it ran on."""
    return {
        "status": course.status,
        "reason": course.reason,
        "iterations": course.iteration,
        "reconstruction_error": _known(course.history[-1].get("reconstruction_error")),
        "starts": course.starts,
        "batch": method.options["batch"],
        "seconds": round(course.seconds, 3),
        "images_per_second": round(course.iteration * method.options["batch"] / course.seconds, 1),
        "memory_mb": round(course.memory / 1e6),
        "gpu_memory_mb": round(course.gpu_memory / 1e6),
        "device": torch.cuda.get_device_name(method.device) if method.device.type == "cuda" else "cpu",
        "precision": _name(method.dtype),
        "parameters": {
            name: sum(weight.numel() for weight in net.parameters()) for name, net in method.named_children()
        },
        "host": platform.node(),
        "torch": course.torch_version,
        "threads": course.threads,
    }
