"""What limits reconstructions, the encoder or the generator?

How far is g(z) from x in the mean absolute difference, in [-1, 1], at z = e(x), and where Adam ends that goes down this
error on the sphere, starting there? For pictures of val, which no training saw, or of another split, of trials whose
latents are on the sphere, as AGE's. e(x) is with the statistics of the encoder's batch norm that training left
(running), with those of the pictures at hand, and with those of all training pictures (re-estimated).

    .venv/bin/python studies/latents.py --configfile config/cifar10_jpeg_lengths.yaml \
        'cifar10_jpeg/32px/age/lambda_z~1000+mu_x~10+iterations~5000+seed~0'
"""

import argparse
from pathlib import Path

import torch
import yaml
from torch import Tensor

from visrec.data.hdf5 import SPLITS
from visrec.data.images import ImageFile, read_image_info
from visrec.experiment import trials
from visrec.experiment.config import check
from visrec.experiment.trials import Trial
from visrec.networks.bodies import unit
from visrec.networks.stack import reestimate_batchnorm, to_unit_range
from visrec.scoring.queries import first_by_digest
from visrec.training import models
from visrec.training.method import Method

RATE = 0.01
AT_HAND = 64  # pictures whose statistics the encoder's batch norm takes, where it takes those at hand
FEW = 10  # steps after which the search is looked at, too


def error_at(method: Method, latents: Tensor, images: Tensor) -> Tensor:
    """Mean absolute difference of pixels, float32 ()."""
    return (method.decode(latents) - images).abs().mean()


def searched(method: Method, latents: Tensor, images: Tensor, steps: int) -> dict[int, Tensor]:
    """Latents on the sphere (B, M) after FEW and after all steps of Adam down the error, each picture for itself."""
    free = latents.clone().requires_grad_()
    adam, found = torch.optim.Adam([free], lr=RATE), {}
    for step in range(1, steps + 1):
        adam.zero_grad()
        (len(images) * error_at(method, unit(free), images)).backward(inputs=[free])
        adam.step()
        if step in (FEW, steps):
            found[step] = unit(free.detach())
    return found


def row(results: Path, trial: Trial, split: str, count: int, steps: int) -> list[float]:
    """Errors at the three e(x) and at the two searched z, and the mean cosine of the last z and the last e(x).

    Raises:
        ValueError: latents are not on the sphere.
    """
    images = results / f"{trial.dataset}/{trial.size}px/images.h5"
    source, info = ImageFile(images), read_image_info(images)
    method = models.load(trial.spec("train"), results / trial.folder / "model.safetensors", info, torch.device("cpu"))
    pictures = to_unit_range(torch.from_numpy(source.images(split)[first_by_digest(source.ids(split), count)]))
    with torch.no_grad():
        running = method.encoder(pictures)
        if not torch.allclose(running.norm(dim=1), torch.ones(()), atol=1e-3):
            raise ValueError(f"{trial.folder}: its latents are not on the sphere")
        method.encoder.train()
        at_hand = torch.cat([method.encoder(batch) for batch in pictures.split(AT_HAND)])
        reestimate_batchnorm(method.encoder, torch.from_numpy(source.images("train")))
        start = method.encoder(pictures)
    found = searched(method, start, pictures, steps)
    with torch.no_grad():
        errors = [error_at(method, latents, pictures) for latents in (running, at_hand, start, *found.values())]
    return [*map(float, errors), float((found[steps] * start).sum(dim=1).mean())]


def main() -> None:
    """Print a table of errors."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("trials", nargs="+", help="folders of trained trials, DATASET/SIZEpx/ENCODER/TRIAL")
    parser.add_argument("--configfile", type=Path, required=True)
    parser.add_argument("--split", choices=SPLITS, default="val")
    parser.add_argument("--images", type=int, default=640)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    config = yaml.safe_load(arguments.configfile.read_text())
    config |= check(config)
    known = {
        trial.folder: trial for trial in trials.grid(config) if "reconstructions" in trial.declared.get("PICTURES", ())
    }
    for name in arguments.trials:
        if name not in known:
            parser.error(f"{name}: is no trial of {arguments.configfile} that reconstructs; it has {', '.join(known)}")
    if arguments.steps <= FEW:
        parser.error(f"--steps {arguments.steps}: take more than {FEW}")
    last = f"z, {arguments.steps} steps"
    print(f"| trial | running | at hand | re-estimated | z, {FEW} steps | {last} | cosine of this z and e(x) |")
    print("|---|---|---|---|---|---|---|")
    for name in arguments.trials:
        try:
            results = Path("results") / config["experiment"]
            found = row(results, known[name], arguments.split, arguments.images, arguments.steps)
        except ValueError as error:
            parser.error(str(error))
        *errors, cosine = found
        print("|", " | ".join([f"`{name}`", *(f"{error:.3f}" for error in errors), f"{cosine:.2f}"]), "|", flush=True)


if __name__ == "__main__":
    main()
