"""What changes is run again, and nothing else."""

import json
import os
import re
import shutil
import signal
import time

import h5py
import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file
from tiny import DIVERGED, HEALTHY, TINY

from visrec.data.embeddings import read_embeddings
from visrec.data.hdf5 import SPLITS
from visrec.data.images import read_images

AFTER = {("tables", ""): 1, ("figures", ""): 1, ("report", ""): 1}


def scored(encoder: str, count: int) -> dict:
    """All that is made of the embeddings of some trials of a network, once they are there."""
    jobs = {("evaluate", name): count for name in TINY["evaluators"]}
    jobs |= {("neighbours", encoder): count, ("projection", encoder): count, ("atlas", encoder): count}
    return jobs | ({("selection", encoder): count} if encoder == "age" else {})


def edit(checkout, module: str, old: str, new: str, count: int = -1) -> None:
    path = checkout.folder / "workflow/scripts" / module
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, count))


def test_a_changed_k_list_reruns_knn_and_what_follows(copy):
    copy.config["evaluators"]["knn"]["k"] = [1, 3, 7]
    assert copy.plan() == {("evaluate", "knn"): 5, **AFTER}


def test_a_changed_grid_trains_only_the_new_trial(copy):
    copy.config["encoders"]["age"]["grid"]["mu_x"] = [10, 50]
    del copy.config["encoders"]["age"]["grid"]["learning_rate"]
    plan = copy.plan()
    assert plan == {("train", "age"): 1, ("draw", "age"): 2, ("embed", "age"): 1, **scored("age", 1), **AFTER}


def test_a_new_seed_trains_only_new_trials(copy):
    copy.config["seeds"] = [0, 1]
    plan = copy.plan()
    assert plan["train", "age"] == 2
    assert plan["fit", "pca"] == 1
    assert plan["embed", "random"] == 1
    assert plan["embed", "pixels"] == 0
    # And each is trained from its own seed.
    folder = copy.results / "digits/32px/age"
    other = folder / HEALTHY.replace("seed~0", "seed~1") / "model.safetensors"
    copy.make(str(other.relative_to(copy.folder)))
    one, two = (load_file(path)["encoder.head.weight"] for path in (folder / HEALTHY / "model.safetensors", other))
    assert not np.array_equal(one, two)


def test_a_changed_stacking_option_embeds_again_without_training(copy):
    copy.config["encoders"]["age"]["pooling"] = "max"
    plan = copy.plan()
    assert plan["train", "age"] == 0
    assert plan == {("embed", "age"): 2, **scored("age", 2), **AFTER}


def test_changed_code_reruns_the_stages_that_use_it(copy):
    edit(copy, "visrec/encoders/_age_losses.py", "return 2 - (e * z).mean()", "return 3 - (e * z).mean()")
    assert {job for job in copy.plan() if job[0] in ("prepare", "fit", "train")} == {("train", "age")}


def test_changed_stacking_code_does_not_train(copy):
    edit(copy, "visrec/networks/stack.py", "maps.mean(dim=(2, 3))", "maps.mean(dim=(3, 2))")
    plan = copy.plan()
    assert plan["train", "age"] == 0
    assert (plan["embed", "age"], plan["embed", "random"], plan["embed", "pixels"]) == (2, 1, 0)


def test_changed_drawing_draws_again_and_nothing_else(copy):
    edit(copy, "visrec/training/draw.py", "COLUMNS = 16", "COLUMNS = 8")
    assert copy.plan() == {("draw", "age"): 4, ("report", ""): 1}


def test_a_changed_limit_of_collapse_trains_again_and_a_changed_title_draws_curves_again(copy):
    edit(copy, "visrec/encoders/age.py", '"title": "Pixel match D_x"', '"title": "Pixel match"')
    assert copy.plan() == {("figures", ""): 1, ("report", ""): 1}
    edit(copy, "visrec/encoders/age.py", '"collapse_below": 0.01', '"collapse_below": 0.02', 1)
    assert copy.plan()["train", "age"] == 2


def test_changed_evaluator_code_reruns_that_evaluator(copy):
    edit(copy, "visrec/evaluators/svm.py", "def evaluate(", "EXTRA = 1\n\n\ndef evaluate(")
    assert copy.plan() == {}  # a constant that nothing uses
    edit(copy, "visrec/evaluators/svm.py", "def evaluate(", "def evaluate_(*a):\n    pass\n\n\ndef evaluate(")
    assert copy.plan() == {}
    edit(copy, "visrec/scoring/health.py", "import numpy as np\n", "import numpy as np\n\nprint(end='')\n")
    plan = copy.plan()  # of the tables too: they compare the lists of several seeds
    assert (plan["evaluate", "knn"], plan["evaluate", "svm"], plan["evaluate", "logistic"]) == (5, 0, 0)
    edit(copy, "visrec/scoring/linear_probe/__init__.py", "import torch\n", "import torch\n\nprint(end='')\n")
    plan = copy.plan()
    assert [plan["evaluate", name] for name in TINY["evaluators"]] == [5, 5, 5, 5]
    assert (plan["atlas", "age"], plan["embed", "age"]) == (2, 0)


