# Every target sets itself up: the first one builds .venv (a few minutes), later ones find it there.

PYTHON  ?= python3
VENV    := .venv
BIN     := $(VENV)/bin
STAMP   := $(VENV)/.installed
STUDY   ?= pareto
METHODS ?=
METHOD  ?= $(if $(filter pareto ladder,$(STUDY)),sap)
SMOKE   ?=
HOST    ?=
TRIALS  ?= 0
DEVICE  ?= auto
MLFLOW  ?=
RECORDS ?=
ARGS    ?=

KNOWN   := PYTHON VENV STUDY METHODS METHOD SMOKE HOST TRIALS DEVICE MLFLOW RECORDS ARGS
PASSED  := BENCH_% MLFLOW_% CUDA_% OMP_% PIP_% AWS_% PYTHON% SHELL# what make hands on to commands, or reads itself
GIVEN   := $(foreach name,$(.VARIABLES),$(if $(findstring command line,$(origin $(name))),$(name)))
UNKNOWN := $(filter-out $(KNOWN) $(PASSED),$(GIVEN))
$(if $(UNKNOWN),$(error make knows the variables $(KNOWN), but got $(UNKNOWN); \
write METHOD=gradual in capitals, and settings of runs as ARGS="epochs=3"))

.DEFAULT_GOAL := help
.PHONY: help install study compare ui servers report figures gallery docs test test-slow test-faults test-gpu test-cifar check format bench scale doctor clean

help: ## show this help
	@echo "make study METHOD=sap [STUDY=pareto|ladder] [TRIALS=8] [DEVICE=auto|cpu|cuda] [ARGS='...']"
	@echo "make compare [METHODS=gradual,sap] [TRIALS=0] [ARGS='--sanity shuffled,reinit,scratch --dry-run']"
	@echo "make study STUDY=headline [SMOKE=1]   a study with its own methods (all: .venv/bin/bench list studies)"
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-11s %s\n", $$1, $$2}'

install: $(STAMP) ## build the environment in .venv

# The last line stores the catalogue of methods and models, so that commands that only print start fast.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and f"Python 3.11 or newer is needed, but {sys.executable} is {v.major}.{v.minor}; make PYTHON=python3.12")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing (once, a few minutes) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	@touch $@
	@-$(BIN)/bench list > /dev/null

study: $(STAMP) ## answer STUDY for METHOD, make the report; SMOKE=1: its small size, a minute or two
	@echo "STUDY=$(STUDY) $(if $(METHOD),METHOD=$(METHOD))"
	@$(BIN)/bench study $(METHOD) $(if $(HOST),host=$(HOST)) --study $(STUDY) $(if $(filter-out 0,$(SMOKE)),--smoke) --trials $(TRIALS) --device $(DEVICE) $(ARGS)

compare: $(STAMP) ## the fair comparison of METHODS, with baselines and ledger; SMOKE=1: its small size
	@$(BIN)/bench compare $(METHODS) $(if $(filter file,$(origin STUDY)),,--study $(STUDY)) $(if $(filter-out 0,$(SMOKE)),--smoke) --trials $(TRIALS) --device $(DEVICE) $(ARGS)

ui: $(STAMP) ## the MLflow UI on http://127.0.0.1:5000
	@$(BIN)/bench ui $(ARGS)

report: $(STAMP) ## figures, tables, the page and the article, from the records; MLFLOW=http://127.0.0.1:5000: with links
	@$(BIN)/bench report $(if $(MLFLOW),--mlflow $(MLFLOW)) $(ARGS)

figures: report ## the same: a report's figures lie beside it, with the CSV behind each

gallery: $(STAMP) ## the figures of README and docs, from RECORDS (folders, files of export-data), into reports/gallery
	@$(BIN)/python -m reports.gallery $(RECORDS)

servers: $(VENV)/.servers ## a PostgreSQL and an MLflow server on loopback, with passwords of their own; Ctrl-C ends them
	@$(BIN)/bench servers $(ARGS)

$(VENV)/.servers: $(STAMP)
	@echo "installing what servers need (once) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[servers]"
	@touch $@

docs: $(STAMP) ## a page for each method, from its docstring, fields and claims
	@$(BIN)/bench docs $(ARGS)

test: $(STAMP) ## the fast tests: no network, no GPU, no data
	@$(BIN)/python -m pytest -n auto --dist loadgroup --durations=20 --durations-min=0.1 $(ARGS)

test-slow: $(STAMP) ## tests that take longer: kills, servers, whole studies
	@$(BIN)/python -m pytest -m slow $(ARGS)

test-faults: $(STAMP) ## a study while workers, servers, disk and network fail; needs root and the extra `servers`
	@$(BIN)/python -m pytest -m faults -s $(ARGS)

test-gpu: $(STAMP) ## tests that need a CUDA device
	@$(BIN)/python -m pytest -m gpu $(ARGS)

test-cifar: $(STAMP) ## tests on CIFAR-10 with the trained ResNets
	@$(BIN)/python -m pytest -m cifar $(ARGS)

check: $(STAMP) ## format, lint and strict types
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy

format: $(STAMP) ## format the code
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: $(STAMP) ## speed: our step against a plain loop, methods against dense, data against DataLoader
	@$(BIN)/python -m bench.perf.benchmark $(ARGS)

scale: $(STAMP) ## thousands of runs and tens of workers: the report, MLflow, storages, what a trial costs (ARGS=--help)
	@$(BIN)/python -m bench.perf.scale $(ARGS)

doctor: $(STAMP) ## what is wrong with this machine, if anything
	@$(BIN)/bench doctor

clean: ## remove the environment (results stay)
	rm -rf $(VENV) *.egg-info
