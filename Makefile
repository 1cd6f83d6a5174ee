# Everything runs in .venv, which any target makes on a bare checkout from python3 and the package
# registries alone.
PYTHON ?= python3
BIN := .venv/bin
NAME ?= glue_minilm
SLURM := slurmctld slurmd slurm-client munge

.PHONY: help demo test nightly audit test-slurm lint format sweep wheel clean
.DEFAULT_GOAL := help

help:  ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-11s %s\n", $$1, $$2}'

# torch first: where a CPU build of the pinned version is at hand, nothing else replaces it then.
.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt torch
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev,offline]'
	@touch $@

demo: .venv/installed  ## fine-tune MiniLM on 300 generated sentences with AGWM (3 to 5 minutes)
	$(BIN)/python -m agwm.train task=acceptability model=minilm method=agwm n_train=300 seed=0

test: .venv/installed  ## lint and the whole test suite
	$(MAKE) lint
	$(BIN)/python -m pytest -n auto

audit: .venv/installed  ## known vulnerabilities of the pinned versions; needs the internet
	$(BIN)/pip install -q --disable-pip-version-check --upgrade --target .venv/audit pip-audit
	PYTHONPATH=.venv/audit $(BIN)/python -m pip_audit --strict --no-deps --disable-pip -r constraints.txt

test-slurm: export PATH := $(PATH):/usr/sbin
test-slurm: .venv/installed  ## install Slurm (Debian, as root) and run sweeps through it
	@which slurmctld slurmd srun munged > /dev/null \
	    || { apt-get update -q && apt-get install -qy $(SLURM); } \
	    || { echo "error: no Slurm here; as root: apt-get install $(SLURM)" >&2; exit 2; }
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e '.[slurm]'
	$(BIN)/python -m pytest -m slurm tests/slurm

nightly: .venv/installed  ## what takes too long for every test run
	$(BIN)/python -m pytest -n auto -m nightly

lint: .venv/installed  ## style, imports and the direction of the imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo

format: .venv/installed  ## put the code into the one format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

sweep: .venv/installed  ## run sweeps/$(NAME).yaml; ARGS='key=value ...' goes along
	$(BIN)/python -m agwm.train +sweeps=$(NAME) $(ARGS)

wheel: .venv/installed  ## build the wheel into dist/
	$(BIN)/python -m build --wheel

clean:  ## remove what was built; runs/ stays
	rm -rf .venv build dist
