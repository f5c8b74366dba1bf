import itertools

import numpy as np
import pytest

from visrec.report import style

# Machado, Oliveira and Fernandes (2009), severity 1.0, of linear RGB.
BLINDNESS = {
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
}
XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
APART = 12  # Delta E (CIE 1976) that two colours without a difference in shape have at least


def linear(colour):
    channels = np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)]) / 255
    return np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)


def lab(rgb):
    """CIE L*a*b* of linear RGB, white D65."""
    relative = XYZ @ rgb / XYZ.sum(axis=1)
    f = np.where(relative > (6 / 29) ** 3, np.cbrt(relative), relative / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def delta_e(a, b, kind):
    seen = np.eye(3) if kind is None else np.array(BLINDNESS[kind])
    return np.linalg.norm(lab(np.clip(seen @ linear(a), 0, 1)) - lab(np.clip(seen @ linear(b), 0, 1)))


def test_the_simulation_takes_red_for_green_and_leaves_grey():
    assert delta_e("#808080", "#808080", "deuteranopia") == 0
    assert delta_e("#bc5a00", "#7a7a00", None) > 40
    assert delta_e("#bc5a00", "#7a7a00", "deuteranopia") < 15
    assert delta_e("#000000", "#ffffff", None) == pytest.approx(100, abs=0.01)


@pytest.mark.parametrize("kind", [None, *BLINDNESS])
@pytest.mark.parametrize("side", [0, 1])
def test_any_two_encoders_differ_in_colour_or_in_shape(side, kind):
    looks = [*style.ENCODERS.items(), *((f"spare {number}", look) for number, look in enumerate(style.SPARE))]
    for (a, (colour_a, shape_a)), (b, (colour_b, shape_b)) in itertools.combinations(looks, 2):
        if shape_a == shape_b:
            assert delta_e(colour_a[side], colour_b[side], kind) >= APART, (a, b)


@pytest.mark.parametrize("side", [0, 1])
def test_the_accent_is_no_encoder_s_colour(side):
    accent = style.ACCENT[style.THEMES[side]]
    assert min(delta_e(accent, colour[side], None) for colour in style.CLASSES) >= APART


def test_encoders_keep_their_look():
    alone = style.looks(["age", "clip"])
    among = style.looks(["age", "pca", "clip", "pixels", "random"])
    assert {name: among[name] for name in alone} == alone
    many = style.looks([f"new{number}" for number in range(5)])
    assert len(set(many.values())) == 5
    assert style.encoder_colours(["age"]) == {"age": style.ORANGE}
    assert style.markers(["age", "pca"]) == {"age": "o", "pca": "s"}


def luminance(colour):
    return linear(colour) @ [0.2126, 0.7152, 0.0722]


def contrast(one, other):
    light, dark = sorted([luminance(one), luminance(other)], reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", style.THEMES)
def test_contrast(theme):
    """WCAG 2: text 4.5:1, graphics 3:1, each shade of a colour among them."""
    shades = [shade for colour in style.CLASSES for shade in style.shades(colour, theme)]
    for colour, least in [(one, 3) for one in shades] + [
        (one[theme], 4.5) for one in (style.INK, style.MUTED, style.ACCENT)
    ]:
        assert contrast(colour, style.GROUND[theme]) >= least, colour
    for cell in (style.BETTER, style.WORSE, style.OPEN):
        assert contrast(cell[theme], style.INK[theme]) >= 4.5


def test_shades_begin_with_the_colour_itself():
    first, darker, paler = style.shades(style.ORANGE, "light")
    assert first == style.ORANGE[0]
    assert luminance(darker) < luminance(first) < luminance(paler)
    assert style.mixed("#000000", "#ffffff", 0.5) == "#808080"
