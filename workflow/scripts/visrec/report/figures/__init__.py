"""The figures of the report, one file each, and `write`, which makes their files."""
