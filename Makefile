# The verbs of the project. Everything runs in .venv, made on first use from pyproject.toml.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# Threads that wait for one another give up their core instead of spinning on it.
export OMP_WAIT_POLICY ?= passive

.PHONY: demo test chaos check format clean bench-quality bench-train bench-graft bench-overload
.DEFAULT_GOAL := help

help:
	@echo "make demo    train, export, serve and graft on MovieLens-100K (ONCE=1: end instead of serving on)"
	@echo "make test    everything the tests need, then the tests"
	@echo "make chaos   kills, hangs and restarts under load, again and again (ROUNDS=5)"
	@echo "make check   lint, types, imports"
	@echo "make bench-quality   every model on real data, then docs/QUALITY.md"
	@echo "make bench-train     training speed beside torch-rechub's"
	@echo "make bench-graft     10,000 grafts and rollbacks under load"
	@echo "make bench-overload  three times the load that can be served"

$(READY): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("taskgraft needs Python 3.11 or newer; set PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

demo: $(READY)
	$(BIN)/python taskgraft.py demo $(if $(ONCE),--once)

test: $(READY)
	$(BIN)/python -m pytest $(ARGS)

# Moments differ each time: what holds once need not hold always.
chaos: $(READY)
	for round in $$(seq $(or $(ROUNDS),5)); do $(BIN)/python -m pytest -q tests/e2e/test_workers.py \
		tests/e2e/test_workers_redis.py tests/service/test_redis_faults.py $(ARGS) || exit 1; done

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/architecture

# bench-quality goes on where it was stopped; ARGS="--help" tells what each takes.
bench-quality: $(READY)
	nice -n 10 $(BIN)/python -m benchmarks.quality $(ARGS)

bench-train: $(READY)
	$(BIN)/python -m benchmarks.training_speed $(ARGS)

bench-overload: $(READY)
	$(BIN)/python -m benchmarks.overload $(ARGS)

bench-graft: $(READY)
	$(BIN)/python -m benchmarks.graft $(ARGS)

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) build runs data *.egg-info
