"""What limits reconstructions, the encoder or the generator?

How far is g(z) from x in the mean absolute difference, in [-1, 1], at z = e(x), and where Adam ends that goes down this
error on the sphere, starting there? For pictures of val, which no training saw, or of another split, of trials whose
latents are on the sphere, as AGE's. e(x) is with the statistics of the encoder's batch norm that training left
(running), with those of the pictures at hand, and with those of all training pictures (re-estimated).

    .venv/bin/python studies/latents.py --configfile config/cifar10_jpeg_lengths.yaml \
        'cifar10_jpeg/32px/age/lambda_z~1000+mu_x~10+iterations~5000+seed~0'
"""

from pathlib import Path

import asked
import torch
from torch import Tensor

from visrec.errors import UserError
from visrec.experiment.trials import Trial
from visrec.networks.bodies import unit
from visrec.networks.stack import reestimate_batchnorm
from visrec.training.method import Method

RATE = 0.01
AT_HAND = 64  # pictures whose statistics the encoder's batch norm takes, where it takes those at hand
FEW = 10  # steps after which the search is looked at, too


def searched(method: Method, latents: Tensor, images: Tensor, steps: int) -> dict[int, Tensor]:
    """Latents on the sphere (B, M) after FEW and after all steps of Adam down the error, each picture for itself."""
    free = latents.clone().requires_grad_()
    adam, found = torch.optim.Adam([free], lr=RATE), {}
    for step in range(1, steps + 1):
        adam.zero_grad()
        (len(images) * asked.error_at(method, unit(free), images)).backward(inputs=[free])
        adam.step()
        if step in (FEW, steps):
            found[step] = unit(free.detach())
    return found


def row(folder: Path, trial: Trial, split: str, count: int, steps: int) -> list[float]:
    """Errors at the three e(x) and at the two searched z, and the mean cosine of the last z and the last e(x).

    Raises:
        ValueError: latents are not on the sphere.
    """
    method, pictures = asked.load(folder, trial.spec("train")), asked.pictures_of(folder, split, count)
    with torch.no_grad():
        running = method.encoder(pictures)
        if not torch.allclose(running.norm(dim=1), torch.ones(()), atol=1e-3):
            raise ValueError(f"{folder}: its latents are not on the sphere")
        method.encoder.train()
        at_hand = torch.cat([method.encoder(batch) for batch in pictures.split(AT_HAND)])
        reestimate_batchnorm(method.encoder, torch.from_numpy(asked.images_of(folder).images("train")))
        start = method.encoder(pictures)
    found = searched(method, start, pictures, steps)
    with torch.no_grad():
        errors = [asked.error_at(method, latents, pictures) for latents in (running, at_hand, start, *found.values())]
    return [*map(float, errors), float((found[steps] * start).sum(dim=1).mean())]


def main() -> None:
    """Print a table of errors."""
    parser = asked.parser(__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=100)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.steps <= FEW:
        parser.error(f"--steps {arguments.steps}: take more than {FEW}")
    last = f"z, {arguments.steps} steps"
    trials = asked.named(parser, arguments)
    print(f"| trial | running | at hand | re-estimated | z, {FEW} steps | {last} | cosine of this z and e(x) |")
    print("|---|---|---|---|---|---|---|")
    for folder, trial in trials.items():
        try:
            found = row(folder, trial, arguments.split, arguments.images, arguments.steps)
        except (UserError, ValueError) as error:
            parser.error(str(error))
        *errors, cosine = found
        print(
            "|",
            " | ".join([f"`{trial.folder}`", *(f"{error:.3f}" for error in errors), f"{cosine:.2f}"]),
            "|",
            flush=True,
        )


if __name__ == "__main__":
    main()
