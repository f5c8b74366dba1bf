"""The encoder and generator of Adversarial Generator-Encoder networks, layer by layer.

Two architectures, both with base width 64 (Ulyanov et al., "It takes (only) two", arXiv:1704.02304, and its published
code; Radford et al., DCGAN, arXiv:1511.06434), or with `width` times as many channels in every layer:

- `dcgan`: encoder and generator mirror each other. Every map is half as wide and high and twice as deep as the one
  before it, down to 4x4, which one 4x4 convolution turns into the latent.
- `reference`: the AGE authors' own. At 64 px it is the same pair without the generator's output bias. At 32 px the
  encoder's head is a strided convolution averaged over 2x2, and the generator is wider and ends in a 1x1 convolution.
"""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WIDTH = 64
LEAK = 0.2
ARCHITECTURES = ("dcgan", "reference")

# Options of the encoders that embed such a network, see `OPTIONS_OF` in docs/adding-an-encoder.md.
OPTIONS = {
    "architecture": {
        "enum": ["dcgan", "reference"],
        "default": "dcgan",
        "description": "Encoder and generator mirror each other, or the AGE authors' tables.",
    },
    "width": {
        "type": "integer",
        "minimum": 1,
        "maximum": 16,
        "default": 1,
        "description": "How many times as many channels every layer has; the stack grows with them.",
    },
    "latent": {
        "type": "integer",
        "minimum": 2,
        "maximum": 65536,
        "default": 128,
        "description": "M, the length of the encoder's output.",
    },
}


def unit(x: Tensor) -> Tensor:
    """Rows of (B, M) brought to the unit sphere: x / ||x||_2, without an epsilon."""
    return x / x.norm(dim=1, keepdim=True)


def flat(maps: Tensor) -> Tensor:
    """A head's maps (B, M, H, W), mostly 1x1, averaged over their positions: (B, M), float32."""
    return maps.mean(dim=(2, 3)).float()


def _down(inputs: int, outputs: int, batchnorm: bool = True) -> nn.Sequential:
    """A block that halves the map: (B, inputs, S, S) -> (B, outputs, S/2, S/2)."""
    layers = [nn.Conv2d(inputs, outputs, 4, stride=2, padding=1, bias=False)]
    if batchnorm:
        layers.append(nn.BatchNorm2d(outputs))
    return nn.Sequential(*layers, nn.LeakyReLU(LEAK, inplace=True))


def _up(inputs: int, outputs: int, first: bool = False) -> nn.Sequential:
    """A block that doubles the map; the first one makes 4x4 of 1x1."""
    return nn.Sequential(
        _From1x1(inputs, outputs, 4, bias=False)
        if first
        else nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class _To1x1(nn.Conv2d):
    """A 4x4 convolution of 4x4 maps, (B, inputs, 4, 4) -> (B, outputs, 1, 1), as the one product of matrices it is.

    With the convolution's own kernels a whole training step took 1.1 times as long on a CPU. In channels_last, in which
    the nets are trained, both operands are views.
    """

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight.permute(0, 2, 3, 1).flatten(1)
        return F.linear(x.permute(0, 2, 3, 1).flatten(1), weight, self.bias)[:, :, None, None]


class _From1x1(nn.ConvTranspose2d):
    """A transposed 4x4 convolution of 1x1 maps, (B, inputs, 1, 1) -> (B, outputs, 4, 4), as one product of matrices."""

    def forward(self, z: Tensor) -> Tensor:
        inputs, outputs, height, width = self.weight.shape
        maps = z.flatten(1) @ self.weight.permute(0, 2, 3, 1).reshape(inputs, -1)
        return maps.view(-1, height, width, outputs).permute(0, 3, 1, 2)


def _depth(size: int) -> int:
    """Number of halvings from `size` to 4x4."""
    depth = round(math.log2(size / 4))
    if depth < 3 or 4 * 2**depth != size:
        raise ValueError(f"AGE networks exist for 32, 64, 128 ... px, not for {size} px")
    return depth


class Encoder(nn.Module):
    """e: images (B, 3, S, S) in [-1, 1] -> latents (B, M) on the unit sphere.

    Attributes:
        blocks: the hidden layers; block i gives a map of depth width * 64 * 2^i, the last one is 4x4.
        head: the layer that makes the latent.
    """

    def __init__(self, size: int, latent: int, architecture: str = "dcgan", width: int = 1):
        super().__init__()
        widths = [width * WIDTH * 2**i for i in range(_depth(size))]
        self.blocks = nn.ModuleList(
            _down(inputs, outputs, batchnorm=i > 0)
            for i, (inputs, outputs) in enumerate(zip([3, *widths[:-1]], widths, strict=True))
        )
        strided_head = architecture == "reference" and size == 32
        self.head = (
            nn.Conv2d(widths[-1], latent, 4, stride=2, padding=1) if strided_head else _To1x1(widths[-1], latent, 4)
        )

    def hidden(self, x: Tensor) -> list[Tensor]:
        """The maps after every block, (B, C_i, S_i, S_i) after their activation, first to last."""
        maps = []
        for block in self.blocks:
            x = block(x)
            maps.append(x)
        return maps

    def latent(self, last: Tensor) -> Tensor:
        """The output (B, M) from the last hidden map (B, C, 4, 4), computed in float32 on the sphere."""
        return unit(flat(self.head(last)))

    def forward(self, x: Tensor) -> Tensor:
        """The latents (B, M) of the images (B, 3, S, S)."""
        return self.latent(self.hidden(x)[-1])


class Generator(nn.Module):
    """g: latents (B, M) on the unit sphere -> images (B, 3, S, S) in [-1, 1]."""

    def __init__(self, size: int, latent: int, architecture: str = "dcgan", width: int = 1):
        super().__init__()
        if architecture == "reference" and size == 32:
            widths = [width * channels for channels in (512, 256, 128, 128)]
            output: nn.Module = nn.Conv2d(widths[-1], 3, 1)
        else:
            widths = [width * WIDTH * 2**i for i in reversed(range(_depth(size)))]
            output = nn.ConvTranspose2d(widths[-1], 3, 4, stride=2, padding=1, bias=architecture == "dcgan")
        self.blocks = nn.Sequential(
            _up(latent, widths[0], first=True),
            *(_up(inputs, outputs) for inputs, outputs in pairwise(widths)),
        )
        self.output = output

    def forward(self, z: Tensor) -> Tensor:
        """The images (B, 3, S, S) of the latents (B, M)."""
        return torch.tanh(self.output(self.blocks(z[:, :, None, None])))


def _initialise(net: nn.Module) -> None:
    """Weights N(0, 0.02^2), batch norm weights N(1, 0.02^2) and biases 0; other biases stay at the framework's."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, 0.0, 0.02)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.02)
            nn.init.zeros_(module.bias)


def build(size: int, latent: int, architecture: str, seed: int, width: int = 1) -> tuple[Encoder, Generator]:
    """The untrained pair of a seed, in float32 on the CPU; global random state is left as it was.

    Args:
        size: S, pixels: 32, 64, 128 ... ("reference" is tabled for 32 and 64).
        latent: M.
        architecture: "dcgan" or "reference".
        seed: of the weights.
        width: how many times as many channels every layer has.

    Raises:
        ValueError: no such size or architecture.
    """
    if architecture not in ARCHITECTURES:
        raise ValueError(f"architecture '{architecture}' is not one of {', '.join(ARCHITECTURES)}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        pair = Encoder(size, latent, architecture, width), Generator(size, latent, architecture, width)
        for net in pair:
            _initialise(net)
    return pair
