import ast
import colorsys
import math
from pathlib import Path

import jsonschema
import pytest
import torch
from scipy import stats
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision.transforms.v2 import functional as torchvision

from visrec.training import views

DEFAULTS = {name: option["default"] for name, option in views.OPTIONS.items()}
NOTHING = {"crop": 1, "flip": 0, "jitter": 0, "grey": 0}
LAST, PLAIN = torch.channels_last, torch.contiguous_format


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(batch: int, size: int = 32, seed: int = 0) -> Tensor:
    """In [0, 1]. The first ones have corners of the RGB cube and greys among their pixels, where hue is delicate."""
    images = torch.rand(batch, 3, size, size, generator=generator(seed))
    corners = torch.tensor([[r, g, b] for r in (0.0, 1.0) for g in (0.0, 1.0) for b in (0.0, 1.0)])
    greys = torch.tensor([0.0, 1e-6, 0.2, 0.5, 1.0])[:, None].expand(-1, 3)
    ties = torch.tensor([[0.7, 0.7, 0.1], [0.7, 0.1, 0.7], [0.1, 0.7, 0.7], [0.3, 0.3, 0.9], [0.9, 0.3, 0.3]])
    nearly_grey = torch.tensor([[0.5, 0.5002, 0.5004], [0.2001, 0.2, 0.2]])
    pixels = torch.cat([corners, greys, ties, nearly_grey])
    images[0, :, 0, : len(pixels)] = pixels.T
    for image, level in zip(images[1:], (0.0, 1.0, 0.4), strict=False):
        image[:] = level
    return images


def assert_each(computed: Tensor, images: Tensor, expected, *parameters: Tensor, atol: float = 1e-5) -> None:
    """Picture by picture, `computed` is what torchvision makes of it with these parameters."""
    for one, image, *values in zip(computed, images, *parameters, strict=True):
        torch.testing.assert_close(one, expected(image, *(value.item() for value in values)), rtol=0, atol=atol)


def test_options_are_literals_that_their_own_schema_accepts():
    tree = ast.parse(Path(views.__file__).read_text(encoding="utf-8"))
    (node,) = [each for each in tree.body if isinstance(each, ast.Assign) and each.targets[0].id == "OPTIONS"]
    assert ast.literal_eval(node.value) == views.OPTIONS
    assert list(views.OPTIONS) == ["crop", "flip", "jitter", "grey"]
    for option in views.OPTIONS.values():
        jsonschema.validate(option["default"], option)
        assert option["description"].endswith(".")


@pytest.mark.parametrize("size", [24, 32, 64])
def test_crop_is_torchvisions_on_whole_pixels(size):
    images = pictures(40, size)
    random = generator(1)
    height, width = torch.randint(1, size + 1, (2, 40), generator=random)
    height[:4], width[:4] = torch.tensor([size, 1, 1, size]), torch.tensor([size, 1, size, 1])
    top = (torch.rand(40, generator=random) * (size - height + 1)).long()
    left = (torch.rand(40, generator=random) * (size - width + 1)).long()
    computed = views.crop(images, top.float(), left.float(), height.float(), width.float())
    assert_each(
        computed,
        images,
        lambda image, *where: torchvision.resized_crop(image, *where, [size, size], antialias=False),
        top,
        left,
        height,
        width,
    )


def test_crop_reads_nothing_outside_the_box():
    images = torch.full((2, 3, 32, 32), 1e6)
    images[0, :, 5:12, 8:31], images[1, :, :20, 30:] = 0.25, 0.5
    top, left, height, width = torch.tensor([[5.0, 0.0], [8.0, 30.0], [7.0, 20.0], [23.0, 2.0]])
    computed = views.crop(images, top, left, height, width)
    torch.testing.assert_close(computed, torch.tensor([0.25, 0.5])[:, None, None, None].expand(2, 3, 32, 32))


