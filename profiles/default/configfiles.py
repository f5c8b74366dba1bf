"""What is wrong in a config file, in one line: Snakemake reads it before the Snakefile, whose checks come too late.

profiles/default/config.yaml, which Snakemake reads first of all, asks.
"""

import sys
from pathlib import Path

from snakemake.cli import parse_config

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "workflow/scripts"))

from visrec.errors import UserError
from visrec.experiment.config_file import read

OPTIONS = ("--configfile", "--configfiles")


def named(words: list[str], options: tuple[str, ...] = OPTIONS) -> list[str]:
    """What a command says after some options: `--configfile a.yaml b.yaml`, `--configfile=a.yaml`."""
    found: list[str] = []
    inside = False
    for word in words:
        option, _, value = word.partition("=")
        if word.startswith("-"):
            found += [value] if option in options and value else []
            inside = option in options and not value
        elif inside:
            found.append(word)
    return found


def check(words: list[str]) -> None:
    """Read the config files that a command names, and look for values on the command line that Snakemake fails at.

    Raises:
        SystemExit: with one line, that names the file or the value and what is wrong in it.
    """
    for word in named(words, ("--config", "-C")):
        key, _, value = word.partition("=")
        remedy = "rename it, or write it into the config file, in quotes"  # the command's own quotes are taken away
        if value.lstrip().startswith("#"):
            sys.exit(f"error: --config {word}: YAML reads it as a comment; {remedy}")
        found = parse_config([word])[key] if key == "query" and value else ""
        if isinstance(found, str) and found not in ("", value, value.strip("'\"")):
            sys.exit(f"error: --config {word}: YAML keeps '{found}' of it; {remedy}")
    for path in named(words):
        try:
            if Path(path).exists():  # else a target follows, or Snakemake says that there is none
                read(path)
        except UserError as error:
            sys.exit(f"error: {error}" if str(error).startswith(path) else f"error: {path}: {error}")
