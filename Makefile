# `make` runs the demo study, `make test` every test but those on a Slurm of their own
# (`make test-cluster`, as root), `make bench` the comparison with other programs, which
# it installs; all set up .venv first.

PYTHON ?= python3
STUDY ?= demo
export PATH := $(CURDIR)/.venv/bin:$(PATH)

.PHONY: all test test-cluster check reference bench clean

all: .venv/installed
	@snakemake --cores all --rerun-incomplete --quiet rules host --config study=$(STUDY)
	@python workflow_scripts/show_scores.py results/$(STUDY)

# one file is one worker's; the workflow's tests, which take longest, come first
test: .venv/installed
	@pytest -n 2 --dist loadfile --no-loadscope-reorder tests/workflow tests/unit

# installs Debian's Slurm where there is none, and starts it for as long as the tests take
test-cluster: .venv/installed
	@pytest tests/cluster -rs

# format, lint, types and the workflow's own checks
check: .venv/installed
	ruff format --check .
	ruff check .
	snakefmt --check Snakefile rules
	mypy
	snakemake --lint

.venv/installed: pyproject.toml envs/constraints.txt
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --constraint envs/constraints.txt --editable '.[dev]'
	@touch $@

# docs/configuration.md and the JSON schema, from a2d/config.py
reference: .venv/installed
	@python workflow_scripts/write_reference.py

# docs/performance.md, with the demo's text and models; BENCH='--groups training', and
# BENCH='--peers' for none of the other programs
bench: .venv/installed
	@snakemake --cores all --rerun-incomplete --quiet rules host --config study=demo
	@python -m benchmarks $(BENCH)

clean:
	rm -rf results .snakemake
