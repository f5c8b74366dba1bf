import pytest
import torch

from visrec.networks.bodies import Encoder, _From1x1, _To1x1, build, unit


@pytest.mark.parametrize(
    "architecture, size, latent, encoder, generator",
    [
        ("dcgan", 32, 128, 1_183_616, 1_183_616 + 3),  # DESIGN: equal but for the generator's output bias
        ("reference", 32, 128, 1_183_616, 3_934_595),
        ("reference", 64, 128, 3_806_080, 3_806_080),
        ("reference", 64, 64, 3_281_728, 3_281_792),
        ("dcgan", 64, 128, 3_806_080, 3_806_080 + 3),
    ],
)
def test_parameter_counts(architecture, size, latent, encoder, generator):
    e, g = build(size, latent, architecture, seed=0)
    assert [sum(weight.numel() for weight in net.parameters()) for net in (e, g)] == [encoder, generator]


@pytest.mark.parametrize("architecture", ["dcgan", "reference"])
@pytest.mark.parametrize("size, shapes", [(32, [64, 128, 256]), (64, [64, 128, 256, 512])])
def test_shapes_and_ranges(architecture, size, shapes):
    e, g = build(size, 16, architecture, seed=0)
    images = g(unit(torch.randn(2, 16)))
    assert images.shape == (2, 3, size, size)
    assert images.abs().max() <= 1
    maps = e.hidden(images)
    assert [tuple(each.shape[1:]) for each in maps] == [
        (channels, size // 2 ** (i + 1), size // 2 ** (i + 1)) for i, channels in enumerate(shapes)
    ]
    assert e(images).shape == (2, 16)


@pytest.mark.parametrize(
    "architecture, encoder, generator",
    [("dcgan", 3_677_824, 3_677_824 + 128 + 3), ("reference", 3_677_824, 13_636_355)],
)
def test_twice_as_wide_is_twice_as_many_channels_in_every_layer(architecture, encoder, generator):
    e, g = build(32, 128, architecture, seed=0, width=2)
    assert [sum(weight.numel() for weight in net.parameters()) for net in (e, g)] == [encoder, generator]
    assert [each.shape[1] for each in e.hidden(torch.randn(2, 3, 32, 32))] == [128, 256, 512]
    assert g(unit(torch.randn(2, 128))).shape == (2, 3, 32, 32)


def test_latents_are_on_the_sphere_when_batch_equals_latent():
    """A norm without its kept dimension is silently wrong exactly then."""
    e, _ = build(32, 8, "dcgan", seed=0)
    assert torch.allclose(e(torch.randn(8, 3, 32, 32)).norm(dim=1), torch.ones(8), atol=1e-6)


def test_unit_by_hand():
    assert torch.equal(unit(torch.tensor([[3.0, 4.0], [0.0, -2.0]])), torch.tensor([[0.6, 0.8], [0.0, -1.0]]))


def test_reference_encoder_head_averages_four_positions():
    e = Encoder(32, 4, "reference")
    last = torch.randn(1, 256, 4, 4)
    head = torch.nn.functional.conv2d(last, e.head.weight, e.head.bias, stride=2, padding=1)
    assert head.shape[2:] == (2, 2)
    assert torch.allclose(e.latent(last), unit(head.mean(dim=(2, 3))), atol=1e-6)


@pytest.mark.parametrize(
    "own, theirs, x",
    [(_To1x1, torch.nn.Conv2d, torch.randn(2, 5, 4, 4)), (_From1x1, torch.nn.ConvTranspose2d, torch.randn(2, 5, 1, 1))],
)
def test_products_of_matrices_are_the_convolutions_they_stand_for(own, theirs, x):
    """Kernels are not symmetric, so one turned or transposed gives something else."""
    fast, plain = own(5, 3, 4, bias=False), theirs(5, 3, 4, bias=False)
    plain.load_state_dict(fast.state_dict())
    assert torch.allclose(fast(x), plain(x), atol=1e-6)


def test_initial_weights_have_the_stated_moments():
    e, g = build(32, 128, "dcgan", seed=0)
    assert e.blocks[2][0].weight.std().item() == pytest.approx(0.02, rel=0.01)
    assert g.blocks[1][0].weight.std().item() == pytest.approx(0.02, rel=0.01)
    scale = torch.cat([block[1].weight for block in g.blocks])
    assert scale.mean().item() == pytest.approx(1, abs=0.005)
    assert scale.std().item() == pytest.approx(0.02, rel=0.15)
    assert all(block[1].bias.abs().max() == 0 for block in g.blocks)
    assert 0 < e.head.bias.abs().max() <= 1 / (256 * 16) ** 0.5  # the framework's default: uniform, 1/sqrt(fan in)


def test_build_depends_on_the_seed_alone_and_leaves_global_state():
    torch.manual_seed(5)
    before = torch.rand(1)
    torch.manual_seed(5)
    one, _ = build(32, 8, "dcgan", seed=1)
    assert torch.equal(torch.rand(1), before)
    again, _ = build(32, 8, "dcgan", seed=1)
    other, _ = build(32, 8, "dcgan", seed=2)
    assert torch.equal(one.head.weight, again.head.weight)
    assert not torch.equal(one.head.weight, other.head.weight)


@pytest.mark.parametrize("size", [8, 16, 48, 33])
def test_other_sizes_are_refused(size):
    with pytest.raises(ValueError, match=f"not for {size} px"):
        build(size, 8, "dcgan", seed=0)


def test_unknown_architecture_is_refused():
    with pytest.raises(ValueError, match="dcgan, reference"):
        build(32, 8, "vgg", seed=0)
