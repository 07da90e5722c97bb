# Two commands are all a newcomer needs: `make demo` and `make test`. Each brings its own virtual
# environment to what its lock says; nothing is installed outside this folder.

VENV      ?= .venv
DEMO_VENV ?= .venv-demo
PY        := $(VENV)/bin/python
PYTEST    ?=
WORKERS   ?= 4
SEEDS     ?= 0-699
CASES     ?= 1000000
MINUTES   ?= 30
RUNS      ?= 200
SEED      ?=
ARGS      ?=
UPGRADE   ?=

COMPILE := uv pip compile pyproject.toml --universal --generate-hashes --no-header \
           --no-emit-index-url --quiet $(if $(UPGRADE),--upgrade)

.DEFAULT_GOAL := help
.PHONY: help demo demo-llamacpp test lint types imports mutants model-check simulate-faults \
        simulate-faults-planted crash-matrix fuzz soak bench bench-quick bench-memory bench-bounds bench-scheduling bench-live profile pictures format lock \
        clean dev

help:  ## say what there is to make
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-24s %s\n", $$1, $$2 }' \
		$(firstword $(MAKEFILE_LIST))

demo:  ## three toy models take turns behind a real gateway (run-time dependencies only)
	@sh tools/venv.sh $(DEMO_VENV) requirements.lock
	@$(DEMO_VENV)/bin/python -m llmux demo $(ARGS)

demo-llamacpp:  ## the same with real llama.cpp servers and tiny models (Linux; 60 MB of packages)
	@sh tools/venv.sh $(DEMO_VENV)-llamacpp requirements-llamacpp.lock
	@$(DEMO_VENV)-llamacpp/bin/python -m llmux demo --llamacpp $(ARGS)

test: lint types imports  ## lint, types, floors, then all tests side by side (WORKERS=0: one by one)
	@$(PY) -m pytest --numprocesses $(WORKERS) --dist worksteal $(PYTEST)

lint: dev  ## ruff: rules and format
	@$(PY) -m ruff check
	@$(PY) -m ruff format --check

types: dev  ## mypy, strictly
	@$(PY) -m mypy

imports: dev  ## the floors of the house: who may import whom
	@$(PY) -c 'import sys; from importlinter.cli import lint_imports_command as run; run()' --no-cache

bench: dev  ## measure beside nginx and llmux 2.4.0, and write docs/performance.md (ARGS=--help)
	@$(PY) -m bench $(ARGS)

bench-quick: dev  ## the same in a minute, with fewer rounds; writes nothing
	@$(PY) -m bench --quick $(ARGS)

bench-memory: dev  ## what the hard cases cost in memory, beside their bounds; writes into docs/hardening.md
	@$(PY) -m bench.memory $(ARGS)

bench-bounds: dev  ## how soon things heal, end and are told, beside their bounds; writes into docs/hardening.md
	@$(PY) -m bench.bounds $(ARGS)

profile: dev  ## where the time of a relayed request goes (ARGS=--stream: of a chunk)
	@$(PY) -m bench.profile $(ARGS)

bench-scheduling: dev  ## waits under each policy beside the best that full knowledge could reach
	@$(PY) bench/scheduling.py $(ARGS)

bench-live: dev  ## a real gateway beside the simulator, the same requests; writes into docs/simulate.md
	@$(PY) -m bench.live $(ARGS)

mutants: dev  ## plant one fault after the other and show which test finds it (ARGS="--with stories")
	@$(PY) -m tests.mutants $(ARGS)

model-check: dev  ## walk the board's state space, every order of facts (ARGS=--help)
	@$(PY) -m proof.walk $(ARGS)

simulate-faults: dev  ## the real board and driver under faults drawn from seeds (SEEDS=0-699)
	@$(PY) -m proof.simulate $(SEEDS) $(ARGS)

simulate-faults-planted: dev  ## plant faults and show which the simulation finds within 1 M events
	@$(PY) -m proof.planted $(ARGS)

fuzz: dev  ## feed every door with what nobody sends, from grammars (CASES=1000000)
	@$(PY) -m proof.fuzz --cases $(CASES) $(ARGS)

soak: dev  ## ask a real gateway for long, by clients of every kind, and see what grows (MINUTES=30)
	@$(PY) -m proof.soak --minutes $(MINUTES) $(ARGS)

crash-matrix: dev  ## kill -9 the real process in every phase and look what comes of it (RUNS=200 SEED=)
	@$(PY) -m proof.crash $(RUNS) $(if $(SEED),--seed $(SEED)) $(ARGS)

pictures: dev  ## write anew what is made from the code: pictures and the schema of the config
	@$(PY) -m llmux schema --output docs/config.schema.json
	@$(PY) -m tools.floors
	@$(PY) -m tools.demo_picture
	@$(PY) -m tools.report_picture

format: dev  ## let ruff put the files into shape
	@$(PY) -m ruff check --fix
	@$(PY) -m ruff format

lock:  ## resolve the locks anew (UPGRADE=1: take newer releases); needs uv
	@command -v uv >/dev/null || { echo "llmux: make lock needs uv: pip install uv" >&2; exit 1; }
	@$(COMPILE) --group build -o requirements.lock
	@$(COMPILE) --group dev --extra llamacpp -c requirements.lock -o requirements-dev.lock
	@$(COMPILE) --group build --extra llamacpp -c requirements-dev.lock -o requirements-llamacpp.lock
	@! grep -nE '://' requirements*.lock

dev:
	@sh tools/venv.sh $(VENV) requirements-dev.lock

clean:  ## remove the environments and all caches
	rm -rf .venv .venv-* .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist build
	find src tests bench proof tools examples -name __pycache__ -type d -prune -exec rm -rf {} +