def test_crop_of_fractions_of_a_pixel_against_plain_loops():
    image = torch.rand(1, 3, 8, 8, generator=generator(), dtype=torch.float64)
    top, left, height, width = 1.3, 2.6, 4.5, 3.2
    computed = views.crop(image, *(torch.tensor([value], dtype=torch.float64) for value in (top, left, height, width)))
    for i in range(8):
        for j in range(8):
            y = top + min(max((i + 0.5) * height / 8 - 0.5, 0), height - 1)
            x = left + min(max((j + 0.5) * width / 8 - 0.5, 0), width - 1)
            row, column = math.floor(y), math.floor(x)
            expected = sum(
                (1 - abs(y - r)) * (1 - abs(x - c)) * image[0, :, r, c]
                for r in (row, row + 1)
                for c in (column, column + 1)
            )
            torch.testing.assert_close(computed[0, :, i, j], expected)


def test_flip_is_torchvisions():
    images, which = pictures(8), torch.tensor([True, False] * 4)
    assert_each(
        views.flip(images, which),
        images,
        lambda image, flipped: torchvision.horizontal_flip(image) if flipped else image,
        which,
        atol=0,
    )


@pytest.mark.parametrize(
    "computed, expected",
    [
        (views.brightness, torchvision.adjust_brightness),
        (views.contrast, torchvision.adjust_contrast),
        (views.saturation, torchvision.adjust_saturation),
    ],
)
def test_jitter_is_torchvisions(computed, expected):
    images = pictures(20)
    factor = torch.cat([torch.tensor([0.0, 0.2, 1.0, 1.8]), torch.rand(16, generator=generator(2)) * 2])
    for shift in range(4):  # so that each delicate picture meets each end
        assert_each(computed(images, factor.roll(shift)), images, expected, factor.roll(shift))
    torch.testing.assert_close(computed(images, torch.ones(20)), images, rtol=0, atol=1e-7)


def test_hue_is_torchvisions():
    images = pictures(20)
    shift = torch.cat([torch.tensor([-0.5, 0.0, 0.5, 1 / 6, -1 / 3]), torch.rand(15, generator=generator(2)) - 0.5])
    for roll in range(5):
        assert_each(views.hue(images, shift.roll(roll)), images, torchvision.adjust_hue, shift.roll(roll))
    for turns in (0.0, 1.0):
        torch.testing.assert_close(views.hue(images, torch.full((20,), turns)), images, rtol=0, atol=2e-6)


def test_hue_leaves_grey_exactly_as_it_is():
    greys = torch.rand(6, 1, 4, 4, generator=generator()).expand(-1, 3, -1, -1)
    assert torch.equal(views.hue(greys, torch.linspace(-0.5, 0.5, 6)), greys)


def test_hue_against_the_standard_library():
    images, shift = pictures(1), 0.13
    computed = views.hue(images, torch.tensor([shift]))[0].flatten(1).T
    for pixel, turned in zip(images[0].flatten(1).T.tolist(), computed.tolist(), strict=True):
        h, s, v = colorsys.rgb_to_hsv(*pixel)
        assert turned == pytest.approx(colorsys.hsv_to_rgb((h + shift) % 1, s, v), abs=1e-5)


def test_grey_is_torchvisions():
    images, which = pictures(8), torch.tensor([True, True, False, True] * 2)
    assert_each(
        views.grey(images, which),
        images,
        lambda image, made: torchvision.rgb_to_grayscale(image, num_output_channels=3) if made else image,
        which,
    )


def test_views_of_one_picture_differ():
    same = (pictures(1) * 2 - 1).expand(64, -1, -1, -1)
    seen = views.view(same, DEFAULTS, generator()).flatten(1)
    distance = torch.cdist(seen, seen) + torch.eye(64) * 100
    assert distance.min() > 0.1


def test_the_generator_decides_alone():
    images = pictures(16) * 2 - 1
    random = generator(3)
    first = views.view(images, DEFAULTS, random)
    state = random.get_state()
    second = views.view(images, DEFAULTS, random)
    torch.rand(5)  # torch's own generator has no say
    assert torch.equal(views.view(images, DEFAULTS, generator(3)), first)
    random.set_state(state)
    assert torch.equal(views.view(images, DEFAULTS, random), second)
    assert not torch.equal(first, second)
    assert not torch.equal(views.view(images, DEFAULTS, generator(4)), first)


@pytest.mark.parametrize("option, value", [("crop", 1), ("flip", 0), ("jitter", 0), ("grey", 0)])
def test_all_options_take_as_many_draws(option, value):
    one, other = generator(), generator()
    views.view(pictures(4), DEFAULTS, one)
    views.view(pictures(4), DEFAULTS | {option: value}, other)
    assert torch.equal(one.get_state(), other.get_state())


