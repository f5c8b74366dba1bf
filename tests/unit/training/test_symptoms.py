from pathlib import Path

import pytest

from visrec.jobs import fingerprint
from visrec.training import losses, symptoms
from visrec.training.losses import kl_ideal

SPEC = {"kl": "reference", "latent": 128}
HEALTHY = {"variance_mean": 0.7, "kl_fake": 4.5, "latent_cosine": 0.8}


def history(count: int, step: int = 500, **values: float) -> list[dict]:
    return [{"iteration": step * (row + 1), **HEALTHY, **values} for row in range(count)]


def test_a_healthy_training_has_none():
    assert symptoms.found(history(10), SPEC) == {}


@pytest.mark.parametrize(
    "name, value, says",
    [
        ("variance_mean", 0.1, "have 0.10 of the healthy variance: the encoder is collapsing"),
        ("kl_fake", 2 * kl_ideal("reference", 128), "is 2.00 times that of the uniform sphere"),
        ("latent_cosine", 0.02, "is `lambda_z` too small, or swapped with `mu_x`"),
    ],
)
def test_what_is_out_of_its_range_is_named_with_its_likely_cause(name, value, says):
    found = symptoms.found(history(10, **{name: value}), SPEC)
    assert list(found) == [name]
    assert says in found[name]


def test_the_first_thousand_iterations_swing_and_one_reading_is_none():
    assert symptoms.found(history(10, step=99, latent_cosine=0.0), SPEC) == {}
    assert symptoms.found(history(4, latent_cosine=0.0), SPEC) == {}
    assert symptoms.found(history(8) + history(2, latent_cosine=0.0), SPEC) == {}


def test_the_range_of_the_divergence_follows_its_form():
    assert symptoms.found(history(10), SPEC | {"latent": 16}).keys() == {"kl_fake"}  # 4.5 is 1.98 times its ideal


@pytest.mark.parametrize("name", ["HEALTHY_KL", "HEALTHY_COSINE"])
def test_the_ranges_that_figures_draw_are_in_their_fingerprint_and_not_in_trainings(name):
    scripts = Path(losses.__file__).parents[2]

    def reaches(*start):
        return any(
            line.startswith("Assign") and f"targets=[Name(id='{name}')]" in line
            for line in fingerprint._Walk().follow(*start)
        )

    assert reaches(scripts / "figures.py", ())
    assert not reaches(scripts / "train.py", ("encoders.age:train",))


def test_each_is_warned_of_once(caplog):
    warned: list[str] = []
    for rows in (10, 11, 12):
        symptoms.warn(history(rows, latent_cosine=0.0), SPEC, warned)
    assert warned == ["latent_cosine"]
    assert [record.getMessage()[:16] for record in caplog.records] == ["iteration 5000: "]
