"""What profiles/slurm asks of a site, and what of what a site says it refuses."""

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
import yte

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "profiles/slurm"
Site = runpy.run_path(str(FOLDER / "limits.py"))["Site"]
RULES = "".join(file.read_text() for file in sorted((ROOT / "workflow/rules").glob("*.smk")))


@pytest.fixture
def profile(tmp_path, monkeypatch):
    """The profile with a site's partitions, as Snakemake reads it."""
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles/slurm").symlink_to(FOLDER) if not (tmp_path / "profiles/slurm").exists() else None
    monkeypatch.chdir(tmp_path)

    def read(**partitions):
        text = (FOLDER / "config.yaml").read_text()
        (tmp_path / "site.yaml").write_text(yaml.safe_dump({"partitions": partitions} if partitions else {}))
        text = text.replace('limits["Site"]()', f'limits["Site"]("{tmp_path}/site.yaml")')
        return yte.process_yaml(text.replace('limits["in_front"]()', "pass"))

    return read


def asked(profile, rule, attempts=(1, 2, 3, 4)):
    """Minutes and MB of each attempt, as the profile says, or as the rule does where it says nothing."""
    body = re.search(rf"^rule {rule}:\n(.*?)(?=^\S|\Z)", RULES, re.M | re.S)[1]
    given = profile["set-resources"].get(rule, {})
    found = {}
    for name in ("runtime", "mem_mb"):
        own = re.search(rf"{name}=lambda wildcards, attempt: (\d+ \* attempt)", body)[1]
        found[name] = [eval(given.get(name, own), {"attempt": each}) for each in attempts]
    return found["runtime"], found["mem_mb"]


def test_no_attempt_asks_for_more_than_its_partition_has(profile):
    small = profile(
        cpu={"max_runtime": 200, "max_mem_mb": 20_000, "max_threads": 6}, gpu={"max_runtime": 300, "max_gpu": 4}
    )
    assert asked(small, "train") == ([240, 300, 300, 300], [6000, 12_000, 18_000, 24_000])
    assert asked(small, "embed") == ([60, 120, 180, 200], [6000, 12_000, 18_000, 20_000])  # some need no GPU
    assert asked(small, "evaluate") == ([120, 200, 200, 200], [8000, 16_000, 20_000, 20_000])
    assert asked(small, "draw") == ([15, 30, 45, 60], [4000, 8000, 12_000, 16_000])
    assert small["set-resources"]["train"]["gres"] == "'gpu:1'"
    assert (small["set-threads"]["evaluate"], small["set-threads"]["train"]) == (6, 4)
    tiny = profile(gpu={"max_runtime": "03:00:00", "max_gpu": 1, "max_threads": 2})
    assert asked(tiny, "train")[0] == [180] * 4
    assert set(tiny["set-threads"].values()) == {2}


def test_where_nothing_is_limited_rules_have_their_own(profile):
    for each in (profile(), profile(a={}), profile(a={"max_gpu": 2})):
        resources = each["set-resources"]
        assert {rule for rule, given in resources.items() if given} == {"train", "embed"}
        assert set(resources["train"]) == set(resources["embed"]) == {"gres"}
        assert each["set-threads"]["evaluate"] == 8


def test_the_profile_repeats_what_the_rules_ask_for(profile):
    limited = profile(all={"max_runtime": 1, "max_mem_mb": 1})
    for rule, given in limited["set-resources"].items():
        body = re.search(rf"^rule {rule}:\n(.*?)(?=^\S|\Z)", RULES, re.M | re.S)[1]
        for name in ("runtime", "mem_mb"):
            own = re.search(rf"{name}=lambda wildcards, attempt: (\d+) \* attempt", body)[1]
            assert given[name] == f"min({own} * attempt, 1)"
    # What does not run on Slurm has no attempts.
    growing = set(re.findall(r"^rule (\w+):\n(?:(?!^\S).*\n)*?.*runtime=lambda", RULES, re.M))
    assert growing == set(limited["set-resources"])


def test_a_rule_is_at_home_where_its_first_attempt_fits(profile):
    two = profile(
        short={"max_runtime": 60, "max_mem_mb": 500_000},
        long={"max_runtime": 2880, "max_mem_mb": 16_000},
        gpu={"max_gpu": 1},
    )
    assert asked(two, "evaluate") == ([120, 240, 360, 480], [8000, 16_000, 16_000, 16_000])
    assert asked(two, "draw")[1] == [4000, 8000, 12_000, 16_000]


