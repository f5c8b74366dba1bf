"""The training of AGE networks: the loop around `game`, what it reads on the way, and what it leaves behind."""

import json
import logging
import platform
import resource
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import safetensors.torch
import torch
from torch import Tensor

from visrec.data.files import atomic, remove_unfinished, sync, write_text
from visrec.errors import UserError
from visrec.jobs import progress
from visrec.networks.bodies import parameters
from visrec.networks.stack import to_unit_range
from visrec.training import diagnosis, symptoms
from visrec.training.checkpoint import Checkpoints
from visrec.training.game import Game, prepare

log = logging.getLogger(__name__)

READINGS = 200  # rows of history.csv a training aims at, when it is long enough to choose
ESTIMATE_AFTER = 20  # iterations of this start, before the time that is left is estimated
PICTURES = 32  # images per picture of samples and of reconstructions


@dataclass(frozen=True)
class TrainingFiles:
    """What a training leaves behind."""

    encoder: Path
    generator: Path
    history: Path
    samples: Path
    reconstructions: Path
    status: Path


def learning_rate(iteration: int, start: float, halve_every: int) -> float:
    """Start * 2^(-floor(iteration / halve_every)), iteration from 0; constant when `halve_every` is 0."""
    return start if halve_every == 0 else start * 0.5 ** (iteration // halve_every)


class RealBatches:
    """Batches of real images for every iteration from 1: a new random order per epoch, its last part dropped.

    The order of an epoch follows from the seed and its number alone, so a training that goes on needs no memory of it.

    Args:
        images: uint8 (N, 3, S, S), on the device of the training.
        batch: B.
        seed: of the orders.
    """

    def __init__(self, images: Tensor, batch: int, seed: int):
        self.images, self.batch, self.seed = images, batch, seed
        self.per_epoch = len(images) // batch
        self._epoch, self._order = -1, torch.empty(0)

    def __getitem__(self, iteration: int) -> Tensor:
        """The batch of an iteration, float32 (B, 3, S, S) in [-1, 1]."""
        epoch, position = divmod(iteration - 1, self.per_epoch)
        if epoch != self._epoch:
            order = np.random.default_rng([self.seed, epoch]).permutation(len(self.images))
            self._epoch, self._order = epoch, torch.from_numpy(order).to(self.images.device)
        return to_unit_range(self.images[self._order[position * self.batch :][: self.batch]])


@dataclass
class Course:
    """How a training went so far, over all its starts; kept with every checkpoint.

    Attributes:
        iteration: how many are done.
        history: the rows of history.csv.
        status: "ok", "diverged" or "collapsed",
        reason: and why.
        starts: how often it was started, but for starts that ended before their first checkpoint.
        seconds: time in the loop, without what was lost when it was killed.
        memory: highest resident memory of any of its processes, bytes.
        gpu_memory: highest memory on the GPU, bytes.
    """

    iteration: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    status: str = "ok"
    reason: str = ""
    starts: int = 0
    seconds: float = 0.0
    memory: int = 0
    gpu_memory: int = 0

    def start(self) -> None:
        """Start the clocks."""
        self.starts += 1
        self._start_clock = self._clock = self._read_clock = time.perf_counter()
        self._first = self._read_iteration = self.iteration
        self._warned: list[str] = []  # each start has a log of its own

    def read(self, measures: Mapping[str, float], rate: float, spec: Mapping[str, Any]) -> None:
        """Append a row of history.csv, judge it, and warn of what is out of its healthy range, once each."""
        now = time.perf_counter()
        speed = (self.iteration - self._read_iteration) * spec["batch"] / (now - self._read_clock)
        self._read_clock, self._read_iteration = now, self.iteration
        self.history.append(
            {"iteration": self.iteration, "learning_rate": rate, **measures, "images_per_second": speed}
        )
        self.status, self.reason = diagnosis.diagnose(self.history)
        if self.status != "ok":
            log.warning("%s: %s", self.status, self.reason)
        symptoms.warn(self.history, spec, self._warned)

    def estimate(self, iterations: int) -> None:
        """Log once, after the first iterations of this start, how long the rest will take."""
        done = self.iteration - self._first
        if done == ESTIMATE_AFTER and self.iteration < iterations:
            if torch.cuda.is_initialized():
                torch.cuda.synchronize()  # what was launched is not yet done
            pace = (time.perf_counter() - self._start_clock) / done
            log.info(
                "%.2f iterations/s: about %s left", 1 / pace, progress.duration(pace * (iterations - self.iteration))
            )

    def record(self) -> dict[str, Any]:
        """All of it, with the costs up to now."""
        now = time.perf_counter()
        self.seconds += now - self._clock
        self._clock = now
        # Linux counts in kB, macOS in bytes.
        unit = 1 if sys.platform == "darwin" else 1024
        self.memory = max(self.memory, unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        if torch.cuda.is_initialized():
            self.gpu_memory = max(self.gpu_memory, torch.cuda.max_memory_allocated())
        return asdict(self)


def train(
    images: np.ndarray,
    spec: Mapping[str, Any],
    seed: int,
    device: torch.device,
    files: TrainingFiles,
    checkpoints: Checkpoints,
    tensorboard: Path | None = None,
) -> None:
    """Train one pair of nets and write its files; a divergence or a collapse ends it with that status, without error.

    Killed at any moment and started again with the same arguments, it goes on from its newest checkpoint and ends with
    the same weights, history (but for speeds) and pictures, bit by bit, on the same machine with as many threads.

    Args:
        images: uint8 (N, 3, S, S), the training images; labels are not seen.
        spec: the options of the encoder `age` at stage train.
        seed: of weights, noise and data order.
        device: where to compute.
        files: what to write. `history` grows while the training runs, the others come at its end.
        checkpoints: where its state is kept.
        tensorboard: folder for logs, or None for no logs.

    Raises:
        UserError: fewer images than one batch; a live process trains this already; a checkpoint is of something else.
        StoppedError: a signal asked it to stop; its state is saved.
        SupersededError: another process has begun the same training since; nothing more is written.
    """
    batch, iterations = spec["batch"], spec["iterations"]
    if len(images) < batch:
        raise UserError(f"training needs a batch of {batch} images and got {len(images)}; set a smaller `batch`")
    game = prepare(spec, images.shape[-1], seed, device)
    batches = RealBatches(torch.from_numpy(images).to(device), batch, seed)
    checkpoints.belong_to(precision=game.precision)
    read_every = -(-iterations // READINGS)
    course = _resume(game, checkpoints)
    with checkpoints:
        board = progress.board(tensorboard, course.iteration)  # it hides what an earlier start showed
        for path in vars(files).values():
            remove_unfinished(path)
        course.start()
        log.info("training on %d images of %d px, %s on %s", *images.shape[::3], game.dtype, device)
        bar = progress.bar(
            range(course.iteration + 1, iterations + 1),
            desc=f"lambda_z {spec['lambda_z']} mu_x {spec['mu_x']} seed {seed}",
            unit="it",
            initial=course.iteration,
            total=iterations,
        )
        for iteration in bar:
            rate = learning_rate(iteration - 1, spec["learning_rate"], spec["halve_every"])
            game.set_learning_rate(rate)
            encoder_terms = game.update_encoder(batches[iteration])
            for _ in range(spec["generator_steps"]):
                generator_terms = game.update_generator(batch)

            course.iteration = iteration
            if iteration % read_every == 0 or iteration == iterations:  # reading waits for the device, so it is rare
                row = diagnosis.reading(encoder_terms, generator_terms)
                course.read(row, rate, spec)
                shown = {"KL e(x)": row["kl_real"], "KL e(g(z))": row["kl_fake"], "cos": row["latent_cosine"]}
                bar.set_postfix({name: f"{value:.2f}" for name, value in shown.items()}, refresh=False)
                checkpoints.check()
                write_text(files.history, _csv(course.history))
                board.show(course.history[-1])
                if course.status != "ok":
                    break
            course.estimate(iterations)
            checkpoints.keep(iteration, lambda: (game.state(), course.record()))
        bar.close()
        board.close()
        course.record()
        _publish(game, images, course, files, checkpoints)
        checkpoints.remove()


def _resume(game: Game, checkpoints: Checkpoints) -> Course:
    """Bring the nets to the newest checkpoint, if there is one."""
    saved = checkpoints.newest()
    if saved is None:
        return Course()
    tensors, record = saved
    game.load(tensors)
    course = Course(**{key: record[key] for key in Course.__dataclass_fields__})
    log.info("going on from iteration %d", course.iteration)
    return course


def _csv(history: list[dict[str, float]]) -> str:
    return pd.DataFrame(history).to_csv(index=False)


def _publish(game: Game, images: np.ndarray, course: Course, files: TrainingFiles, checkpoints: Checkpoints) -> None:
    """Write all files under other names, make sure that they are still ours to write, and give them their names."""
    with ExitStack() as stack:  # leaves in reverse: status.json, which says that all is there, comes last
        paths = {name: stack.enter_context(atomic(path)) for name, path in reversed(vars(files).items())}
        for name, net in (("encoder", game.encoder), ("generator", game.generator)):
            weights = {key: tensor.contiguous() for key, tensor in net.state_dict().items()}
            paths[name].write_bytes(safetensors.torch.save(weights))
        paths["history"].write_text(_csv(course.history), encoding="utf-8")
        draw(game, images, paths["samples"], paths["reconstructions"])
        paths["status"].write_text(json.dumps(_status(game, course), indent=2) + "\n", encoding="utf-8")
        for path in paths.values():
            sync(path)  # now, so that little time passes between the look at the claim and the last name
        checkpoints.check()


def _status(game: Game, course: Course) -> dict[str, Any]:
    """What status.json says: how the training ended, what it cost and what it ran on."""
    return {
        "status": course.status,
        "reason": course.reason,
        "iterations": course.iteration,
        "starts": course.starts,
        "seconds": round(course.seconds, 3),
        "images_per_second": round(course.iteration * game.spec["batch"] / course.seconds, 1),
        "memory_mb": round(course.memory / 1e6),
        "gpu_memory_mb": round(course.gpu_memory / 1e6),
        "device": torch.cuda.get_device_name(game.device) if game.device.type == "cuda" else "cpu",
        "precision": game.precision,
        "parameters": {"encoder": parameters(game.encoder), "generator": parameters(game.generator)},
        "host": platform.node(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }


@torch.no_grad()
def draw(game: Game, images: np.ndarray, samples: Path, reconstructions: Path) -> None:
    """Draw samples g(z), and pairs of an image x and its reconstruction g(e(x)).

    As in the reference, the generator is in evaluation and the encoder in training mode, in float32. Nets that are not
    finite are drawn as black, so that a diverged training has its picture too.
    """
    from torchvision.utils import make_grid, save_image

    game.encoder.train()
    game.generator.eval()
    rows = np.linspace(0, len(images) - 1, min(PICTURES, len(images)), dtype=int)  # spread over the training images
    real = to_unit_range(torch.from_numpy(images[rows]).to(game.device))
    pairs = torch.stack([real, game.generator(game.encoder(real))], dim=1).flatten(0, 1)
    for pictures, path, columns in (
        (game.generator(game.noise(2 * PICTURES)), samples, 16),
        (pairs, reconstructions, 16),
    ):
        grid = make_grid(pictures.nan_to_num(-1).clamp(-1, 1), columns, padding=2, pad_value=1)
        save_image((grid + 1) / 2, path)
