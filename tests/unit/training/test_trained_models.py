import numpy as np
import pytest
import torch
from training_fixture import CPU, WIDTH

from visrec import encoders
from visrec.data.images import ImageFile, ImageSet, ImageSource, read_image_info, write_images
from visrec.data.models import packed
from visrec.errors import UserError
from visrec.experiment.config import encoder_options
from visrec.experiment.trials import Spec
from visrec.networks import bodies, stack
from visrec.training import models
from visrec.training.method import make


@pytest.fixture(scope="module", autouse=True)
def narrow_networks():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bodies, "WIDTH", WIDTH)
        yield


def pictures(count, seed):
    return np.random.default_rng(seed).integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    path = tmp_path_factory.mktemp("images") / "images.h5"
    parts = enumerate((("train", 12), ("val", 2), ("test", 2)))
    splits = {
        split: ImageSource(
            [pictures(count, seed)], np.arange(count) % 2, np.array([f"{split}{i}" for i in range(count)])
        )
        for seed, (split, count) in parts
    }
    write_images(path, ImageSet(splits, ["a", "b"], "made up", "random"), 32)
    return path


def spec_of(encoder, seed=0, **options):
    return Spec(encoder, {name: each["default"] for name, each in encoder_options(encoder).items()} | options, seed)


def test_the_seed_is_that_of_the_weights_and_of_the_noise(images):
    info = read_image_info(images)
    one, again, other = (
        make(encoders.age.Training, models.setup(spec_of("age", seed), info, CPU)) for seed in (3, 3, 4)
    )
    assert torch.equal(one.encoder.head.weight, again.encoder.head.weight)
    assert not torch.equal(one.encoder.head.weight, other.encoder.head.weight)
    assert one.random.initial_seed() == 3


@pytest.fixture(scope="module")
def trained(images, tmp_path_factory):
    """A model of AGE that has seen a batch, and its encoder in evaluation mode."""
    method = make(encoders.age.Training, models.setup(spec_of("age"), read_image_info(images), CPU)).train()
    with torch.no_grad():
        method.encoder(stack.to_unit_range(torch.from_numpy(pictures(8, 5))))
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    path.write_bytes(packed({name: each.contiguous().numpy() for name, each in method.state_dict().items()}))
    return path, method.encoder.eval()


@pytest.mark.parametrize("name", ["age", "random"])
@pytest.mark.parametrize("pooling", ["average", "max"])
def test_batch_norm_and_pooling_are_those_of_the_options(name, pooling, images, trained):
    model, encoder = trained if name == "age" else (None, bodies.build(32, 128, "dcgan", 0)[0].eval())
    new = pictures(4, 9)

    def features(batchnorm):
        spec = spec_of(name, batchnorm=batchnorm, pooling=pooling)
        return encoders.extractor(spec, model, ImageFile(images), CPU)(new, np.arange(4))

    with torch.no_grad():
        *_, second, _ = hidden = encoder.hidden(stack.to_unit_range(torch.from_numpy(new)))
    running, reestimated = features("running"), features("reestimated")
    assert len(hidden) == 3
    expected = second.mean(dim=(2, 3)) if pooling == "average" else second.amax(dim=(2, 3))
    assert running["hidden2"] == pytest.approx(expected.numpy(), abs=1e-5)
    # Re-estimated on 12 images: the maps of train before the activation have mean 0 and variance 1, times a weight.
    assert np.abs(reestimated["hidden2"] - running["hidden2"]).max() > 0.1


def test_a_model_of_another_method_is_one_line(images, trained):
    with pytest.raises(UserError, match="cannot be read as a model of simclr; delete it and train again"):
        models.load(spec_of("simclr"), trained[0], read_image_info(images), CPU)
