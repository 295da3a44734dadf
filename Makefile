# Every recipe makes the environment it needs first; CI calls the same recipes.
# PYTHON=python3.12 make test   chooses another interpreter (3.11 or newer).
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test test-all test-web web wheel study bench lint format types clean

demo: $(VENV)/.demo ## whole pipeline on data from Python packages, about 5 minutes
	$(BIN)/mora run configs/demo.yaml

test: $(VENV)/.dev ## the fast suite
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto --dist worksteal # a process a core

test-all: $(VENV)/.all ## everything, slow checks, real data and Spark (Java 17) included
	$(BIN)/python -m pytest -q -m ""

web: ## the explorer's page, into the package; needs Node 20 or newer
	cd web && npm ci --no-fund --no-audit && npm run build

test-web: web ## the explorer in headless Chromium (CHROMIUM=path of another browser)
	cd web && npm test

wheel: web $(VENV)/.dev ## dist/*.whl, with the explorer's page inside
	$(BIN)/python -m pip install --quiet --disable-pip-version-check build
	$(BIN)/python -m build --wheel

study: $(VENV)/.all ## every table of docs/results.md, some hours, can be stopped
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.study # small models: threads only wait

bench: $(VENV)/.all ## every ratio against its peer, an hour; writes benchmarks/RESULTS.md
	$(BIN)/python -m benchmarks

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

types: $(VENV)/.dev
	$(BIN)/pyright

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis dist build

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing Mora and its demo data into $(VENV) (a few minutes)"
	$(PIP) -e ".[demo]"
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing Mora and its test tools into $(VENV) (a few minutes)"
	$(PIP) -e ".[demo,dev]"
	@touch $@

$(VENV)/.all: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing Mora, its test tools, Spark and the benchmarks' peers (some minutes)"
	$(PIP) -e ".[demo,dev,spark,bench,notebooks,encoders]"
	$(PIP) --no-deps geoclip # for its weights; its own needs would replace PyTorch
	@touch $@