@pytest.mark.parametrize(
    "text, message",
    [
        ("partitions:\n  gpu:\n   max_gpu: [\n", ", line 4: is not YAML"),
        ("partitions: {gpu: {max_gpus: 4}}", ": partitions.gpu: unknown key 'max_gpus'; known: max_runtime, "),
        ("partitions: {gpu: {max_gpu: many}}", ": partitions.gpu.max_gpu: 'many' is no number; write one"),
        ("partitions: {gpu: {max_runtime: soon}}", ": partitions.gpu: Invalid time format"),
        ("partitions:\n  gpu:\n", ": partitions.gpu: has no limits; write `max_runtime: 1440`, say"),
        ("partitions:\n", ": partitions: lists no partition"),
        ("partition: {}", ": has keys `account` and `partitions` only"),
        ("- gpu", ": has keys `account` and `partitions` only"),
        ("account: [a]", ": account: is no name"),
        ("a: 1\na: 2\n", ", line 2: 'a' stands twice"),
    ],
)
def test_a_wrong_site_is_one_line(tmp_path, text, message):
    (tmp_path / "site.yaml").write_text(text)
    with pytest.raises(SystemExit) as caught:
        Site(tmp_path / "site.yaml")
    assert caught.value.code.startswith(f"error: {tmp_path}/site.yaml{message}")
    assert "\n" not in caught.value.code


