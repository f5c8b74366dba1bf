import numpy as np
import pytest

from visrec.report import style


def test_encoders_keep_their_colour():
    alone = style.encoder_colours(["age", "clip"])
    among = style.encoder_colours(["age", "pca", "clip", "pixels", "random"])
    assert {name: among[name] for name in alone} == alone
    many = style.encoder_colours([f"new{number}" for number in range(5)])
    assert len(set(many.values())) == 5


def luminance(colour):
    channels = np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


@pytest.mark.parametrize("theme", style.THEMES)
def test_contrast(theme):
    """WCAG 2: text 4.5:1, graphics 3:1."""
    side = style.THEMES.index(theme)
    colours = [pair[side] for pair in (*style.ENCODERS.values(), *style.SPARE)]
    for colour, least in [(one, 3) for one in (*colours, *style.LINES[theme])] + [
        (one[theme], 4.5) for one in (style.INK, style.MUTED, style.ACCENT)
    ]:
        light, dark = sorted([luminance(colour), luminance(style.GROUND[theme])], reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= least, colour
