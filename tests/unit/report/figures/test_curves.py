"""What stands in the panels of the training curves, read from the figure's axes."""

import numpy as np
import pandas as pd
import pytest
import report_fixture as fixture
from figures_fixture import look
from matplotlib.colors import to_hex

from visrec.experiment import registry
from visrec.experiment.trials import Trial
from visrec.report import style
from visrec.report.figures.curves import FLOOR, MANY, POINTS, curves, decades, limits, read_history, readings, thin
from visrec.report.figures.drawing import described
from visrec.report.settings import setting

READINGS = {
    "loss": {"title": "Loss"},
    "rank": {"title": "Rank", "band": ["rank_low", "rank_high"], "scale": "log", "healthy": [20, None]},
    "accuracy": {"title": "Accuracy", "from_zero": True, "ideal": 1.0, "above": "not for figures"},
    "alignment": {"title": "Alignment", "healthy": [None, 0.8], "ideal": 0.5},
}
STEPS = np.arange(0, 100, 10)


@pytest.fixture
def declared(monkeypatch):
    """An encoder "made_up" that declares what the dictionary holds."""
    own = {"OPTIONS": {}, "HEADLINE": ["tau"], "READINGS": READINGS}
    real = registry.declared
    monkeypatch.setattr(registry, "declared", lambda kind, name: own if name == "made_up" else real(kind, name))
    return own


def made_up(tau=1, seed=0):
    return Trial("digits", 16, "made_up", {"tau": tau}, seed, f"tau~{tau}+seed~{seed}", ("tau",), ("tau",))


def history(**columns):
    return pd.DataFrame({"iteration": STEPS, "images_per_second": 900.0} | columns)


def full(shift=0.0):
    rank = np.geomspace(10, 100, len(STEPS))
    return history(
        loss=np.linspace(6, 4, len(STEPS)) + shift,
        rank=rank,
        rank_low=rank / 2,
        rank_high=rank * 2,
        accuracy=np.linspace(0.2, 0.7, len(STEPS)),
        alignment=np.linspace(1.2, 0.9, len(STEPS)),
    )


def titled(figure):
    """Visible panels by their titles, in one line."""
    return {axis.get_title(loc="left").replace("\n", " "): axis for axis in figure.axes if axis.get_visible()}


def span(axis):
    """Limits of the healthy range, and its colour; None where there is none."""
    if not axis.patches:
        return None
    (patch,) = axis.patches
    return (*patch.get_bbox().intervaly, to_hex(patch.get_facecolor()))


def dashed(axis):
    return [line.get_ydata()[0] for line in axis.lines if line.get_label() == "ideal"]


def legend(part):
    return [text.get_text() for text in part.legends[0].get_texts()]


def draw(histories, chosen=None, columns=4, width=10.6, **more):
    return look(curves, histories, chosen or {}, columns=columns, width=width, **more)


def test_panels_are_those_of_the_literal_in_its_order_and_the_speed(declared):
    with draw([(made_up(), full())]) as figure:
        assert list(titled(figure)) == ["Loss", "Rank", "Accuracy", "Alignment", "Images per second"]
        assert [axis.get_visible() for axis in figure.axes] == 5 * [True] + 3 * [False]
        assert titled(figure)["Images per second"].get_ylim()[0] == 0
        labelled = [bool(axis.get_xlabel()) for axis in figure.axes]
        assert labelled == [False, True, True, True, True, True, True, True]  # where nothing stands below
    del declared["READINGS"]
    with draw([(made_up(), full())]) as figure:
        assert list(titled(figure)) == ["Images per second"]


def test_age_declares_its_panels():
    names = "loss_encoder latent_cosine kl_real_ratio kl_fake_ratio variance_mean sample_spread"
    names += " pixel_match fake_weight reconstruction_error images_per_second"
    assert list(readings(fixture.age(500, 10))) == names.split()


def test_lines_are_the_columns_over_the_iterations(declared):
    table = full()
    with draw([(made_up(), table)]) as figure:
        for title, column in (("Loss", "loss"), ("Rank", "rank"), ("Images per second", "images_per_second")):
            line = titled(figure)[title].lines[0]
            np.testing.assert_array_equal(line.get_xdata(), STEPS)
            np.testing.assert_array_equal(line.get_ydata(), table[column])


def test_panels_and_curves_say_what_they_are(declared):
    with draw([(made_up(1), full()), (made_up(2), full())], {"made_up": setting(made_up(2))}) as figure:
        about = described(figure)
        assert [about[f"panel-{number}"]["title"] for number in (1, 2, 5)] == ["Loss", "Rank", "Images per second"]
        assert [about[f"panel-{number}"]["log"] for number in (1, 2)] == [False, True]
        assert about["panel-1"]["x"] == pytest.approx(figure.axes[0].get_xlim(), rel=1e-5)
        assert about["panel-2"]["y"] == pytest.approx(figure.axes[1].get_ylim(), rel=1e-5)
        curves_of = [[about[gid] for gid in about if gid.startswith(f"panel-{number}-")] for number in (1, 4)]
        assert curves_of == [["made_up: tau 1", "made_up: tau 2 (chosen)"]] * 2  # not the ideal
        assert len(about) == 5 * 3
    with draw([]) as figure:
        assert described(figure) == {}


