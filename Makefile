# Every target sets itself up: a clean clone needs Python 3.11+ and make.
PYTHON ?= python3
BIN := .venv/bin
RUN := $(BIN)/python
WORKDIR ?= runs/quickstart
TOPOLOGIES ?= v4:2x2x1,v4:4x4x4
TEXTS := dataset=amazon,teacher=albert_xxlarge,student=albert_base
IMAGES := dataset=cifar10_bin,teacher=resnet92,student=resnet56

.PHONY: help venv tpu docs quickstart results-clinc plan test-lib test test-all lint format \
  bench bench-all release-check clean

help:  ## Lists the targets.
	@grep -E '^[a-z-]+:.*##' Makefile | sed 's/:.*## /\t/' | expand -t 14

venv: .venv/installed  ## Creates .venv for the commands and the tests.

.venv/installed: setup.cfg pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "lelp_jax needs Python 3.11 or newer, and '$(PYTHON)' is" \
	    "$$($(PYTHON) --version 2>&1). Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; \
	  exit 1; }
	@echo "Installing into .venv (once, about a minute) ..."
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install -qq --disable-pip-version-check \
	  --constraint constraints.txt --editable '.[experiments,text,deploy,test]'
	@touch $@

tpu: .venv/installed-tpu  ## Adds the TPU compiler to .venv (200 MB).

.venv/installed-tpu: .venv/installed
	@echo "Installing the compiler for TPUs (once, 200 MB) ..."
	@$(BIN)/pip install -qq --disable-pip-version-check \
	  --constraint constraints.txt --editable '.[tpu]'
	@touch $@

docs: .venv/installed-docs  ## Builds the documentation into docs/_build/html.
	@$(RUN) -m sphinx -q -W --keep-going docs docs/_build/html
	@echo "Open docs/_build/html/index.html"

.venv/installed-docs: .venv/installed
	@echo "Installing Sphinx (once, half a minute) ..."
	@$(BIN)/pip install -qq --disable-pip-version-check \
	  --constraint constraints.txt --editable '.[docs]'
	@touch $@

quickstart: venv  ## Distils on scikit-learn's digits and prints the table.
	@$(RUN) -m experiments.sweep \
	  --config=experiments/configs/quickstart.py --workdir=$(WORKDIR)
	@$(RUN) -m experiments.report --workdir=$(WORKDIR)

# MINILM is a folder with all-MiniLM-L6-v2, and CLINC a folder with CLINC150.
CLINC_RUN = runs/results-clinc
CLINC_SHARES = 15 100

results-clinc: venv  ## Trains cells of RESULTS.md on CLINC150 again (20 minutes).
	@test -n "$(MINILM)" -a -n "$(CLINC)" || { echo "MINILM or CLINC is not" \
	  "set. Run: make results-clinc MINILM=FOLDER CLINC=FOLDER (RESULTS.md" \
	  "says what the folders contain)."; exit 2; }
	@$(RUN) -m experiments.prepare --dataset=clinc_parity --source="$(CLINC)" \
	  --data_dir=$(CLINC_RUN)/data --tokenizer="$(MINILM)"
	@test -d $(CLINC_RUN)/minilm || $(RUN) -m experiments.reduce_vocabulary \
	  --model="$(MINILM)" --texts=$(CLINC_RUN)/data/clinc_parity \
	  --output=$(CLINC_RUN)/minilm
	@$(RUN) -m experiments.prepare --dataset=clinc_parity --source="$(CLINC)" \
	  --data_dir=$(CLINC_RUN)/reduced --tokenizer=$(CLINC_RUN)/minilm
	@for share in $(CLINC_SHARES); do \
	  $(RUN) -m experiments.sweep --workdir=$(CLINC_RUN)/sweeps/parity-$$share \
	    --teacher_dir=$(CLINC_RUN)/teachers \
	    --config=experiments/configs/results/clinc.py:share=$$share,teachers=1,grid=chosen,encoder=$(CLINC_RUN)/minilm \
	    --config.data.data_dir=$(CLINC_RUN)/reduced || exit; \
	done
	@$(RUN) -m experiments.report --workdir=$(CLINC_RUN)/sweeps

plan: tpu  ## Estimates memory and time on TPUs without a TPU (minutes).
	@$(RUN) -m experiments.plan --topologies=$(TOPOLOGIES) --cells=16 \
	  --config=experiments/configs/pair.py:$(TEXTS)
	@$(RUN) -m experiments.plan --topologies=$(TOPOLOGIES) --cells=16 \
	  --config=experiments/configs/pair.py:$(IMAGES)

# The tests compile more than they compute. With these flags XLA compiles small
# programs in a third of the time, to slower code. `make test-all` runs all tests
# without them, as XLA compiles for users.
FAST := --xla_cpu_use_fusion_emitters=false \
  --xla_cpu_parallel_codegen_split_count=1 --xla_backend_optimization_level=0
# The tests of a file share compiled programs, so that they run in one process.
# Only the plugin xdist is loaded: with the other installed plugins, each process
# would rewrite the assertions of all of Hypothesis.
PYTEST := PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 $(RUN) -m pytest -p xdist \
  -q -n 2 --dist loadfile -m 'not slow'

test-lib: venv  ## Tests only the library (90 seconds).
	@XLA_FLAGS="$(FAST)" $(PYTEST) lelp_jax tests/lelp_jax

test: test-lib  ## Runs the tests that every change must pass (5 minutes).
	@XLA_FLAGS="$(FAST)" $(PYTEST) --no-loadscope-reorder \
	  tests/experiments tests/benchmarks tests/test_*.py

test-all: venv tpu .venv/installed-docs  ## Runs all tests, including slow ones (hours).
	@$(RUN) -m pytest -q -n 2 -m 'not slow'
	@$(RUN) -m pytest -q -m slow
	@$(RUN) -m tests.release_check

release-check: venv  ## Builds the wheel and tries it in empty environments.
	@$(RUN) -m tests.release_check

lint: venv  ## Checks style and types.
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/pyrefly check

format: venv  ## Formats the code.
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: .venv/installed-bench  ## Measures speed against references (15 minutes).
	@$(RUN) -m benchmarks

bench-all: .venv/installed-bench  ## Measures speed at full sizes (35 minutes).
	@$(RUN) -m benchmarks --full

.venv/installed-bench: .venv/installed
	@echo "Installing torch and transformers for comparison (once) ..."
	@$(BIN)/pip install -qq --disable-pip-version-check \
	  --constraint constraints.txt --editable '.[bench]'
	@touch $@

clean:  ## Deletes .venv, builds, caches and all of runs/.
	rm -rf .venv runs build dist docs/_build *.egg-info .ruff_cache .hypothesis