def program(folder: Path, name: str, body: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{body}\n")
    (folder / name).chmod(0o755)


PARTITIONS = """PartitionName=cpu
   MaxNodes=UNLIMITED MaxTime=2-00:00:00
   TotalCPUs=128 TotalNodes=2
   TRES=cpu=128,mem=500G,node=2
PartitionName=a100
   MaxNodes=4 MaxTime=05:00:00
   TotalCPUs=64 TotalNodes=2
   TRES=cpu=64,mem=500G,node=2
PartitionName=mixed
   MaxTime=UNLIMITED
   TRES=cpu=64,node=1,gres/gpu=2
"""


def make_site(tmp_path, gres):
    program(tmp_path, "scontrol", f"cat <<'END'\n{PARTITIONS}END")
    program(tmp_path, "sinfo", f"cat <<'END'\n{gres}\nEND")
    program(tmp_path, "squeue", "exit 0")  # Snakemake's plugin looks for it where there is an sinfo
    program(tmp_path, "sacct", "exit 0")
    environment = os.environ | {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    command = [sys.executable, FOLDER / "make_site.py", tmp_path / "site.yaml"]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def test_make_site_writes_what_can_be_used_as_it_is(tmp_path):
    done = make_site(tmp_path, "cpu|(null)\na100|gpu:a100:4(S:0-1)\na100|gpu:2,gpu:mig:1(S:0),shard:8\nmixed|(null)")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("site.yaml: 3 partitions, a100, mixed with GPUs; drop what you may not use\n")
    assert yaml.safe_load((tmp_path / "site.yaml").read_text())["partitions"] == {
        "cpu": {"max_runtime": "2-00:00:00", "max_threads": 64},
        "a100": {"max_runtime": "05:00:00", "max_gpu": 4},
        "mixed": {"max_gpu": 2},
    }
    assert Site(tmp_path / "site.yaml").partitions["a100"].max_runtime == 300
    again = make_site(tmp_path, "")
    assert (again.returncode, again.stderr.count("\n")) == (1, 1)
    assert "site.yaml is there already; edit it, or delete it" in again.stderr


@pytest.fixture
def slurm(tmp_path):
    """sbatch that says what `said` holds, line by line, call by call, and the shim in front of it."""
    program(
        tmp_path,
        "sbatch",
        f"""cd {tmp_path}; echo "$@" >> calls
first=$(head -n 1 said); sed -i 1d said
[ -z "$first" ] && echo 42 && exit 0
echo "sbatch: error: $first" >&2; exit 1""",
    )
    program(tmp_path, "squeue", f"cat {tmp_path}/queue")
    (tmp_path / "queue").touch()

    def submit(*said, arguments=("--job-name", "visrec_a", "--comment", "rule_train"), **environment):
        (tmp_path / "said").write_text("".join(f"{line}\n" for line in said))
        (tmp_path / "calls").write_text("")
        own = {"VISREC_SBATCH": f"{tmp_path}/sbatch", "VISREC_SNAKEMAKE": str(os.getpid())}
        own |= {"VISREC_SBATCH_STOP": f"{tmp_path}/stop", "VISREC_SBATCH_PAUSE": "0", "VISREC_SBATCH_PATIENCE": "0"}
        path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
        command = [FOLDER / "bin/sbatch", *arguments]
        done = subprocess.run(
            command, env=os.environ | own | {"PATH": path} | environment, capture_output=True, text=True
        )
        return done, len((tmp_path / "calls").read_text().splitlines())

    submit.folder = tmp_path
    return submit


DOWN = "Batch job submission failed: Unable to contact slurm controller (connect failure)"
FULL = "AssocMaxSubmitJobLimit"
WRONG = "invalid partition specified: nosuch"


def test_submissions_wait_for_slurm(slurm):
    # A controller that was started a moment ago does not know its nodes; that is another wait.
    nodes = "allocation failure: Requested node configuration is not available"
    done, calls = slurm(DOWN, nodes, VISREC_SBATCH_PAUSE="1", VISREC_SBATCH_PATIENCE="9", VISREC_SBATCH_SETTLING="1")
    assert (done.returncode, done.stdout, calls) == (0, "42\n", 3)
    done, calls = slurm(FULL, FULL)  # a place becomes free when a job ends, whatever the patience
    assert (done.returncode, done.stdout, calls) == (0, "42\n", 3)
    done, calls = slurm(DOWN, DOWN, VISREC_SBATCH_PAUSE="1", VISREC_SBATCH_PATIENCE="1")
    assert (done.returncode, calls) == (1, 2)
    assert done.stderr.startswith("sbatch: Slurm took no job for 1 s; when it does again, the same command goes on\n")


def test_what_stays_wrong_is_not_waited_for(slurm):
    over = "QOSMaxWallDurationPerJobLimit; Batch job submission failed: Job violates accounting/QOS policy (job submit "
    for said in (WRONG, over + "limit, user's size and/or time limits)"):
        done, calls = slurm(said, VISREC_SBATCH_PATIENCE="900")
        assert (done.returncode, calls, done.stderr) == (1, 1, f"sbatch: error: {said}\n")
    done, calls = slurm(FULL, arguments=("--test-only",))  # a trial does not wait for a place
    assert (done.returncode, calls) == (1, 1)


def test_a_job_that_was_taken_though_no_answer_came_is_not_submitted_twice(slurm):
    (slurm.folder / "queue").write_text("7|rule_train_wildcards_b\n8|rule_train\n")
    done, calls = slurm("Batch job submission failed: Socket timed out", VISREC_SBATCH_PATIENCE="9")
    assert (done.returncode, done.stdout, calls) == (0, "8\n", 1)


def test_nothing_is_submitted_once_snakemake_is_stopped_or_gone(slurm):
    gone = subprocess.Popen(["true"])
    gone.wait()
    done, calls = slurm(VISREC_SNAKEMAKE=str(gone.pid))
    assert (done.returncode, calls) == (130, 0)
    (slurm.folder / "stop").touch()
    done, calls = slurm()
    assert (done.returncode, calls) == (130, 0)


def test_minjobage_is_remembered_while_the_controller_is_away(tmp_path):
    program(tmp_path, "scontrol", "echo real; exit ${DOWN:-0}")
    environment = os.environ | {"VISREC_SCONTROL": f"{tmp_path}/scontrol", "VISREC_MINJOBAGE": "300 sec"}

    def said(*words, **more):
        done = subprocess.run(
            [FOLDER / "bin/scontrol", *words], env=environment | more, capture_output=True, text=True, check=False
        )
        return done.returncode, done.stdout

    assert said("show", "config") == (0, "real\n")
    assert said("show", "config", DOWN="1") == (0, "real\nMinJobAge = 300 sec\n")
    assert said("show", "partition", DOWN="1") == (1, "real\n")
    assert said("show", "config", DOWN="1", VISREC_MINJOBAGE="") == (1, "real\n")
