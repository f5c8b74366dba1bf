"""Random views of a batch of pictures, as SimCLR's (Chen et al., 2020, arXiv:2002.05709, appendix A): tensor functions.

`view` draws a view: random resized crop, horizontal flip, colour jitter, grey. The functions below it do one of these
each, with parameters per picture, as `torchvision.transforms.v2.functional` defines them on floats in [0, 1].

Everything runs on the pictures' device, with shapes and control flow that do not depend on values and randomness from
the given generator alone: a training resumes exactly, and its step can be captured in a CUDA graph.

Differences from SimCLR with torchvision:
- The jitter has one order for all pictures: brightness, contrast, saturation, hue. torchvision draws an order; here
  pictures of one batch would need different orders, so each of the four steps would have to be computed four times.
- A box that does not fit is not drawn again. Its aspect ratio is drawn among those that fit, so the area share is
  exactly uniform, and `crop` = 1 is the whole picture. Boxes are not rounded to whole pixels.
- There is no blur: SimCLR leaves it out on CIFAR-10 (appendix B.9).
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

# Defaults are SimCLR's for CIFAR-10 (appendix B.9): the crop of its ImageNet training, half the jitter. Others take
# crop = 0.2 at 32 px, where 0.08 is a box of 9 x 9 pixels.
OPTIONS = {
    "crop": {
        "type": "number",
        "exclusiveMinimum": 0,
        "maximum": 1,
        "default": 0.08,
        "description": "Smallest share of the picture's area that a view shows; 1 = always the whole picture.",
    },
    "flip": {
        "type": "number",
        "minimum": 0,
        "maximum": 1,
        "default": 0.5,
        "description": "Probability that a view is flipped horizontally.",
    },
    "jitter": {
        "type": "number",
        "minimum": 0,
        "maximum": 1,
        "default": 0.5,
        "description": "Strength of the colour jitter, SimCLR's s; 4 of 5 views are jittered; 0 = none.",
    },
    "grey": {
        "type": "number",
        "minimum": 0,
        "maximum": 1,
        "default": 0.2,
        "description": "Probability that a view is grey.",
    },
}
ASPECT = 4 / 3  # widest box, width / height; the tallest is its inverse
JITTERED = 0.8  # probability that a view is jittered
STRENGTH = 0.8  # largest change of brightness, contrast and saturation, per unit of `jitter`
HUE = 0.2  # largest shift of the hue, turns of the colour circle, per unit of `jitter`
GREY = (0.2989, 0.587, 0.114)  # luma of red, green and blue, ITU-R BT.601, with torchvision's digits


def view(images: Tensor, options: Mapping[str, Any], random: torch.Generator) -> Tensor:
    """One random view per picture, each drawn independently.

    The same number of draws is taken whatever the options, so two trainings that differ in one option see views that
    otherwise agree.

    Args:
        images: float32 (B, 3, S, S) in [-1, 1].
        options: `crop`, `flip`, `jitter` and `grey`, see OPTIONS; other keys are ignored.
        random: on the pictures' device. Register it with the graph before this is captured.

    Returns:
        float32 (B, 3, S, S) in [-1, 1], in the memory format of `images`.

    Raises:
        RuntimeError: `random` is on another device.
    """
    channels_last = images.is_contiguous(memory_format=torch.channels_last)
    chances = torch.rand(11, len(images), generator=random, device=images.device)
    flipped, jittered, light, spread, colour, turn, greyed = chances[4:].unbind()
    views = images.contiguous()  # plane by plane is what the formulas below are fastest on
    if options["crop"] < 1:
        top, left, height, width = box(chances[:4], options["crop"], images.shape[-1])
        views = crop(views, top, left, height, width)
    if options["flip"] > 0:
        views = flip(views, flipped < options["flip"])
    if options["jitter"] > 0 or options["grey"] > 0:
        views = (views + 1) / 2
        if options["jitter"] > 0:
            strength = options["jitter"] * (jittered < JITTERED)  # 0 leaves a picture as it is
            views = brightness(views, 1 + STRENGTH * strength * (2 * light - 1))
            views = contrast(views, 1 + STRENGTH * strength * (2 * spread - 1))
            views = saturation(views, 1 + STRENGTH * strength * (2 * colour - 1))
            views = hue(views, HUE * strength * (2 * turn - 1))
        if options["grey"] > 0:
            views = grey(views, greyed < options["grey"])
        views = views * 2 - 1
    views = views.clamp(-1, 1)  # interpolation and hue can leave the range by a rounding error
    return views.contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)


def box(chances: Tensor, smallest: float, size: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Boxes of a random resized crop, from four uniform draws per picture.

    The area share is uniform in [smallest, 1], the aspect ratio log-uniform in [3/4, 4/3] as far as the box fits in
    the picture, the position uniform. No side is shorter than one pixel.

    Args:
        chances: (4, B) in [0, 1), the draws.
        smallest: least area share, in (0, 1].
        size: S, pixels.

    Returns:
        top, left, height, width: (B,) each, pixels, as `crop` takes them.
    """
    area, ratio, down, right = chances.unbind()
    log_area = (smallest + (1 - smallest) * area).log()
    widest = (-log_area).clamp(max=math.log(ASPECT))  # at area a and ratio r, sides are sqrt(a r) and sqrt(a / r)
    log_ratio = (2 * ratio - 1) * widest
    height = (size * ((log_area - log_ratio) / 2).exp()).clamp(1, size)
    width = (size * ((log_area + log_ratio) / 2).exp()).clamp(1, size)
    return down * (size - height), right * (size - width), height, width


