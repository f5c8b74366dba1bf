# What happens when a run begins and ends, in Snakemake's own process: it has hooks, its jobs and dry runs have none.

import atexit
import re
import shlex
import signal
import subprocess

from visrec.jobs import lock

RELEASE = []  # what gives the results back


def lock_results(run):
    """Keep Snakemakes of other checkouts off the results, but not where the user asked for no lock (`make partial`)."""
    if workflow.is_main_process and workflow.execution_settings.lock:
        try:
            RELEASE.append(lock.take(Path(RESULTS), run))
        except UserError as error:
            refuse(error)
        atexit.register(release_results)  # an error that no hook is told of


def release_results():
    """Let others work on the results."""
    while RELEASE:
        RELEASE.pop()()


def needs_gpu(job):
    """Whether a job asks Slurm for a GPU."""
    return bool(job.resources.get("gpu")) or "gpu" in str(job.resources.get("gres", ""))


def try_slurm(executor):
    """Ask Slurm about a job of each rule, as it would be submitted at its first and at its last attempt.

    What is wrong in a site's file would otherwise show only in attempts that all fail, after hours for the last one.
    """
    jobs = {(job.rule.name, needs_gpu(job)): job for job in workflow.dag.needrun_jobs() if not job.is_local}
    known = executor._partitions
    if known is not None and any(gpu for _, gpu in jobs) and not any(p.limits.max_gpu for p in known):
        refuse(
            f"{workflow.executor_settings.partition_config}: no partition has max_gpu, and jobs ask for a GPU; write how "
            "many a node has, `max_gpu: 4`, say, for each partition with GPUs (sinfo -o '%P %G' lists them)"
        )
    for attempt in sorted({1, 1 + (workflow.execution_settings.retries or 0)}):
        for job in jobs.values():
            reason = refusal(executor, job, attempt)
            if reason:
                refuse(
                    f"Slurm would refuse rule {job.rule.name} at attempt {attempt} {reason}; correct "
                    "profiles/slurm/site.yaml (docs/cluster.md); nothing was submitted"
                )


def refusal(executor, job, attempt):
    """What a job would ask for and why Slurm would not take it, in its own words; "" if it would."""
    from snakemake_executor_plugin_slurm.submit_string import get_submit_command
    from snakemake_executor_plugin_slurm.utils import set_gres_string

    before, job.attempt = job.attempt, attempt
    try:
        gpu = f", {job.resources.get('gres') or 'a GPU'}" if needs_gpu(job) else ""
        minutes = job.resources.get("runtime")
        asked = f"{minutes} min, {job.resources.get('mem_mb')} MB, {job.threads} threads{gpu}"
        about = {
            "run_uuid": executor.run_uuid,
            "slurm_logfile": os.devnull,
            "comment_str": f"rule_{job.rule.name}",
            "account": next(executor.get_account_arg(job)),
            "partition": executor.get_partition_arg(job),
            "workdir": workflow.workdir_init,
        }
        call = get_submit_command(job, about, settings=workflow.executor_settings) + set_gres_string(job)
    except WorkflowError as error:
        return f"({asked}): {' '.join(str(error).split())}"
    finally:
        job.attempt = before
    asked += f", {about['partition'].strip()}"
    most = max_time(*shlex.split(about["partition"])[-1:])
    if most and minutes and minutes > most:  # unless EnforcePartLimits is set, it would wait for ever
        return f"({asked}): the partition ends jobs after {most} min, so write `max_runtime: {most}` for it"
    done = subprocess.run([*shlex.split(call), "--test-only", "--wrap=true"], capture_output=True, text=True)
    said = [
        line.removeprefix("sbatch: error: ").removeprefix("allocation failure: ")
        for line in done.stderr.splitlines()
        if line.strip()
    ]
    if not done.returncode or re.search("submitjob.*limit", done.stderr, re.I):  # the queue is full: places become free
        return ""
    return f"({asked}): {said[-1] if said else f'exit status {done.returncode}'}"


@functools.cache
def max_time(*partition):
    """Minutes that a job may take in a partition, as Slurm says; None without a limit, or without an answer."""
    from snakemake_executor_plugin_slurm.utils import parse_time_to_minutes

    if not partition:
        return None
    said = subprocess.run(["scontrol", "show", "partition", *partition], capture_output=True, text=True).stdout
    found = re.search(r"\bMaxTime=([\d:-]+)", said)
    return parse_time_to_minutes(found[1]) if found else None


def stop_submitting(number, frame):
    """Ctrl-C: submissions that wait (profiles/slurm/bin/sbatch) must not come through once the others are cancelled."""
    Path(os.environ["VISREC_SBATCH_STOP"]).touch()
    signal.default_int_handler(number, frame)


onstart:
    slurm = workflow.scheduler._executor if hasattr(workflow.scheduler._executor, "run_uuid") else None
    if slurm:
        try_slurm(slurm)
        if "VISREC_SBATCH_STOP" in os.environ:
            signal.signal(signal.SIGINT, stop_submitting)
            atexit.register(Path(os.environ["VISREC_SBATCH_STOP"]).unlink, missing_ok=True)
    lock_results(slurm and slurm.run_uuid)


onsuccess:
    release_results()


onerror:
    release_results()
