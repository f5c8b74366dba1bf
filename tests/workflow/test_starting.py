"""What is wrong before the first job: a site that Slurm would refuse, results that another checkout works on."""

import os
import subprocess

import pytest
import yaml
from tiny import Checkout

from visrec.jobs import lock

SLURM = {
    "sbatch": 'echo "$@" >> {folder}/calls\ncase "$*" in *" 960 "*) echo "sbatch: error: Requested time limit is '
    'invalid" >&2; exit 1;; *--test-only*) exit 0;; esac\necho 1',
    "squeue": "exit 0",
    "sacct": "exit 0",
    "scontrol": "echo 'MinJobAge = 300 sec'",
    "sinfo": "echo 'cpu*'",
    "sacctmgr": "exit 1",
}
TARGET = "results/tiny/digits/32px/age/lambda_z~1000+mu_x~10+seed~0/model.safetensors"


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """A Slurm that has never a job, on PATH, and what it was asked to submit."""
    folder = tmp_path / "slurm"
    folder.mkdir()
    for name, body in SLURM.items():
        (folder / name).write_text("#!/bin/sh\n" + body.format(folder=folder) + "\n")
        (folder / name).chmod(0o755)
    (folder / "calls").touch()
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    return folder / "calls"


def on_slurm(here: Checkout, site: dict) -> subprocess.CompletedProcess:
    (here.folder / "profiles/slurm/site.yaml").write_text(yaml.safe_dump(site))
    return here.snakemake("--profile", "profiles/slurm", "--", TARGET)


def error(done: subprocess.CompletedProcess) -> str:
    """The one line that says what is wrong."""
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    return line


def test_a_site_that_slurm_would_refuse(fresh, slurm):
    site = {"partitions": {"cpu": {"max_runtime": 2000}, "gpu": {"max_runtime": 2000}}}
    assert "profiles/slurm/site.yaml: no partition has max_gpu" in error(on_slurm(fresh, site))
    assert slurm.read_text() == ""
    site["partitions"]["gpu"]["max_gpu"] = 2
    line = error(on_slurm(fresh, site))
    expected = (
        "error: Slurm would refuse rule train at attempt 4 (960 min, 24000 MB, 2 threads, gpu:1, -p gpu): Requested "
    )
    assert line.startswith(f"{expected}time limit is invalid; correct profiles/slurm/site.yaml")
    calls = slurm.read_text().splitlines()
    assert calls and all("--test-only" in call for call in calls)
    assert any("-p gpu" in call and "-t 240" in call and "--gres=gpu:1" in call for call in calls)
    assert not fresh.results.exists()  # no lock either
    limit = "#!/bin/sh\necho 'PartitionName=gpu MaxNodes=2 MaxTime=08:30:00 Nodes=a'\n"
    (slurm.parent / "scontrol").write_text(limit)
    asked = "960 min, 24000 MB, 2 threads, gpu:1, -p gpu"
    reason = "the partition ends jobs after 510 min, so write `max_runtime: 510` for it"
    assert f"at attempt 4 ({asked}): {reason}" in error(on_slurm(fresh, site))
    (fresh.folder / "profiles/slurm/site.yaml").write_text("partitions: [\n")
    done = fresh.snakemake("--profile", "profiles/slurm", "-n")
    assert error(done).startswith("error: profiles/slurm/site.yaml, line 2: is not YAML")


def test_results_that_another_checkout_works_on(fresh, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    release = lock.take(fresh.results)
    fresh.make("-n", TARGET)
    line = error(fresh.snakemake(TARGET))
    assert f"results/tiny: Snakemake works on these results from another checkout, {tmp_path} on " in line
    assert [path.name for path in fresh.results.iterdir()] == [".lock"]
    release()


def test_a_config_file_that_snakemake_cannot_read(fresh):
    (fresh.folder / "odd.yaml").write_bytes("experiment: für\n".encode("latin-1"))
    done = fresh.snakemake("-n", "--configfile", "odd.yaml")
    assert error(done) == "error: odd.yaml: is not in UTF-8 (byte 13); save it as UTF-8"