@pytest.mark.parametrize("layout", [PLAIN, LAST])
@pytest.mark.parametrize("options", [DEFAULTS, NOTHING, DEFAULTS | {"jitter": 0, "grey": 0, "crop": 1}])
def test_shape_dtype_memory_format_and_range_stay(layout, options):
    images = (pictures(32) * 2 - 1).contiguous(memory_format=layout)
    before = images.clone()
    seen = views.view(images, options, generator())
    assert (seen.shape, seen.dtype, seen.stride()) == (images.shape, torch.float32, images.stride())
    assert torch.equal(images, before)
    assert seen.min() >= -1 and seen.max() <= 1
    assert torch.equal(seen, views.view(images.contiguous(), options, generator()))


@pytest.mark.parametrize("options", [DEFAULTS, DEFAULTS | {"jitter": 0, "grey": 0}, DEFAULTS | {"jitter": 1}])
@pytest.mark.parametrize("levels", [1, 2])
def test_black_and_white_stay_in_range(options, levels):
    # At 33 px some bilinear weights add up to more than 1.
    images = 1 - 2.0 * torch.randint(0, levels, (256, 3, 33, 33), generator=generator())
    seen = views.view(images, options, generator())
    assert seen.min() >= -1 and seen.max() <= 1


def test_with_everything_off_a_view_is_the_picture():
    images = pictures(16) * 2 - 1
    assert torch.equal(views.view(images, NOTHING, generator()), images)


def test_a_crop_of_1_is_the_whole_picture():
    where = views.box(torch.rand(4, 100, generator=generator()), 1.0, 32)
    for value, expected in zip(where, (0.0, 0.0, 32.0, 32.0), strict=True):
        assert torch.equal(value, torch.full((100,), expected))
    images = pictures(100)
    torch.testing.assert_close(views.crop(images, *where), images, rtol=0, atol=1e-6)


def follows_uniform(sample: Tensor, low: float, high: float) -> bool:
    """Kolmogorov-Smirnov at 0.1 %."""
    return stats.kstest(sample.numpy(), stats.uniform(low, high - low).cdf).pvalue > 1e-3


@pytest.mark.parametrize("smallest", [0.08, 0.5])
def test_boxes_follow_their_law(smallest):
    top, left, height, width = views.box(torch.rand(4, 20_000, generator=generator(5)), smallest, 32)
    for start, length in ((top, height), (left, width)):
        assert start.min() >= 0 and (start + length).max() <= 32 + 1e-4
        assert follows_uniform((start / (32 - length))[length < 31.9], 0, 1)
    draws = torch.stack([top / (32 - height), left / (32 - width), height * width, (width / height).log()])
    assert (torch.corrcoef(draws[:, (height < 31.9) & (width < 31.9)]) - torch.eye(4)).abs().max() < 0.03
    share = height * width / 32**2
    assert share.mean().item() == pytest.approx((1 + smallest) / 2, abs=4 * (1 - smallest) / math.sqrt(12 * 20_000))
    assert follows_uniform(share, smallest, 1)
    ratio = width / height
    widest = (1 / share).clamp(max=4 / 3).log()  # the box must fit
    assert (ratio.log().abs() <= widest + 1e-5).all()
    assert follows_uniform((ratio.log() / widest)[share < 0.99], -1, 1)


def test_no_side_is_shorter_than_a_pixel():
    _, _, height, width = views.box(torch.rand(4, 1000, generator=generator()), 1e-6, 8)
    assert height.min() >= 1 and width.min() >= 1


def changed(option: str, value: float, image: Tensor, count: int = 4000) -> Tensor:
    """Of many views with one option on, which differ from the picture."""
    same = image.expand(count, -1, -1, -1)
    seen = views.view(same, NOTHING | {option: value}, generator(6))
    return (seen - same).abs().amax(dim=(1, 2, 3)) > 1e-5


@pytest.mark.parametrize(
    "option, value, share",
    [("flip", 0.5, 0.5), ("flip", 0.1, 0.1), ("flip", 1, 1), ("grey", 0.2, 0.2), ("grey", 1, 1), ("jitter", 0.5, 0.8)],
)
def test_shares_are_the_probabilities(option, value, share):
    image = pictures(1, size=20) * 2 - 1
    found = changed(option, value, image).float().mean().item()
    assert found == pytest.approx(share, abs=4 * math.sqrt(share * (1 - share) / 4000))


