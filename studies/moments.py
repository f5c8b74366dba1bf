"""Does it matter at which moment a training ends?

A trial of an encoder that sees no labels is trained again, from its first picture on. Near the end its neighbours are
read every few iterations: precision@3 of the stack, batch norm re-estimated, of some pictures of val among 10,000 of
train, in L2 and under cosine; once by the networks as they play and once by an average of them. Beside it stand the
losses of the iteration. A game may be read in the middle of an excursion, which an average does not follow.

    .venv/bin/python studies/moments.py --configfile config/teachers.yaml --images 2000 --last 100 --every 10 \
        'cifar10_jpeg/32px/dcgan/seed~0'
"""

import copy
from collections.abc import Iterator
from pathlib import Path

import asked
import numpy as np
import torch
from torch import nn

from visrec.data.images import ImageFile, ImageSplit, read_image_info, read_images
from visrec.errors import UserError
from visrec.experiment import registry
from visrec.experiment.trials import Trial
from visrec.jobs import progress
from visrec.networks import stack
from visrec.scoring import neighbours
from visrec.scoring.queries import first_by_digest
from visrec.scoring.transforms import DISTANCES
from visrec.training import capture, models
from visrec.training.average import Average
from visrec.training.batches import Batches
from visrec.training.loop import updates
from visrec.training.method import make

K = 3
CPU = torch.device("cpu")
DECAY = 0.999  # of the average, where the trial has none
READ = 2 * len(DISTANCES)  # precisions at a moment
GALLERY = 10_000  # pictures of train; batch norm is re-estimated on them, too


def some_of(split: ImageSplit, count: int) -> ImageSplit:
    """So many pictures, always the same ones."""
    rows = first_by_digest(split.ids, count)
    return ImageSplit(split.images[rows], split.labels[rows], split.ids[rows])


def precision(queries: np.ndarray, gallery: np.ndarray, asking: np.ndarray, labels: np.ndarray) -> float:
    """Share of the `K` nearest rows that are of the query's class.

    Args:
        queries: float32 (Q, D).
        gallery: float32 (N, D).
        asking: int64 (Q,), classes of the queries.
        labels: int64 (N,), of the gallery.
    """
    found = neighbours.nearest(queries, gallery, K)
    rows = found.rows[found.starts[:-1, None] + np.arange(K)]  # the first of those tied with the last
    return float((labels[rows] == asking[:, None]).mean())


def precisions(encoder: nn.Module, queries: ImageSplit, gallery: ImageSplit) -> list[float]:
    """Precision in each distance, by the stack of a network that is left as it is."""
    encoder = copy.deepcopy(encoder)
    stack.reestimate_batchnorm(encoder, torch.from_numpy(gallery.images))
    nothing = ImageFile("")  # read by `feature_maps` for statistics alone, which are there
    embed = stack.extractor(stack.feature_maps(encoder, nothing, "running", CPU), "average")
    features = []
    for split in (queries, gallery):
        parts = [slice(start, start + stack.BATCH) for start in range(0, len(split.ids), stack.BATCH)]
        layers = [embed(split.images[part], split.ids[part]).values() for part in parts]
        features.append(np.concatenate([np.concatenate([*each], axis=1) for each in layers]))
    return [
        precision(*(distance.map(each) for each in features), queries.labels, gallery.labels)
        for distance in DISTANCES.values()
    ]


def moments(
    trial: Trial, images: Path, queries: ImageSplit, last: int, every: int
) -> Iterator[tuple[int, list[float]]]:
    """Train a trial, and read it at some of its last iterations.

    Args:
        trial: of an encoder that sees no labels.
        images: images.h5.
        queries: pictures that ask.
        last: iterations before its end, of the first that is read.
        every: iterations from one that is read to the next.

    Yields:
        an iteration, and its losses, precisions of the networks and precisions of their average.
    """
    setup = models.setup(trial.spec("train"), read_image_info(images), CPU)
    kind, options = registry.load("encoders", trial.encoder).Training, setup.options
    train = read_images(images, "train")
    gallery = some_of(train, GALLERY)
    batches = Batches(torch.from_numpy(train.images), None, options["batch"], setup.seed)
    method, step = capture.prepare(lambda: make(kind, setup), *batches[1])
    average = Average(kind, setup, options["average"] or DECAY)
    bar = progress.bar(range(1, options["iterations"] + 1), desc="training", unit="it")
    for iteration, _, terms in updates(method, step, average, batches, bar):
        left = options["iterations"] - iteration
        if left <= last and left % every == 0:
            losses = [term.item() for name, term in terms.items() if name.startswith("loss")]
            read = [precisions(each.encoder, queries, gallery) for each in (method, average.method)]
            yield iteration, [*losses, *read[0], *read[1]]


def main() -> None:
    """Print a table for each trial."""
    parser = asked.parser(__doc__.splitlines()[0])
    parser.add_argument("--last", type=int, default=100)
    parser.add_argument("--every", type=int, default=10)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.split == "train":
        parser.error("--split train: its pictures would find themselves; take val or test")
    if arguments.every < 1:
        parser.error(f"--every {arguments.every}: take 1 or more")
    trials = asked.named(
        parser,
        arguments,
        lambda trial: trial.declared.get("STAGE") == "train" and not trial.declared.get("LABELS"),
        "is trained without labels",
    )
    for folder, trial in trials.items():
        print(f"`{trial.folder}`\n")
        print("| iteration | losses | L2 | cosine | average, L2 | average, cosine |\n|---|---|---|---|---|---|")
        try:
            images = asked.images_of(folder).path
            queries = some_of(read_images(images, arguments.split), arguments.images)
            for iteration, found in moments(trial, images, queries, arguments.last, arguments.every):
                losses, read = found[:-READ], found[-READ:]
                cells = [f"{iteration:,}", ", ".join(f"{loss:.2f}" for loss in losses)]
                print("|", " | ".join([*cells, *(f"{100 * each:.1f}" for each in read)]), "|", flush=True)
        except UserError as error:
            parser.error(str(error))


if __name__ == "__main__":
    main()
