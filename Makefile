# Needed: make, git, and Python 3.11 or newer with its venv. Everything else is put into .venv, which `make clean` removes.
# Another Python: make demo PYTHON=python3.13

PYTHON ?= $(shell for name in python3 python3.14 python3.13 python3.12 python3.11; do \
    $$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$name; break; }; done)
BIN := .venv/bin
READY := .venv/.ready-for-pyproject

.DEFAULT_GOAL := help
.PHONY: help demo test bench check format clean

help: ## what can be made
	@sed -n 's/^\([a-z]*\):.*## /  make \1|/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "%-14s %s\n", $$1, $$2}'

demo: $(READY) ## a record store as one process, and where Docker is, in one container and in five
	@BASE="$(BASE)" $(BIN)/python examples/demo.py

test: $(READY) ## all tests; without a Docker Engine it says which it left out (TESTS="-k graph": some of them)
	@$(BIN)/python -m pytest -n 2 $(TESTS)

bench: $(READY) ## what calls cost, beside what others' cost: tables, raw samples and a picture (BENCH="local remote": some)
	@$(BIN)/python -m benchmarks run $(BENCH)

check: $(READY) ## ruff, mypy --strict, and the direction of imports
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy --strict parigot_oci shim tests benchmarks examples/demo.py
	$(BIN)/python -m pytest -q tests/test_architecture.py

format: $(READY) ## let ruff format and repair what it can
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

clean: ## remove .venv and all that was made, also the data of the examples
	rm -rf .venv dist shim/native/*.so shim/native/*-health .pytest_cache .mypy_cache .ruff_cache .hypothesis
	rm -rf examples/*/build examples/*/.parigot examples/*/compose.yaml
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The environment is made again when pyproject.toml or a source in C is newer. Compilers for the examples come as wheels: 200 MB in all.
$(READY): pyproject.toml $(wildcard shim/native/*.[ch]) shim/native/build.py
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: install it, or make PYTHON=/path/to/python" >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { echo "making .venv with $$($(PYTHON) --version)"; $(PYTHON) -m venv --clear .venv; } || \
	    { rm -rf .venv; echo "Python lacks its venv: on Debian or Ubuntu, apt install python3-venv" >&2; exit 1; }
	@echo "installing what parigot-oci needs (the first time: about a minute)"
	@$(BIN)/python -m pip install --disable-pip-version-check --no-input --editable '.[dev]' $(if $(CI),--quiet,)
	@touch $@