def test_limits_start_at_zero_where_that_is_declared_and_hold_the_ideal(declared):
    with draw([(made_up(), full())]) as figure:
        panels = titled(figure)
        for title, (low, high) in {"Loss": (4.02, 5.98), "Alignment": (0.5, 1.197)}.items():
            margin = 0.08 * (high - low)
            assert panels[title].get_ylim() == pytest.approx((low - margin, high + margin))
        bottom, top = panels["Accuracy"].get_ylim()
        assert bottom == 0
        assert 1 < top < 1.1


def test_bands_references_and_their_colours(declared):
    for theme in style.THEMES:
        with draw([(made_up(), full())], theme=theme) as figure:
            panels = titled(figure)
            colour = style.HEALTHY[theme]
            assert span(panels["Loss"]) is None
            # An open end reaches to the limit of the axis.
            assert span(panels["Rank"]) == (20, panels["Rank"].get_ylim()[1], colour)
            assert span(panels["Alignment"]) == (panels["Alignment"].get_ylim()[0], 0.8, colour)
            assert {title: dashed(axis) for title, axis in panels.items() if dashed(axis)} == {
                "Accuracy": [1.0],
                "Alignment": [0.5],
            }
            (area,) = panels["Rank"].collections
            around = area.get_paths()[0].get_extents()
            assert (around.y0, around.y1) == pytest.approx((5, 200))
            assert not panels["Loss"].collections


def test_a_logarithmic_axis_has_whole_decades_and_a_floor(declared):
    table = full()
    table.loc[3, ["rank", "rank_low"]] = 0.0
    with draw([(made_up(), table)]) as figure:
        axis = titled(figure)["Rank"]
        assert axis.get_yscale() == "log"
        assert axis.get_ylim() == pytest.approx((FLOOR, 1.2 * 1000))
        assert axis.lines[0].get_ydata()[3] == FLOOR
        assert len(axis.get_yticks(minor=True)) == 0
        figure.canvas.draw()
        texts = [text.get_text() for text in axis.get_yticklabels()]
        assert {"0.001", "0.1", "10", "1000"} <= set(texts)


def test_limits_of_a_logarithmic_axis():
    assert decades(np.array([0.3, 0.9]), [0.3, 1.6, 1.0]) == pytest.approx((0.1, 12))
    assert decades(np.array([0.3, 0.9])) == pytest.approx((0.1, 1.2))
    assert decades(np.array([1.0, 1.0])) == pytest.approx((1, 12))
    assert decades(np.array([1e-9, np.nan])) == pytest.approx((FLOOR, 0.012))
    assert decades(np.append(np.linspace(2, 8, 1000), 1e30)) == pytest.approx((1, 12))


def test_limits_ignore_an_explosion():
    values = np.concatenate([np.linspace(0, 1, 1000), [1e30, np.inf, np.nan]])
    low, high = limits(values)
    assert -0.2 < low < 0.05
    assert 0.95 < high < 1.2
    assert limits(values, ideal=2.0) == pytest.approx((low, 2.16), abs=0.1)


def test_what_no_trial_recorded_is_said_and_has_no_references(declared):
    table = full().drop(columns=["rank", "rank_low"]).assign(alignment=np.nan)
    with draw([(made_up(), table)]) as figure:
        panels = titled(figure)
        for title in ("Rank", "Alignment"):
            assert [text.get_text() for text in panels[title].texts] == ["not recorded"]
            assert span(panels[title]) is None
            assert dashed(panels[title]) == []
        assert panels["Accuracy"].texts[:] == []
        assert legend(figure.subfigs[0]) == ["made_up: tau 1", "ideal"]  # no healthy range is drawn


def test_a_line_without_its_band_is_drawn(declared):
    with draw([(made_up(), full().drop(columns="rank_low"))]) as figure:
        assert not titled(figure)["Rank"].collections
        assert len(titled(figure)["Rank"].lines) == 1


def test_the_chosen_setting_is_strongest_and_seeds_share_a_look(declared):
    trials = [made_up(tau, seed) for tau in (1, 2) for seed in (0, 1)]
    histories = [(trial, full(shift=number)) for number, trial in enumerate(trials)]
    with draw(histories, {"made_up": setting(trials[2])}) as figure:
        lines = titled(figure)["Loss"].lines
        assert [line.get_linewidth() for line in lines] == [1.1, 1.1, 1.9, 1.9]
        assert [line.get_zorder() for line in lines] == [2, 2, 3, 3]
        own, shade, _ = style.shades(style.encoder_colours(["made_up"])["made_up"], "light")
        assert [line.get_color() for line in lines] == [shade, shade, own, own]  # the chosen keeps the encoder's colour
        assert legend(figure.subfigs[0]) == ["made_up: tau 1", "made_up: tau 2 (chosen)", "ideal", "healthy range"]


