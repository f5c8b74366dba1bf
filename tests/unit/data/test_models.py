import pytest

from visrec.data.files import write_json
from visrec.data.models import Model


@pytest.mark.parametrize(
    ("ended", "says"), [("ok", "ok"), ("unstable", "ok"), ("collapsed", "collapsed"), ("diverged", "diverged")]
)
def test_the_features_of_an_unstable_training_are_scored(tmp_path, ended, says):
    write_json(tmp_path / "status.json", {"status": ended})
    assert Model(tmp_path / "model.safetensors", tmp_path / "status.json").status_of() == says