def test_changed_report_code_renders_again(copy):
    edit(copy, "visrec/report/html.py", "\ndef report(", "\nprint(end='')\n\n\ndef report(")
    assert copy.plan() == {("report", ""): 1}


def test_comments_logs_and_a_fresh_checkout_rerun_nothing(copy):
    edit(copy, "visrec/encoders/age.py", "class Training(", "# a comment\nclass Training(")
    edit(copy, "visrec/training/loop.py", "        bar.close()\n", '        bar.close()\n        log.info("done")\n')
    for path in (copy.folder / "workflow").rglob("*.py"):
        path.touch()
    (copy.folder / "Snakefile").touch()
    assert copy.plan() == {}
    with (copy.folder / "docs/ladder.csv").open("a") as ladder:  # the report prints it
        ladder.write("digits,theirs,accuracy,98.0,linear SVM,,read,nobody,linear,\n")
    assert copy.plan() == {("report", ""): 1}


def test_moving_the_results_keeps_them(copy):
    """A run is the folder: in a new checkout, with Snakemake's records left behind, nothing is run again."""
    shutil.rmtree(copy.folder / ".snakemake")
    assert copy.plan() == {}


def stop_after_a_checkpoint(copy, target, folder, number):
    """Send a signal to Snakemake and the training of `folder`, as Ctrl-C does, once that has saved its state."""
    snakemake = copy.start(target)
    while not list(folder.glob("checkpoints/0*.safetensors")):
        assert snakemake.poll() is None, snakemake.communicate()
        time.sleep(0.005)
    os.killpg(snakemake.pid, number)
    snakemake.communicate()
    assert not (folder / "status.json").exists()


def test_after_ctrl_c_the_same_command_goes_on(copy):
    folder = copy.results / f"digits/32px/age/{HEALTHY.replace('+seed', '+iterations~8+seed')}"
    target = str((folder / "status.json").relative_to(copy.folder))
    copy.config["checkpoints"] = {"iterations": 1}
    stop_after_a_checkpoint(copy, target, folder, signal.SIGINT)
    assert list(folder.glob("checkpoints/0*.safetensors"))
    del copy.config["checkpoints"]
    copy.make(target)
    assert json.loads((folder / "status.json").read_text())["starts"] == 2


def test_a_deleted_trial_is_rebuilt_and_is_the_same_though_everything_is_killed_on_the_way(copy):
    folder = copy.results / f"digits/32px/age/{HEALTHY}"
    before = read_embeddings(folder / "embeddings.h5").splits["test"].features
    scores = (folder / "knn.csv").read_bytes()
    shutil.rmtree(folder)
    assert copy.plan() == {("train", "age"): 1, ("draw", "age"): 2, ("embed", "age"): 1, **scored("age", 1), **AFTER}
    target = str((folder / "knn.csv").relative_to(copy.folder))
    copy.config["checkpoints"] = {"iterations": 1}
    stop_after_a_checkpoint(copy, target, folder, signal.SIGKILL)
    assert (folder / "history.csv").exists()  # Snakemake calls it incomplete; after Ctrl-C it may have deleted it
    copy.make("--unlock")
    copy.make(target)
    assert json.loads((folder / "status.json").read_text())["starts"] == 2
    assert np.array_equal(read_embeddings(folder / "embeddings.h5").splits["test"].features, before)
    assert (folder / "knn.csv").read_bytes() == scores
    assert not (folder / "svm.csv").exists()  # just what was asked for


def test_embeddings_may_be_deleted_to_save_space(copy):
    (copy.results / f"digits/32px/age/{HEALTHY}/embeddings.h5").unlink()
    assert copy.plan() == {}
    copy.config["evaluators"]["knn"]["k"] = [1, 5]
    plan = copy.plan()
    assert (plan["embed", "age"], plan["train", "age"], plan["evaluate", "knn"]) == (1, 0, 5)


def test_embeddings_that_are_not_kept(copy):
    copy.config["embeddings"] = {"keep": False}
    assert copy.plan() == {}  # the switch alone
    for path in copy.results.rglob("embeddings.h5"):
        path.unlink()  # as at the end of a run with this switch
    assert copy.plan() == {}
    copy.config["evaluators"]["svm"]["C"] = [1e-3]
    plan = copy.plan()  # every evaluator: they all read what is made again
    assert [plan["evaluate", name] for name in TINY["evaluators"]] == [5, 5, 5, 5]
    assert (plan["embed", "age"], plan["train", "age"], plan["fit", "pca"], plan["atlas", "age"]) == (2, 0, 0, 0)
    copy.config["embeddings"]["dtype"] = "float16"
    folder = copy.results / "digits/32px/pixels/seed~0"
    target = str((folder / "knn.csv").relative_to(copy.folder))
    assert copy.plan(target) == {("embed", "pixels"): 1, ("evaluate", "knn"): 1}
    before = pd.read_csv(folder / "knn.csv")
    copy.make(target)
    after = pd.read_csv(folder / "knn.csv")
    precision = before.metric == "precision"
    assert after.value[precision].tolist() == pytest.approx(before.value[precision].tolist(), abs=0.02)
    assert not (folder / "embeddings.h5").exists()
    assert copy.plan(target) == {}


