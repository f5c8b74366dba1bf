"""The body of an encoder that has no generator: any network that there is.

Encoders with a generator share the options of group `body` instead, `visrec.networks.bodies`: there `architecture`
names two networks, and ResNet-18 has no generator that mirrors it.
"""

from torch import nn

from visrec.errors import UserError
from visrec.networks import bodies

# Options of group `any_body`, see `OPTIONS_OF` in docs/adding-an-encoder.md.
OPTIONS = {
    "architecture": {
        "enum": ["dcgan", "reference", "resnet18"],
        "default": "dcgan",
        "description": "The network: DCGAN's encoder, the AGE authors', or ResNet-18 with a stem for small pictures.",
    },
    "width": {
        "type": "integer",
        "minimum": 1,
        "maximum": 16,
        "default": 1,
        "description": "How many times as many channels every layer has; the stack grows with them. Not of resnet18.",
    },
    "latent": {
        "type": "integer",
        "minimum": 2,
        "maximum": 65536,
        "default": 128,
        "description": "M, the length of the encoder's output.",
    },
}


def build_encoder(size: int, latent: int, architecture: str, seed: int, width: int = 1) -> nn.Module:
    """The untrained network of a seed, in float32 on the CPU; global random state is left as it was.

    Args:
        size: S, pixels: 32 or 64.
        latent: M.
        architecture: "dcgan", "reference" or "resnet18".
        seed: of the weights.
        width: how many times as many channels every layer has.

    Returns:
        images (B, 3, S, S) in [-1, 1] -> (B, M) on the unit sphere, with `hidden` and `latent`, see
        `visrec.training.method.Method`.

    Raises:
        ValueError: no such size or architecture.
        UserError: a ResNet-18 of another width.
    """
    if architecture == "resnet18":
        if width != 1:
            raise UserError(f"width: {width} is not there for architecture resnet18; leave `width` out, or take dcgan")
        from visrec.networks.resnet import build_resnet18  # torchvision takes seconds to import

        return build_resnet18(size, latent, seed)
    encoder, _ = bodies.build(size, latent, architecture, seed, width)
    return encoder
