# The verbs of the project. Everything runs in .venv, made on first use from pyproject.toml.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# Threads that wait for one another give up their core instead of spinning on it.
export OMP_WAIT_POLICY ?= passive

.PHONY: demo test docs console-test compose-test kube-test chaos check lock format clean bench bench-peers bench-images bench-quality bench-train bench-graft bench-upgrade bench-faults bench-overload
.DEFAULT_GOAL := help

help:
	@echo "make demo    train, export, serve and graft on MovieLens-100K (ONCE=1: end instead of serving on)"
	@echo "make test    everything the tests need, then the tests"
	@echo "make console-test    the console in a real Chromium; its pictures are in build/console"
	@echo "make docs    the site in build/docs, built strictly, its links checked"
	@echo "make chaos   kills, hangs and restarts under load, again and again (ROUNDS=5)"
	@echo "make compose-test    images built, composed, stopped and started (needs Docker)"
	@echo "make kube-test       the manifests' pods, run by podman (needs Docker and podman)"
	@echo "make check   lint, types, imports, manifests"
	@echo "make lock    pin what the images install"
	@echo "make bench           what scoring costs, then docs/BENCHMARKS.md"
	@echo "make bench-peers     the same model in other servers, then docs/BENCHMARKS.md"
	@echo "make bench-quality   every model on real data, then docs/QUALITY.md"
	@echo "make bench-images    size and cold start of the service image (needs Docker; ARGS=--training: the other size too)"
	@echo "make bench-train     training speed beside torch-rechub's"
	@echo "make bench-graft     10,000 grafts and rollbacks under load"
	@echo "make bench-upgrade   another backbone, there and back, under load"
	@echo "make bench-overload  three times the load that can be served"
	@echo "make bench-faults    Redis stopped, hung, slow, full or talking nonsense"

$(READY): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("taskgraft needs Python 3.11 or newer; set PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

demo: $(READY)
	$(BIN)/python taskgraft.py demo $(if $(ONCE),--once)

test: $(READY)
	$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

# A part of `test` as well, where Chromium is installed; nothing downloads one.
console-test: $(READY)
	$(BIN)/python -m pytest tests/console $(ARGS)

docs: $(READY)
	$(BIN)/python -m docs.site build/docs

# Beside `test`, for it builds images; skipped, with the reason, where no engine is to be had.
compose-test: $(READY)
	docker/with-engine $(BIN)/python -m pytest tests/compose/test_stack.py tests/compose/test_images.py $(ARGS)

kube-test: $(READY)
	docker/with-engine $(BIN)/python -m pytest tests/compose/test_pods.py $(ARGS)

# Moments differ each time: what holds once need not hold always.
chaos: $(READY)
	for round in $$(seq $(or $(ROUNDS),5)); do RESTARTS=3 $(BIN)/python -m pytest -q tests/e2e/test_workers.py \
		tests/e2e/test_rolling_restart.py tests/e2e/test_workers_redis.py tests/service/test_redis_faults.py $(ARGS) || exit 1; done

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/architecture tests/docker tests/k8s tests/monitoring

lock: $(READY)
	PYTHON=$(BIN)/python docker/lock

# bench-quality goes on where it was stopped; ARGS="--help" tells what each takes.
bench-quality: $(READY)
	nice -n 10 $(BIN)/python -m benchmarks.quality $(ARGS)

bench: $(READY)
	$(BIN)/python -m benchmarks.serving $(ARGS)

bench-peers: $(READY)
	$(BIN)/python -m benchmarks.serving_peers $(ARGS)

bench-images: $(READY)
	docker/with-engine $(BIN)/python -m benchmarks.images $(ARGS)

bench-train: $(READY)
	$(BIN)/python -m benchmarks.training_speed $(ARGS)

bench-overload: $(READY)
	$(BIN)/python -m benchmarks.overload $(ARGS)

bench-graft: $(READY)
	$(BIN)/python -m benchmarks.graft $(ARGS)

bench-upgrade: $(READY)
	$(BIN)/python -m benchmarks.upgrade $(ARGS)

bench-faults: $(READY)
	$(BIN)/python -m benchmarks.redis_faults $(ARGS)

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) build runs data *.egg-info
