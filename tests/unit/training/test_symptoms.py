import pytest

from visrec.encoders.age import READINGS
from visrec.experiment.registry import PACKAGE
from visrec.jobs import fingerprint
from visrec.training import symptoms

HEALTHY = dict.fromkeys(READINGS, 1.0)


def history(count: int, step: int = 500, **values: float) -> list[dict]:
    return [{"iteration": step * (row + 1), **HEALTHY, **values} for row in range(count)]


def test_a_healthy_training_has_none():
    assert symptoms.found(history(10), READINGS) == {}


@pytest.mark.parametrize(
    "name, value, says",
    [
        ("variance_mean", 0.1, "variance_mean is 0.10, below the healthy 0.3: latents of real images are collapsing"),
        ("variance_mean", 2.0, "variance_mean is 2.00, above the healthy 1.6"),
        ("kl_fake_ratio", 2.0, "kl_fake_ratio is 2.00, above the healthy 1.25: the encoder gains by shrinking"),
        ("latent_cosine", 0.02, "is `lambda_z` too small, or swapped with `mu_x`"),
    ],
)
def test_what_is_out_of_its_range_is_named_with_its_likely_cause(name, value, says):
    found = symptoms.found(history(10, **{name: value}), READINGS)
    assert list(found) == [name]
    assert says in found[name]


def test_a_range_may_have_one_end():
    readings = {"x": {"title": "x", "healthy": [None, 2.0]}, "y": {"title": "y", "healthy": [0.5, None]}}
    rows = [{"iteration": 1000 * row, "x": -9.0, "y": 9.0} for row in range(1, 9)]
    assert symptoms.found(rows, readings) == {}
    wrong = [row | {"x": 3.0, "y": 0.1} for row in rows]
    assert symptoms.found(wrong, readings) == {
        "x": "x is 3.00, above the healthy 2",
        "y": "y is 0.10, below the healthy 0.5",
    }


def test_the_first_thousand_iterations_swing_and_one_reading_is_none():
    assert symptoms.found(history(10, step=99, latent_cosine=0.0), READINGS) == {}
    assert symptoms.found(history(4, latent_cosine=0.0), READINGS) == {}
    assert symptoms.found(history(8) + history(2, latent_cosine=0.0), READINGS) == {}


def test_healthy_ranges_are_no_part_of_what_trains():
    lines = fingerprint._Walk().follow((PACKAGE.parent / "train.py").read_bytes(), ("encoders.age:Training",))
    assert any("generator_terms" in line for line in lines)
    assert not any("collapse_below" in line and "healthy" in line for line in lines)


def test_each_is_warned_of_once(caplog):
    warned: list[str] = []
    for rows in (10, 11, 12):
        symptoms.warn(history(rows, latent_cosine=0.0), READINGS, warned)
    assert warned == ["latent_cosine"]
    assert [record.getMessage()[:16] for record in caplog.records] == ["iteration 5000: "]
