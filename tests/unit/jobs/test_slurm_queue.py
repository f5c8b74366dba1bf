import os

from visrec.jobs import slurm_queue
from visrec.jobs.slurm_queue import Queued


def test_the_queue_is_read_as_slurm_prints_it(tmp_path, monkeypatch):
    program = tmp_path / "squeue"
    program.write_text(
        "#!/bin/sh\n"
        f'case "$*" in *--name=visrec_a) echo 2; exit;; *--name=*) exit;; *"--format={slurm_queue.FIELDS}"*) ;; '
        "*) exit 1;; esac\n"
        "echo '2|RUNNING|visrec_a|None|rule_train_wildcards_digits_32_age_lambda_z~1000+mu_x~10+seed~0|/home/a|b'\n"
        "echo '5|PENDING|visrec_a|launch failed requeued held|rule_tables|/home/c'\n"
        "echo '6|PENDING|bash|Priority|(null)|/home/c'\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    found = slurm_queue.queue()
    assert found == [
        Queued("2", "RUNNING", "visrec_a", "None", "train", "digits_32_age_lambda_z~1000+mu_x~10+seed~0", "/home/a|b"),
        Queued("5", "PENDING", "visrec_a", "launch failed requeued held", "tables", "", "/home/c"),
        Queued("6", "PENDING", "bash", "Priority", "(null)", "", "/home/c"),
    ]
    assert [job.held() for job in found] == [False, True, False]
    assert slurm_queue.of_run("visrec_a") == ["2"]
    assert slurm_queue.of_run("visrec_b") == []
    program.write_text("#!/bin/sh\necho 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1\n")
    assert slurm_queue.queue() is None
    assert slurm_queue.of_run("visrec_a") == []
