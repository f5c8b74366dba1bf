"""What limits reconstructions, the encoder or the generator?

For pictures of val, which no training saw: how far is g(z) from x in the mean absolute difference, in [-1, 1], at
z = e(x), and at the best z that Adam finds on the sphere, starting there? Of trials whose latents are on it, as AGE's.
e(x) is with the statistics of the encoder's batch norm that training left, with those of the pictures at hand, and with
those of all training pictures.

    .venv/bin/python benchmarks/latents.py --configfile config/cifar10_jpeg_lengths.yaml \
        'age/lambda_z~1000+mu_x~10+iterations~5000+seed~0'
"""

import argparse
from pathlib import Path

import torch
import yaml
from table import machine
from torch import Tensor

from visrec.data.images import ImageFile, read_image_info
from visrec.experiment import trials
from visrec.experiment.config import check
from visrec.networks.bodies import unit
from visrec.networks.stack import reestimate_batchnorm, to_unit_range
from visrec.scoring.queries import first_by_digest
from visrec.training import models
from visrec.training.method import Method

RATE = 0.01
AT_HAND = 64  # pictures whose statistics the encoder's batch norm takes, where it takes those at hand


def error_at(method: Method, latents: Tensor, images: Tensor) -> Tensor:
    """Mean absolute difference of pixels, float32 ()."""
    return (method.decode(latents) - images).abs().mean()


def searched(method: Method, latents: Tensor, images: Tensor, steps: int) -> dict[int, Tensor]:
    """Latents on the sphere (B, M) after 10 and after all steps of Adam down the error, each picture for itself."""
    free = latents.clone().requires_grad_()
    adam, found = torch.optim.Adam([free], lr=RATE), {}
    for step in range(1, steps + 1):
        adam.zero_grad()
        (len(images) * error_at(method, unit(free), images)).backward(inputs=[free])
        adam.step()
        if step in (10, steps):
            found[step] = unit(free.detach())
    return found


def main() -> None:
    """Print a table of errors."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("trials", nargs="+", help="ENCODER/TRIAL, a trained one of the config")
    parser.add_argument("--configfile", type=Path, required=True)
    parser.add_argument("--images", type=int, default=640)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    config = yaml.safe_load(arguments.configfile.read_text())
    config |= check(config)
    known = {f"{trial.encoder}/{trial.name}": trial for trial in trials.grid(config)}
    print(machine())
    print(
        "| trial | e(x), running | e(x), at hand | e(x), re-estimated | z, 10 steps | z, all steps | cosine of both |"
    )
    print("|---|---|---|---|---|---|---|")
    for name in arguments.trials:
        if name not in known:
            parser.error(f"{name}: is no trial of {arguments.configfile}; it has {', '.join(known)}")
        trial = known[name]
        folder = Path("results") / config["experiment"] / trial.dataset / f"{trial.size}px"
        source, info = ImageFile(folder / "images.h5"), read_image_info(folder / "images.h5")
        method = models.load(trial.spec("train"), folder / name / "model.safetensors", info, torch.device("cpu"))
        rows = first_by_digest(source.ids("val"), arguments.images)
        pictures = to_unit_range(torch.from_numpy(source.images("val")[rows]))
        with torch.no_grad():
            errors = [error_at(method, method.encoder(pictures), pictures)]
            method.encoder.train()
            at_hand = torch.cat([method.encoder(batch) for batch in pictures.split(AT_HAND)])
            errors.append(error_at(method, at_hand, pictures))
            reestimate_batchnorm(method.encoder, torch.from_numpy(source.images("train")))
            start = method.encoder(pictures)
            errors.append(error_at(method, start, pictures))
        found = searched(method, start, pictures, arguments.steps)
        with torch.no_grad():
            errors += [error_at(method, latents, pictures) for latents in found.values()]
        cosine = (found[arguments.steps] * start).sum(dim=1).mean()
        print("|", " | ".join([f"`{name}`", *(f"{error:.3f}" for error in errors), f"{cosine:.2f}"]), "|", flush=True)


if __name__ == "__main__":
    main()
