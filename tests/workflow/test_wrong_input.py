"""What is wrong is said in one line, and Snakemake leaves with an error."""

import pytest
from tiny import DIGITS


def says(done, message: str) -> None:
    text = done.stdout + done.stderr
    assert done.returncode != 0
    assert message in text
    assert "Traceback" not in text


@pytest.mark.parametrize(
    "keys, value, message",
    [
        (("encoders",), {"agee": {}}, "config: encoders: unknown key 'agee'; did you mean 'age'? known: age, "),
        (("evaluators", "knn"), {"K": [3]}, "config: evaluators.knn: unknown key 'K'; "),
        (("datasets", "digits", "sizes"), [48], "has no 48 px; it knows 32, 64"),
        (("seed",), 3, "config: unknown key 'seed'; did you mean 'seeds'?"),
    ],
)
def test_a_wrong_config(fresh, keys, value, message):
    node = fresh.config
    for key in keys[:-1]:
        node = node[key]
    node[keys[-1]] = value
    says(fresh.snakemake("--dry-run"), message)


def test_a_misspelt_trial(fresh):
    done = fresh.snakemake("--dry-run", "results/tiny/digits/32px/age/lamda_z~1000+mu_x~10+seed~0/knn.csv")
    says(done, "unknown key 'lamda_z'; did you mean 'lambda_z'?")


@pytest.mark.parametrize(
    "arguments, message",
    [
        (
            ["data/digits/train_32x32.mat"],
            "error: data/digits/train_32x32.mat: digits has no such archive; it needs none",
        ),
        (
            ["data/svhn/train.mat"],
            "error: data/svhn/train.mat: svhn has no such archive; did you mean 'train_32x32.mat'?",
        ),
        (
            ["recommend", "--config", "query=2024_05_12"],
            "query: 20240512 is not of type 'string'; Snakemake reads it so",
        ),
        (["recommend", "--config", "query=none {here}"], "error: query none {here}: there is no such file or folder"),
    ],
)
def test_wrong_words_on_the_command_line(fresh, arguments, message):
    says(fresh.snakemake("--dry-run", *arguments), message)


def test_text_that_snakemake_would_take_for_wildcards(fresh):
    (fresh.folder / "album {final}").mkdir()
    fresh.make("--dry-run", "recommend", "--config", "query=album {final}")


def test_an_unknown_encoder_on_the_command_line(fresh):
    done = fresh.snakemake("--dry-run", "results/tiny/digits/32px/nosuch/seed~0/knn.csv")
    says(done, "MissingRuleException")


def test_a_gpu_that_is_not_there(fresh):
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    fresh.config["device"] = "cuda"
    done = fresh.snakemake("results/tiny/digits/32px/random/seed~0/embeddings.h5")
    assert done.returncode != 0
    assert "error: device: cuda was asked for, but torch sees no GPU here" in done.stderr
    assert not (fresh.results / "digits/32px/random/seed~0/embeddings.h5").exists()
    assert "no GPU here" in (fresh.results / "logs/embed/digits/32px/random/seed~0.log").read_text()


def test_all_that_does_not_fit_the_data_is_said_at_once(fresh):
    fresh.config["encoders"]["age"]["batch"] = 5000
    fresh.config["encoders"]["pca"]["components"] = 4000
    folder = "results/tiny/digits/32px/age/lambda_z~1000+mu_x~10+seed~0"
    done = fresh.snakemake(f"{folder}/status.json")
    assert done.returncode != 0
    given = f"{DIGITS['train']} training images of 3072 values"
    assert f"encoders.pca.components: 4000 is too many for {given}" in done.stderr
    assert f"error: encoders.age.batch: 5000 is too many for {given}" in done.stderr
    assert list((fresh.folder / folder).glob("*")) == []


def test_a_foreign_images_file(copy):
    (copy.results / "digits/32px/images.h5").write_bytes(b"not HDF5 at all")
    done = copy.snakemake("results/tiny/digits/32px/pca/seed~0/model.safetensors")
    assert done.returncode != 0
    assert "images.h5: cannot be read as HDF5" in done.stderr
