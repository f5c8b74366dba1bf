"""ResNet-18 (He et al., arXiv:1512.03385) for small pictures: torchvision's, with another stem.

The stem of the paper takes pictures of 224 px to a quarter of their side, with a 7x7 convolution and a pooling. Here it
is one 3x3 convolution that leaves 32 x 32: of stride 1 at 32 px, as is usual on CIFAR-10, and of stride 2 at 64 px. So
the maps after the four stages are 32, 16, 8 and 4 wide, the last as large as that of the other bodies, at both sizes.
"""

import torch
from torch import Tensor, nn
from torchvision.models import resnet18

from visrec.networks.bodies import unit

SIDE = 32  # of the stem's maps
SIZES = (32, 64)


class ResNet18(nn.Module):
    """e: images (B, 3, S, S) in [-1, 1] -> latents (B, M) on the unit sphere.

    Weights are torchvision's initial ones: those of the convolutions as in the paper (He initialisation, by fan-out).

    Attributes:
        stem: images -> (B, 64, 32, 32).
        stages: two residual blocks each; the hidden layers.
        head: the linear layer that makes the latent of the averaged last map.
    """

    def __init__(self, size: int, latent: int):
        """S and M.

        Raises:
            ValueError: no such size.
        """
        super().__init__()
        if size not in SIZES:
            raise ValueError(f"resnet18 is there for {' and '.join(map(str, SIZES))} px, not for {size} px")
        net = resnet18(weights=None, num_classes=latent)
        first = nn.Conv2d(3, 64, 3, stride=size // SIDE, padding=1, bias=False)
        nn.init.kaiming_normal_(first.weight, mode="fan_out", nonlinearity="relu")
        self.stem = nn.Sequential(first, net.bn1, net.relu)
        self.stages = nn.ModuleList([net.layer1, net.layer2, net.layer3, net.layer4])
        self.head = net.fc

    def hidden(self, x: Tensor) -> list[Tensor]:
        """The maps after every stage, (B, 64, 32, 32) to (B, 512, 4, 4) after their activation, first to last."""
        x = self.stem(x)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps

    def latent(self, last: Tensor) -> Tensor:
        """The output (B, M) from the last hidden map (B, 512, 4, 4), computed in float32 on the sphere."""
        return unit(self.head(last.mean(dim=(2, 3))).float())

    def forward(self, x: Tensor) -> Tensor:
        """The latents (B, M) of the images (B, 3, S, S)."""
        return self.latent(self.hidden(x)[-1])


def build_resnet18(size: int, latent: int, seed: int) -> ResNet18:
    """The untrained network of a seed, in float32 on the CPU; global random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ResNet18(size, latent)
