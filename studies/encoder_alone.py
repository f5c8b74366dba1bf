"""How far is AGE's encoder behind its generator? The generator is held still, and the encoder's updates go on.

Every update is one of the game's, L_E of `visrec.encoders.age`, by the average of the networks that the trial kept; the
generator is in evaluation mode, and the learning rate falls in a straight line to nought. What the error loses by it
the encoder could have had by following. The error is the mean absolute difference of
g(e(x)) and x, in [-1, 1], for pictures of val, with the running statistics of the encoder's batch norm and with those
re-estimated on the training pictures.

    .venv/bin/python studies/encoder_alone.py --configfile config/teachers.yaml --iterations 1000 --mu 10 --mu 200 \
        'cifar10_jpeg/32px/age/lambda_z~1000+mu_x~10+seed~1'
"""

from pathlib import Path

import asked
import torch
from torch import Tensor

from visrec.errors import UserError
from visrec.experiment.trials import Trial
from visrec.networks.stack import reestimate_batchnorm
from visrec.training.batches import Batches
from visrec.training.method import Method


def go_on(method: Method, images: Tensor, iterations: int, mu: float, seed: int) -> None:
    """Update the encoder alone, so many times, with a weight of its own for the pixel match.

    Args:
        method: of AGE; in evaluation mode afterwards, as it was.
        images: uint8 (N, 3, S, S).
        iterations: number of updates.
        mu: weight of the pixel match.
        seed: of the order of pictures.
    """
    method.options = {**method.options, "mu_x": mu}
    method.begin()
    method.generator.eval()
    batches = Batches(images, None, method.options["batch"], seed)
    for iteration in range(1, iterations + 1):
        method.set_learning_rate(method.options["learning_rate"] * (1 - (iteration - 1) / iterations))
        real, _ = batches[iteration]
        method.update("encoder", method.encoder_terms(real)["loss_encoder"])
    method.eval()


@torch.no_grad()
def readings(method: Method, pictures: Tensor, train: Tensor) -> list[float]:
    """Errors with running and re-estimated statistics, and the mean cosine of z and e(g(z)), as many as pictures."""
    z = method.latents(len(pictures), torch.Generator().manual_seed(0))
    cosine = (method.encoder(method.decode(z)) * z).sum(dim=1).mean()
    errors = [asked.error_at(method, method.encoder(pictures), pictures)]
    reestimate_batchnorm(method.encoder, train)
    errors.append(asked.error_at(method, method.encoder(pictures), pictures))
    return [*map(float, errors), float(cosine)]


def row(folder: Path, trial: Trial, split: str, count: int, iterations: int, mu: float) -> list[float]:
    """`readings` of a trial after so many updates of its encoder alone."""
    method, train = asked.load(folder, trial.spec("train")), torch.from_numpy(asked.images_of(folder).images("train"))
    if iterations:
        go_on(method, train, iterations, mu, trial.seed)
    return readings(method, asked.pictures_of(folder, split, count), train)


def main() -> None:
    """Print a table of errors."""
    parser = asked.parser(__doc__.splitlines()[0])
    parser.add_argument("--iterations", type=int, default=1000)
    parser.add_argument("--mu", type=float, action="append", help="more than once for several; by default 10")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    trials = asked.named(parser, arguments)
    for trial in trials.values():
        if trial.encoder != "age":
            parser.error(f"{trial.folder}: is a trial of {trial.encoder}; name one of age")
    print("| trial | updates | mu | running | re-estimated | cosine of z and e(g(z)) |")
    print("|---|---|---|---|---|---|")
    for folder, trial in trials.items():
        for iterations, mu in [
            (0, trial.options["mu_x"]),
            *((arguments.iterations, mu) for mu in arguments.mu or [10.0]),
        ]:
            try:
                *errors, cosine = row(folder, trial, arguments.split, arguments.images, iterations, mu)
            except UserError as error:
                parser.error(str(error))
            cells = [f"`{trial.folder}`", str(iterations), f"{mu:g}", *(f"{error:.3f}" for error in errors)]
            print("|", " | ".join([*cells, f"{cosine:.2f}"]), "|", flush=True)


if __name__ == "__main__":
    main()
