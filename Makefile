# make demo      set up .venv and run the whole workflow on scikit-learn's digits
# make test      set up .venv and run every test but the slow ones and those that start a cluster
# make help      the rest

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
REPORT := results/demo/report/index.html

.PHONY: demo test test-slow test-slurm bench bench-data bench-eval bench-train bench-scale bench-index status partial resume site lint format lock clean distclean help

demo: $(READY)
	@$(BIN)/snakemake
	@echo "The report is at $(CURDIR)/$(REPORT)"

test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow and not slurm" --numprocesses logical --maxprocesses 4 --dist worksteal

# Twenty kills of a training, trainings at full width, thousands of damaged files.
test-slow: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow --numprocesses logical --maxprocesses 4 --dist worksteal

# The workflow on a real Slurm that is started for it, with its GPUs made up, and the faults of docs/cluster.md.
test-slurm: $(READY)
	$(BIN)/python -m pytest -m slurm

# A short version of every benchmark below, as one table. Under ten minutes.
bench: $(READY)
	$(BIN)/python benchmarks/all.py $(if $(THREADS),--threads $(THREADS))

# Images per second from JPEG files to images.h5 beside a plain loop over Pillow, and peak memory.
bench-data: $(READY)
	$(BIN)/python benchmarks/data.py $(if $(IMAGES),--images $(IMAGES)) $(if $(THREADS),--threads $(THREADS))

# k-NN beside scikit-learn and faiss, linear probes beside LinearSVC. Half an hour.
bench-eval: $(READY)
	$(BIN)/python benchmarks/neighbours.py
	$(BIN)/python benchmarks/knn.py
	$(BIN)/python benchmarks/probe.py

# A training step beside one built like the AGE authors' code; several trainings at once. A quarter of an hour.
bench-train: $(READY)
	$(BIN)/python benchmarks/training.py $(if $(DEVICE),--device $(DEVICE)) $(if $(BATCHES),--batches $(BATCHES))

# Planning and scheduling of thousands of jobs that do nothing, and how much disk they would take. A quarter of an hour.
bench-scale: $(READY)
	$(BIN)/python benchmarks/scale.py $(if $(SEEDS),--seeds $(SEEDS))

# Approximate search in large galleries beside exact search. A quarter of an hour.
bench-index: $(READY)
	$(BIN)/python benchmarks/index.py $(if $(ROWS),--rows $(ROWS)) $(if $(DIMS),--dims $(DIMS)) $(if $(THREADS),--threads $(THREADS))

# One line per trial: its state, progress and time left. It reads files and touches no lock.
status: $(READY)
	@$(BIN)/python -m visrec.experiment.status $(if $(CONFIG),--configfile $(CONFIG))

# The report of the trials that are finished, while another Snakemake may be running: without its lock, on this machine.
partial: $(READY)
	@$(BIN)/snakemake partial --nolock --cores 1 --executor local --profile none --workflow-profile none \
	  --quiet host progress rules $(if $(CONFIG),--configfile $(CONFIG))

# On a cluster, after Snakemake itself was killed: cancels what it left in Slurm's queue, unlocks, and runs on.
resume: $(READY)
	@$(BIN)/python profiles/slurm/resume.py $(if $(CONFIG),--configfile $(CONFIG)) $(ARGS)

# Asks Slurm for its partitions, their limits and GPUs. An account, if one has to be named, is added by hand.
site: $(READY)
	@$(BIN)/python profiles/slurm/make_site.py

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile workflow/rules

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/snakefmt Snakefile workflow/rules

# uv itself comes from the lock too, with its hash, through the pip that every Python has; uv then installs the rest.
# --compile-bytecode: the first start of Snakemake is three times as fast, and every cluster job is a first start.
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("visrec needs Python 3.11 or newer, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	awk '/^[^ #]/ {uv = /^uv==/} uv' requirements.lock > $(VENV)/uv.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(VENV)/uv.txt
	$(BIN)/uv pip sync --python $(BIN)/python --compile-bytecode --require-hashes requirements.lock
	$(BIN)/uv pip install --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

# Versions and hashes of everything, for every platform and Python 3.11 or newer. torch and torchvision are one release.
lock:
	printf 'torch==2.13.0\ntorchvision==0.28.0\n' > $(VENV)/pins.txt
	$(BIN)/uv pip compile pyproject.toml --group dev --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-header --constraint $(VENV)/pins.txt --output-file requirements.lock

clean:
	rm -rf results/demo

distclean:
	rm -rf results .snakemake $(VENV)

help:
	@sed -n '1,3p' Makefile | sed 's/^# //'
	@echo "make lint      ruff and snakefmt, as the tests run them"
	@echo "make bench     a short version of every benchmark, as one table"
	@echo "make bench-data images per second of decoding and preparing"
	@echo "make bench-eval k-NN and linear probes beside other libraries"
	@echo "make bench-train a training step beside the AGE authors' way of it"
	@echo "make bench-scale thousands of jobs that do nothing, and their disk"
	@echo "make bench-index approximate search in large galleries beside exact search"
	@echo "make status    how far an experiment is: CONFIG=config/paper.yaml, say"
	@echo "make resume    on Slurm, go on after Snakemake itself was killed, CONFIG as above"
	@echo "make site      on Slurm, write down the partitions for profiles/slurm"
	@echo "make test-slurm the workflow on a real Slurm, with faults"
	@echo "make partial   the report of the trials that are finished, CONFIG as above"
	@echo "make test-slow twenty kills of a training, trainings at full width, damaged files"
	@echo "make format    let both mend what they can"
	@echo "make lock      renew requirements.lock from pyproject.toml"
	@echo "make clean     delete the demo's results"
	@echo "make distclean delete all results and the environment"
