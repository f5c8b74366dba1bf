"""Trained models from their files: the whole method, or the maps and features of the network that is embedded."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from visrec.data.images import ImageFile, ImageInfo, read_image_info
from visrec.data.models import read_weights
from visrec.errors import UserError
from visrec.experiment import registry
from visrec.experiment.trials import Spec
from visrec.networks import stack
from visrec.training.method import Method, Setup, make


def setup(spec: Spec, info: ImageInfo, device: torch.device) -> Setup:
    """What a method is built for, on the images of a dataset."""
    sees_labels = registry.declared("encoders", spec.encoder).get("LABELS", False)
    return Setup(spec.options, info.size, spec.seed, device, len(info.classes) if sees_labels else 0)


def load(spec: Spec, model: str | Path, info: ImageInfo, device: torch.device) -> Method:
    """A trained method in evaluation mode and in float32, whatever it was trained in.

    Args:
        spec: what made the model.
        model: model.safetensors.
        info: of the images that it was trained on.
        device: where to compute.

    Raises:
        UserError: the file is missing, damaged or of another method.
    """
    kind = registry.load("encoders", spec.encoder).Training
    in_float32 = Spec(spec.encoder, {**spec.options, "precision": "fp32"}, spec.seed)
    method = make(kind, setup(in_float32, info, device))
    weights = {name: torch.from_numpy(values) for name, values in read_weights(model).items()}
    try:
        method.load_state_dict(weights)
    except RuntimeError as error:
        raise UserError(f"{model}: cannot be read as a model of {spec.encoder}; delete it and train again") from error
    return method.eval()


def maps(
    spec: Spec, model: str | Path | None, source: ImageFile, device: torch.device, batchnorm: str
) -> Callable[[np.ndarray], dict[str, Tensor]]:
    """A function uint8 (B, 3, S, S) -> every map of the network that is embedded, see `visrec.networks.stack`.

    Args:
        spec: what made the model.
        model: model.safetensors; None for encoders that are not trained.
        source: images.h5.
        device: where to compute.
        batchnorm: "running" or "reestimated" statistics.
    """
    component = registry.load("encoders", spec.encoder)
    if hasattr(component, "Training"):
        encoder = load(spec, model, read_image_info(source.path), device).encoder
        return stack.feature_maps(encoder, source, batchnorm, device)
    return component.maps(model, source, spec.options, spec.seed, device, batchnorm)


def extractor(
    spec: Spec, model: str | Path, source: ImageFile, device: torch.device
) -> Callable[[np.ndarray, np.ndarray], dict[str, np.ndarray]]:
    """A function uint8 (B, 3, S, S), ids (B,) -> {layer: float32 (B, D_layer)} of a trained encoder.

    Args:
        spec: what made the model, with the options of stage embed.
        model: model.safetensors.
        source: images.h5.
        device: where to compute.
    """
    return stack.extractor(maps(spec, model, source, device, spec.options["batchnorm"]), spec.options["pooling"])