def test_a_changed_dtype_embeds_again_without_training(copy):
    copy.config["embeddings"] = {"dtype": "float16"}
    plan = copy.plan()
    assert {plan[job] for job in (("train", "age"), ("fit", "pca"), ("atlas", "age"), ("atlas", "random"))} == {0}
    assert [plan["embed", name] for name in TINY["encoders"]] == [1, 1, 1, 2]
    assert [plan["evaluate", name] for name in TINY["evaluators"]] == [5, 5, 5, 5]


def test_a_changed_template_renders_again(copy):
    edit(copy, "visrec/report/templates/report.css", "}", "}\n", 1)
    copy.config["report"]["queries"] = 2  # of those whose neighbours are there
    assert copy.plan() == {("report", ""): 1}


def test_a_touched_image_file_reruns_what_reads_it(copy):
    os.utime(copy.results / "digits/32px/images.h5")
    assert copy.plan()["train", "age"] == 2


def test_one_target_is_built_alone(fresh):
    target = f"results/tiny/digits/32px/age/{HEALTHY}/knn.csv"
    assert fresh.plan(target) == {
        ("prepare", ""): 1, ("train", "age"): 1, ("embed", "age"): 1, ("evaluate", "knn"): 1,
    }  # fmt: skip


def test_several_trainings_share_one_gpu_as_a_group(fresh):
    """As docs/cluster.md says; on a GPU, or with a real group of jobs, this was not tried."""
    said = fresh.make(
        *("--dry-run", "--groups", "train=gpu", "--group-components", "gpu=2", "--set-resources", "train:gres='gpu:1'"),
        "--until",
        "train",
    )
    (group,) = re.findall(r"Group job gpu.*?(?=\nJob stats)", said, re.DOTALL)
    assert group.count("rule train:") == 2
    assert re.findall(r"gres=([^,\n]+)", group) == ["gpu:1", "gpu:1"]


def test_a_trial_off_the_grid_is_built_by_its_name(copy):
    target = "results/tiny/digits/32px/age/lambda_z~750+mu_x~10+latent~16+seed~3/knn.csv"
    assert copy.plan(target) == {("train", "age"): 1, ("embed", "age"): 1, ("evaluate", "knn"): 1}
    copy.make(target)
    embeddings = read_embeddings((copy.folder / target).with_name("embeddings.h5"))
    assert embeddings.splits["test"].features.shape[1] == 64 + 128 + 4096 + 16
    assert embeddings.spec["seed"] == 3
    assert copy.plan() == {}


def test_a_diverged_trial_is_a_result_and_is_not_run_again(copy):
    assert copy.plan(f"results/tiny/digits/32px/age/{DIVERGED}/svm.csv") == {}


def test_features_made_elsewhere(copy):
    """Encoder `precomputed` is compared like any other, and a new file of features is noticed."""

    def write(scale: float) -> None:
        ids, features = [], []
        for split in SPLITS:
            images = read_images(copy.results / "digits/32px/images.h5", split)
            ids += list(images.ids[::-1])
            features.append(images.images[::-1, 0, ::8, ::8].reshape(len(images.ids), -1) * scale)
        with h5py.File(copy.folder / "mine.h5", "w") as file:
            file.create_dataset("ids", data=ids, dtype=h5py.string_dtype())
            file["features"] = np.concatenate(features)

    write(1.0)
    copy.config["encoders"] = {"pixels": {}, "pca": TINY["encoders"]["pca"], "precomputed": {"path": "mine.h5"}}
    copy.make()
    board = pd.read_csv(copy.results / "tables/leaderboard.csv").set_index("encoder")
    assert board.loc["precomputed", "dimensions"] == 16
    assert 0.5 < board.loc["precomputed", "precision"] < 1
    compared = pd.read_csv(copy.results / "tables/comparisons.csv")
    assert "precomputed" in {*compared.a, *compared.b}
    assert "precomputed" in (copy.results / "report/index.html").read_text()
    assert copy.plan() == {}
    write(2.0)
    jobs = {("evaluate", name): 1 for name in TINY["evaluators"]}
    jobs |= {("embed", "precomputed"): 1, ("neighbours", "precomputed"): 1, ("projection", "precomputed"): 1}
    assert copy.plan() == {**jobs, **AFTER}
