"""A Snakemake executor that runs nothing: it makes every job's output files, empty, and says that the job is done.

With it a whole workflow passes through Snakemake's scheduler, and Snakemake records every job as it would a real one.
`benchmarks/scale.py` puts this folder on the path; Snakemake finds the file by its name.
"""

from pathlib import Path

from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.executors.real import RealExecutor
from snakemake_interface_executor_plugins.settings import CommonSettings

PEAK = Path("peak.txt")

common_settings = CommonSettings(
    non_local_exec=False,
    implies_no_shared_fs=False,
    job_deploy_sources=False,
    pass_envvar_declarations_to_cmd=False,
    auto_deploy_default_storage_provider=False,
)


class Executor(RealExecutor):
    """Writes into PEAK how many embeddings.h5 were there at once, at most."""

    def __post_init__(self) -> None:
        self.embeddings, self.peak = set(), 0

    def run_job(self, job) -> None:
        """Make the outputs of a job and report it as done."""
        for name in [*job.output, *([job.benchmark] if job.benchmark else [])]:
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            Path(name).touch()
        if job.rule.name == "embed":
            self.embeddings = {path for path in self.embeddings if path.exists()} | {Path(job.output.embeddings)}
            self.peak = max(self.peak, len(self.embeddings))
        done = SubmittedJobInfo(job)
        self.report_job_submission(done)
        self.report_job_success(done)

    def shutdown(self) -> None:
        """Write the peak."""
        PEAK.write_text(str(self.peak))

    def cancel(self) -> None:
        """Nothing runs."""

    def get_exec_mode(self) -> None:
        """No job starts a Snakemake of its own."""

    get_python_executable = get_exec_mode

    @property
    def cores(self) -> int:
        """As given on the command line."""
        return self.workflow.resource_settings.cores
