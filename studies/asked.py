"""What the studies have in common: the trials that a command names, and what is made of their pictures."""

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from visrec.data.hdf5 import SPLITS
from visrec.data.images import ImageFile, read_image_info
from visrec.errors import UserError
from visrec.experiment import config_file, trials
from visrec.experiment.config import check
from visrec.experiment.layout import Experiment
from visrec.experiment.trials import Spec, Trial
from visrec.networks.stack import to_unit_range
from visrec.scoring.queries import first_by_digest
from visrec.training import models
from visrec.training.method import Method


def parser_of_all(description: str) -> argparse.ArgumentParser:
    """The arguments of a study of all trials of a config, or of all of one seed."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--configfile", type=Path, required=True)
    made.add_argument("--seed", type=int, help="only trials of this seed")
    return made


def parser(description: str) -> argparse.ArgumentParser:
    """The arguments of a study of some trials."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("trials", nargs="+", help="folders of trained trials, DATASET/SIZEpx/ENCODER/TRIAL")
    made.add_argument("--configfile", type=Path, required=True)
    made.add_argument("--split", choices=SPLITS, default="val")
    made.add_argument("--images", type=int, default=640)
    made.add_argument("--threads", type=int, default=torch.get_num_threads())
    return made


def config_of(made: argparse.ArgumentParser, configfile: Path) -> Mapping[str, Any]:
    """A config, checked; one that is wrong ends the study with one line."""
    try:
        return check(config_file.read(configfile))
    except UserError as error:
        made.error(str(error))


def experiment_of(made: argparse.ArgumentParser, arguments: argparse.Namespace) -> Experiment:
    """What the arguments of `parser_of_all` name, with its results in results/EXPERIMENT."""
    config = config_of(made, arguments.configfile)
    chosen = [trial for trial in trials.grid(config) if arguments.seed in (None, trial.seed)]
    return Experiment(Path("results") / config["experiment"], chosen, list(config["evaluators"]))


def reconstructs(trial: Trial) -> bool:
    """Whether a trial has pictures of reconstructions."""
    return "reconstructions" in trial.declared.get("PICTURES", ())


def named(
    made: argparse.ArgumentParser,
    arguments: argparse.Namespace,
    suits: Callable[[Trial], bool] = reconstructs,
    words: str = "reconstructs",
) -> Mapping[Path, Trial]:
    """The trials that the arguments name, by their folders; one of which there is none ends the study with one line.

    Args:
        made: the parser.
        arguments: what it parsed.
        suits: whether the study can be made of a trial.
        words: what such a trial does, for the line.
    """
    config = config_of(made, arguments.configfile)
    known = {trial.folder: trial for trial in trials.grid(config) if suits(trial)}
    for name in arguments.trials:
        if name not in known:
            made.error(f"{name}: is no trial of {arguments.configfile} that {words}; it has {', '.join(known)}")
    return {Path("results") / config["experiment"] / name: known[name] for name in arguments.trials}


def images_of(folder: Path) -> ImageFile:
    """The images of a trial."""
    return ImageFile(folder.parents[1] / "images.h5")


def load(folder: Path, spec: Spec) -> Method:
    """What was trained there, on the CPU, in evaluation mode and in float32."""
    info = read_image_info(images_of(folder).path)
    return models.load(spec, folder / "model.safetensors", info, torch.device("cpu"))


def pictures_of(folder: Path, split: str, count: int) -> Tensor:
    """So many pictures of a split, always the same ones: float32 (count, 3, S, S) in [-1, 1]."""
    source = images_of(folder)
    return to_unit_range(torch.from_numpy(source.images(split)[first_by_digest(source.ids(split), count)]))


def error_at(method: Method, latents: Tensor, images: Tensor) -> Tensor:
    """Mean absolute difference of pixels of g(z) and x, float32 ()."""
    return (method.decode(latents) - images).abs().mean()
