# lookupsim: everything runs in .venv, which the first target makes. Needs python3 (>= 3.11, with venv), make and g++.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: run test bench bench-memory compare validate incore sanitize lint format dashboard clean help

help:
	@echo "make run        GEMM against look-up FFN, on this host and on the CPUs described in hardware_specs/"
	@echo "make test       the test suite"
	@echo "make bench      speed of the model itself, held to its figures"
	@echo "make bench-memory  trace simulator, locality, event engine and known shapes against what they are held to (minutes)"
	@echo "make compare    the compiled kernels against GEMM through oneDNN and OpenBLAS on this host (minutes)"
	@echo "make validate   calibrates the model to this host, predicts kernels that it never saw, measures them (a minute or two)"
	@echo "make incore     the kernels' hot loops through llvm-mca for every target, into kernels/data/incore.json"
	@echo "make sanitize   the kernels under the address and undefined-behaviour sanitizers"
	@echo "make lint       ruff and mypy"
	@echo "make dashboard  the Streamlit dashboard"
	@echo "make clean      removes .venv and caches"

run: $(STAMP)
	@$(BIN)/lookupsim compare --summary

test: $(STAMP)
	@$(BIN)/python -m pytest -n 2

bench: $(STAMP)
	@$(BIN)/python -m tests.bench

bench-memory: $(STAMP)
	@$(BIN)/python -m tests.benchmemory --json $(or $(JSON),bench-memory.json)

compare: $(STAMP)
	@$(BIN)/python -m kernels bench --compare

validate: $(STAMP)
	@$(BIN)/python -m validate

incore: $(STAMP)
	@$(BIN)/python -m kernels incore --json kernels/data/incore.json

sanitize: $(STAMP)
	@$(BIN)/python -m tests.sanitize

lint: $(STAMP)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy simulator kernels validate

format: $(STAMP)
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

dashboard: $(STAMP)
	@if [ -f dashboard/app.py ]; then $(BIN)/streamlit run dashboard/app.py; \
	else echo "make dashboard: dashboard/app.py does not exist in this version" >&2; exit 1; fi

$(STAMP): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "lookupsim needs Python >= 3.11; $(PYTHON) is $$($(PYTHON) --version 2>&1). Try: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@echo "Setting up $(VENV) ..."
	@if command -v uv >/dev/null 2>&1; then \
	  uv venv --quiet --allow-existing --python $(PYTHON) $(VENV) && \
	  uv pip install --quiet --python $(BIN)/python -r requirements.lock && \
	  uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .; \
	else \
	  $(PYTHON) -m venv $(VENV) && \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock && \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .; \
	fi
	@echo "Compiling the locality model ..."
	@$(BIN)/lookupsim predict -m amd-epyc-9755 -w lookupffn-t128-s8-bh4 >/dev/null
	@touch $@

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