@pytest.mark.parametrize("strength", [0.25, 0.5])
def test_the_jitter_follows_its_law(strength):
    """One picture of two greys and a colour tells the four factors of each view apart."""
    low, high, colour = 0.3, 0.5, (0.5, 0.4, 0.4)
    image = torch.tensor([[low] * 3, [high] * 3, colour, colour]).T.reshape(1, 3, 2, 2)
    mean = views.luma(image).mean().item()
    seen = views.view(image.expand(6000, -1, -1, -1) * 2 - 1, NOTHING | {"jitter": strength}, generator(7))
    seen = (seen.double() + 1) / 2
    seen = seen[(seen - image).abs().amax(dim=(1, 2, 3)) > 1e-5]
    first, second, third = seen[:, 0, 0, 0], seen[:, 0, 0, 1], seen[:, :, 1, 0]
    # Greys a become m b + c (a b - m b), with m the mean luma; a colour's range is scaled by b c s, its hue shifted.
    brightness_contrast = (second - first) / (high - low)
    light = (first + second - brightness_contrast * (low + high - 2 * mean)) / (2 * mean)
    spread = brightness_contrast / light
    colourful = (third.amax(1) - third.amin(1)) / (max(colour) - min(colour)) / brightness_contrast
    turn = torch.tensor([(colorsys.rgb_to_hsv(*pixel)[0] + 0.5) % 1 - 0.5 for pixel in third.tolist()])
    for factor in (light, spread, colourful):
        assert follows_uniform(factor, 1 - 0.8 * strength, 1 + 0.8 * strength)
    assert follows_uniform(turn, -0.2 * strength, 0.2 * strength)
    correlation = torch.corrcoef(torch.stack([light, spread, colourful, turn.double()])) - torch.eye(4)
    assert correlation.abs().max() < 4 / math.sqrt(len(seen))


class Calls(TorchDispatchMode):
    """Notes which operations torch runs."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.names.add(function.overloadpacket.__name__)
        return function(*args, **(kwargs or {}))


def test_nothing_waits_for_values():
    """Not what a CUDA graph refuses: to read a value, shapes that depend on values, constants copied to the device."""
    images, random = pictures(4) * 2 - 1, generator()
    with Calls() as calls:
        views.view(images, DEFAULTS, random)
    assert "grid_sampler_2d" in calls.names
    refused = {"_local_scalar_dense", "nonzero", "index", "index_put_", "masked_select", "lift_fresh", "scalar_tensor"}
    assert not calls.names & refused


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device")
def test_a_captured_view_is_the_plain_one():
    device = torch.device("cuda")
    images = (pictures(64) * 2 - 1).to(device).contiguous(memory_format=LAST)
    plain, captured = (torch.Generator(device).manual_seed(8) for _ in range(2))
    state = captured.get_state()
    aside = torch.cuda.Stream(device)
    aside.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(aside):
        views.view(images, DEFAULTS, captured)
    torch.cuda.current_stream(device).wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    graph.register_generator_state(captured)
    with torch.cuda.graph(graph):
        seen = views.view(images, DEFAULTS, captured)
    captured.set_state(state)
    assert seen.is_contiguous(memory_format=LAST)
    before = None
    for _ in range(3):
        graph.replay()
        assert torch.equal(seen, views.view(images, DEFAULTS, plain))
        assert before is None or not torch.equal(seen, before)
        before = seen.clone()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device")
def test_the_gpu_computes_the_views_of_the_cpu():
    images, chances = pictures(32), torch.rand(6, 32, generator=generator())
    for function, parameters in (
        (views.crop, views.box(chances[:4], 0.08, 32)),
        (views.brightness, chances[4:5] * 2),
        (views.contrast, chances[4:5] * 2),
        (views.saturation, chances[4:5] * 2),
        (views.hue, chances[4:5] - 0.5),
        (views.flip, chances[5:] < 0.5),
        (views.grey, chances[5:] < 0.5),
    ):
        on_gpu = function(images.cuda(), *(each.cuda() for each in parameters))
        torch.testing.assert_close(on_gpu.cpu(), function(images, *parameters), rtol=0, atol=1e-5)