def test_each_encoder_has_panels_a_heading_and_a_legend_of_its_own(declared):
    """Each with its own readings, and its own chosen setting."""
    age = fixture.age(500, 10)
    own = history(latent_cosine=0.5, kl_fake_ratio=1.2, variance_mean=0.7, variance_min=0.5, variance_max=1.1)
    histories = [(age, own), (made_up(1), full()), (made_up(2), full()), (fixture.age(1000, 10), own)]
    with draw(histories, {"age": setting(age), "made_up": setting(made_up(2))}) as figure:
        first, second = figure.subfigs
        assert (first.get_suptitle(), second.get_suptitle()) == ("age", "made_up")
        assert len(titled(first)) == 10
        assert list(titled(second)) == ["Loss", "Rank", "Accuracy", "Alignment", "Images per second"]
        assert [len(axis.lines) for axis in titled(second).values()] == [2, 2, 3, 3, 2]  # with two ideals
        assert legend(first) == [
            "age: lambda_z 500, mu_x 10 (chosen)", "age: lambda_z 1000, mu_x 10", "ideal", "healthy range",
        ]  # fmt: skip
        assert legend(second) == ["made_up: tau 1", "made_up: tau 2 (chosen)", "ideal", "healthy range"]
        healthy = {title: span(axis)[:2] for title, axis in titled(first).items() if span(axis)}
        assert healthy == {
            "Cosine of z and e(g(z))": (0.3, 1.0),
            "KL of fakes, times the sphere's": (1.0, 1.25),
            "Variance M v, min to max": (0.3, 1.6),
        }
    with draw(histories[1:3]) as figure:  # alone it needs no heading
        assert figure.subfigs[0].get_suptitle() == ""


def test_titles_are_broken_where_panels_are_narrow():
    own = history(latent_cosine=0.5)
    with draw([(fixture.age(500, 10), own)], columns=2, width=3.75) as figure:
        assert figure.axes[2].get_title(loc="left") == "KL of real images,\ntimes the sphere's"


def test_thin_keeps_the_extremes_of_bands():
    steps = np.arange(1000)
    table = pd.DataFrame({"iteration": steps, "variance_min": 1.0, "variance_max": 1.0, "pixel_match": steps})
    table.loc[500, "variance_min"], table.loc[700, "variance_max"] = 0.01, 9.0
    small = thin(table, {"variance_mean": {"title": "", "band": ["variance_min", "variance_max"]}})
    assert len(small) == POINTS
    assert (small["variance_min"].min(), small["variance_max"].max()) == (0.01, 9.0)
    assert small["pixel_match"].is_monotonic_increasing
    assert thin(table, {})["variance_min"].min() > 0.5  # of no band, so a mean
    short = table[:POINTS]
    assert thin(short, {}) is short


def test_histories_are_read_thinned_and_without_infinite_values(tmp_path, declared):
    trial = made_up()
    assert read_history(tmp_path, trial) is None
    folder = tmp_path / "digits/16px/made_up/tau~1+seed~0"
    folder.mkdir(parents=True)
    table = pd.DataFrame({"iteration": range(1000), "loss": np.inf, "rank_low": range(1000)})
    table.to_csv(folder / "history.csv", index=False)
    found = read_history(tmp_path, trial)
    assert len(found) == POINTS
    assert found["loss"].isna().all()
    assert found["rank_low"].iloc[-1] == 996  # the least of the last run of rows
    table[:0].to_csv(folder / "history.csv", index=False)
    assert read_history(tmp_path, trial) is None


def test_hundreds_of_curves_are_a_crowd_behind_the_chosen():
    trials = [fixture.age(number, 10) for number in range(1, 101)]
    table = pd.DataFrame({"iteration": range(0, 600, 3), "loss_encoder": 1.0, "pixel_match": 0.5})
    table = table.assign(variance_min=0.5, variance_mean=1.0, variance_max=1.5)
    best = [setting(one) for one in reversed(trials)]
    histories = [(one, table) for one in trials]
    with draw(histories, {"age": setting(trials[70])}, width=8, ranked={"age": best}) as figure:
        axis = figure.axes[0]
        lines = [line for line in axis.lines if len(line.get_xdata()) > 2]
        assert len(lines) == MANY + 1
        crowd = max(lines, key=lambda line: len(line.get_xdata()))
        assert np.isnan(crowd.get_xdata()).sum() == 100 - MANY  # a gap after each
        assert len({(line.get_color(), str(line._dash_pattern)) for line in lines}) == MANY + 1
        labels = legend(figure.subfigs[0])
        variance = titled(figure)["Variance M v, min to max"]
        assert len(variance.collections) == MANY  # the crowd has no bands
    assert labels[0] == "age: lambda_z 71, mu_x 10 (chosen)"
    assert labels[1:MANY] == [f"age: lambda_z {number}, mu_x 10" for number in range(100, 101 - MANY, -1)]
    assert f"{100 - MANY} other settings" in labels


def test_without_histories_the_figure_says_so():
    with draw([]) as figure:
        assert figure.texts[0].get_text().startswith("No network was trained here")