def crop(images: Tensor, top: Tensor, left: Tensor, height: Tensor, width: Tensor) -> Tensor:
    """Cut a box out of each picture and resize it to the picture's size, bilinearly and without antialias.

    Nothing outside the box is read: beyond the centres of its outermost pixels, these are repeated.

    Args:
        images: (B, 3, S, S).
        top: (B,), pixels above the box; fractions of pixels are allowed here and below.
        left: (B,), pixels to the left of the box.
        height: (B,), pixels, at least 1.
        width: (B,), pixels, at least 1.
    """
    size = images.shape[-1]
    steps = (torch.arange(size, device=images.device, dtype=images.dtype) + 0.5) / size

    def positions(start: Tensor, length: Tensor) -> Tensor:
        """(B, S): where to read along one axis; -1 and 1 are the picture's edges, as `grid_sample` counts."""
        start, length = start[:, None], length[:, None]
        inside = (steps * length).clamp(min=0.5).minimum(length - 0.5)
        return 2 * (start + inside) / size - 1

    y = positions(top, height)[:, :, None].expand(-1, -1, size)
    x = positions(left, width)[:, None, :].expand(-1, size, -1)
    grid = torch.stack([x, y], dim=-1)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


def flip(images: Tensor, which: Tensor) -> Tensor:
    """Flip pictures (B, 3, S, S) horizontally where `which`, bool (B,)."""
    return torch.where(_each(which), images.flip(3), images)


def brightness(images: Tensor, factor: Tensor) -> Tensor:
    """Scale pictures: factor * x, cut off at 0 and 1.

    Args:
        images: (B, 3, S, S) in [0, 1].
        factor: (B,), at least 0; 0 is black, 1 the picture itself.
    """
    return (images * _each(factor)).clamp(0, 1)


def contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Scale the distance to the mean m of the picture's grey values: m + factor * (x - m), cut off at 0 and 1.

    Args:
        images: (B, 3, S, S) in [0, 1].
        factor: (B,), at least 0; 0 is an even grey, 1 the picture itself.
    """
    return _blend(images, luma(images).mean(dim=(2, 3), keepdim=True), factor)


def saturation(images: Tensor, factor: Tensor) -> Tensor:
    """Scale the distance to each pixel's grey value l: l + factor * (x - l), cut off at 0 and 1.

    Args:
        images: (B, 3, S, S) in [0, 1].
        factor: (B,), at least 0; 0 is the grey picture, 1 the picture itself.
    """
    return _blend(images, luma(images), factor)


def hue(images: Tensor, shift: Tensor) -> Tensor:
    """Turn the hue of HSV and keep saturation and value; grey pixels stay as they are.

    With M and m the largest and smallest channel and h the hue on a circle of length 6 (red 0, green 2, blue 4), a
    channel is m + (M - m) * share of h: red clamp(|h - 3| - 1), green clamp(2 - |h - 2|), blue clamp(2 - |h - 4|),
    each to [0, 1]. The hue is the inverse of it, by the channel that is largest.

    Args:
        images: (B, 3, S, S) in [0, 1].
        shift: (B,), turns of the circle; -0.5 and 0.5 are the complementary colour.
    """
    red, green, blue = images.unbind(1)
    high, low = red.maximum(green).maximum(blue), red.minimum(green).minimum(blue)
    chroma = high - low
    scale = 1 / chroma.clamp(min=1e-12)  # a grey pixel has no differences, and gets h = 0
    h_green, h_blue = (blue - red) * scale + 2, (red - green) * scale + 4
    h = torch.where(red == high, (green - blue) * scale, torch.where(green == high, h_green, h_blue))
    h = h + 6 * shift[:, None, None]
    h = h - 6 * (h / 6).floor()
    shares = torch.stack([(h - 3).abs() - 1, 2 - (h - 2).abs(), 2 - (h - 4).abs()], dim=1).clamp(0, 1)
    return low[:, None] + chroma[:, None] * shares


def grey(images: Tensor, which: Tensor) -> Tensor:
    """Make pictures grey, three equal channels, where `which`, bool (B,); images (B, 3, S, S) in [0, 1]."""
    return torch.where(_each(which), luma(images), images)


def luma(images: Tensor) -> Tensor:
    """Grey values 0.2989 R + 0.587 G + 0.114 B of pictures (B, 3, S, S): (B, 1, S, S)."""
    red, green, blue = images.split(1, dim=1)
    return GREY[0] * red + GREY[1] * green + GREY[2] * blue


def _blend(images: Tensor, base: Tensor, factor: Tensor) -> Tensor:
    """`base` + factor * (images - base), cut off at 0 and 1."""
    weight = _each(factor)
    return (weight * images + (1 - weight) * base).clamp(0, 1)


def _each(values: Tensor) -> Tensor:
    """(B,) -> (B, 1, 1, 1): one value per picture."""
    return values[:, None, None, None]
