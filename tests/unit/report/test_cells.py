"""Which setting stands where in an encoder's table of settings."""

import itertools

import numpy as np
import pytest
import report_fixture as fixture
from figures_fixture import changed, grid_rows, many_settings

from visrec.report.cells import cells, shortened
from visrec.report.settings import setting


def test_setting_ignores_the_seed():
    assert setting(fixture.age(500, 10, 0)) == setting(fixture.age(500, 10, 7))


def test_cells_of_two_axes_are_sorted_by_number():
    trials = [fixture.age(lam, mu) for lam in (1000, 500, 2000) for mu in (50, 10)]
    values = [0.1, 0.2, 0.3, 0.4, 0.5, np.nan]
    found = cells(grid_rows(trials, values, trials[3].name), trials)
    assert list(found["value"].columns) == [500, 1000, 2000]
    assert list(found["value"].index) == [10, 50]
    np.testing.assert_array_equal(found["value"], [[0.4, 0.2, np.nan], [0.3, 0.1, 0.5]])
    np.testing.assert_array_equal(found["chosen"], [[True, False, False], [False, False, False]])


def test_cells_of_one_axis_are_a_row():
    trials = [
        changed(fixture.trial("pca", {}), f"+components~{n}", ["components"], ["components"], components=n)
        for n in (64, 8)
    ]
    found = cells(grid_rows(trials, [0.3, 0.2], trials[0].name), trials)
    assert found["value"].shape == (1, 2)
    assert list(found["value"].columns) == [8, 64]


def test_cells_average_seeds_and_take_the_best_of_further_axes():
    trials = [
        changed(fixture.age(lam, mu, seed), f"+depth~{depth}", ["lambda_z", "mu_x", "depth"], depth=depth)
        for mu, lam, depth, seed in itertools.product((10, 50), (500, 1000), (1, 2), (0, 1))
    ]
    values = [0.2, 0.4, 0.9, 0.1, *[0.3] * 4, *[0.6] * 4, *[0.7, 0.9], *[0.5] * 2]
    found = cells(grid_rows(trials, values, None), trials)
    assert found["value"].to_numpy() == pytest.approx(np.array([[0.5, 0.3], [0.6, 0.8]]))


def test_axes_that_vary_are_shown_before_those_that_do_not():
    """Else a heat map of lambda and mu alone would hide that the learning rate was halved in one setting."""
    trials = [
        changed(fixture.age(1000, 10), f"+halve_every~{n}", ["lambda_z", "mu_x", "halve_every"], halve_every=n)
        for n in (0, 200)
    ]
    found = cells(grid_rows(trials, [0.2, 0.4], trials[1].name), trials)
    assert (found["value"].columns.name, list(found["value"].columns)) == ("lambda_z", [1000])
    assert (found["value"].index.name, list(found["value"].index)) == ("halve_every", [0, 200])
    np.testing.assert_array_equal(found["value"], [[0.2], [0.4]])


def test_cells_of_one_thing_at_a_time_are_a_row_per_setting_in_the_configs_order():
    trials = fixture.one_at_a_time(seeds=(0, 1))
    values = [0.3, 0.5, 0.2, 0.2, 0.1, 0.1, 0.6, 0.8, np.nan, 0.9, np.nan, np.nan]
    rows = grid_rows(trials, values, trials[6].name)
    rows.loc[rows["trial"] == trials[10].name, "status"] = "collapsed"
    found = cells(rows, trials)
    assert list(found["value"].index) == [
        "nothing changed", "kl exact", "lambda_z 500", "lambda_z 2000", "mu_x 50", "latent 64",
    ]  # fmt: skip
    np.testing.assert_allclose(found["value"][""], [0.4, 0.2, 0.1, 0.7, 0.9, np.nan])
    assert list(found["words"][""].str.replace("\N{NO-BREAK SPACE}", " ")) == [
        "40.0 %", "20.0 %", "10.0 %", "70.0 %, chosen", "90.0 %", "collapsed",
    ]  # fmt: skip
    assert list(found["chosen"][""]) == [False, False, False, True, False, False]


def test_cells_of_two_axes_say_which_pairs_have_no_result():
    trials = [fixture.age(lam, mu) for lam, mu in ((1000, 10), (500, 10), (2000, 10), (1000, 50))]
    found = cells(grid_rows(trials, [0.4, 0.3, 0.5, 0.2], trials[2].name), trials)
    np.testing.assert_array_equal(found["value"], [[0.3, 0.4, 0.5], [np.nan, 0.2, np.nan]])
    assert list(found["words"].loc[50]) == ["no result", "20.0\N{NO-BREAK SPACE}%", "no result"]
    assert found["chosen"].to_numpy().tolist() == [[False, False, True], [False] * 3]


def test_letters_of_choices_stand_in_their_cells():
    trials = [fixture.age(lam, 10) for lam in (500, 1000)]
    rows = grid_rows(trials, [0.3, 0.4], trials[1].name)
    found = cells(rows, trials, letters={trials[0].name: "A C", trials[1].name: "B"})
    assert found["words"].to_numpy().ravel().tolist() == [
        "30.0\N{NO-BREAK SPACE}%\nA C",
        "40.0\N{NO-BREAK SPACE}%\nchosen\nB",
    ]


def test_a_list_is_shortened_where_it_is_too_long_and_counts_the_chosen_once():
    trials, rows = many_settings(41)
    table = cells(rows.assign(chosen=rows["trial"] == trials[-1].name), trials)
    (found,) = shortened([table], "precision@3")
    assert found["value"].index.name == "best 40 of 41 settings by precision@3"
    assert len(found["value"]) == 40
    assert shortened([found], "precision@3")[0]["value"] is found["value"]  # short enough
    assert shortened([table | {"axes": ["a", "b"]}], "precision@3")[0]["value"] is table["value"]
