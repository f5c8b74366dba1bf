"""make site: write down Slurm's partitions and their limits, for profiles/slurm/config.yaml.

    python profiles/slurm/make_site.py [profiles/slurm/site.yaml]

Partitions with GPUs say no more than max_gpu and max_runtime: the Slurm plugin adds up how well a job fills each limit
that is named, and a job without a GPU would fit them best. How many GPUs a node has, `sinfo` knows also where Slurm
does not count them in its TRES.
"""

import re
import subprocess
import sys
from pathlib import Path

import yaml
from snakemake_executor_plugin_slurm.partitions import generate_partitions_from_slurm_query
from snakemake_interface_common.exceptions import WorkflowError


def gpus() -> dict[str, int]:
    """Partition -> GPUs of the node of it that has most; those without any are left out."""
    command = ["sinfo", "--noheader", "--format=%R|%G"]
    found: dict[str, int] = {}
    for line in subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines():
        partition, _, gres = line.strip().partition("|")
        # gpu:4, gpu:a100:4(S:0-1), or several kinds with commas
        each = re.findall(r"(?:^|,)gpu(?::[^:,()]+)?:(\d+)", re.sub(r"\([^)]*\)", "", gres))
        if each:
            found[partition] = max(found.get(partition, 0), sum(map(int, each)))
    return found


def partitions() -> dict[str, dict[str, object]]:
    """Partition -> its limits, as site.yaml has them."""
    found = generate_partitions_from_slurm_query(None)["partitions"]
    with_gpus = gpus()
    for name, limits in found.items():
        if name in with_gpus or "max_gpu" in limits:
            runtime = {"max_runtime": limits["max_runtime"]} if "max_runtime" in limits else {}
            found[name] = {**runtime, "max_gpu": with_gpus.get(name) or limits["max_gpu"]}
    return found


def main() -> None:
    """Write the file, unless there is one."""
    file = Path(*sys.argv[1:2] or ["profiles/slurm/site.yaml"])
    if file.exists():
        sys.exit(f"{file} is there already; edit it, or delete it")
    try:
        found = partitions()
    except (OSError, subprocess.CalledProcessError, WorkflowError) as error:
        sys.exit(f"error: Slurm does not answer ({' '.join(str(error).split())}); run this where its commands are")
    file.write_text(yaml.safe_dump({"partitions": found}, sort_keys=False), encoding="utf-8")
    with_gpus = [name for name, limits in found.items() if "max_gpu" in limits]
    print(f"{file}: {len(found)} partitions, {', '.join(with_gpus) or 'none'} with GPUs; drop what you may not use")


if __name__ == "__main__":
    main()
