# vaultlayer's verbs. Each needs Python >= 3.11 and make, and prepares its own .venv.
#   make demo   watch the main job on made-up people
#   make test   the everyday suite, with its coverage floors
#   make lint   ruff, mypy, pyright, the import contracts
#   make docs   run the examples of README.md and docs/
#   make bench  the benchmarks, a table of ratios
#   make bench-page  the newest run's figures and charts into docs/benchmarks.md
#   make soak   the long campaigns: hours of kills, millions of rows
PYTHON ?= python3
ROOM := .venv/bin
COVERED := vaultlayer/crypto/*,vaultlayer/read_path.py,vaultlayer/write_path.py

.DEFAULT_GOAL := help
.PHONY: help demo test lint bench bench-page docs soak clean

help:
	@sed -n 's/^#   //p' Makefile

demo: .venv/.ready-demo
	@$(ROOM)/vaultlayer demo

test: .venv/.ready-test .venv/.ready-bench
	$(ROOM)/python -m pytest --numprocesses auto --cov --cov-report= $(ARGS)
	$(ROOM)/python -m coverage report --include='$(COVERED)' --show-missing --fail-under=100

lint: .venv/.ready-test .venv/.ready-lint
	$(ROOM)/ruff check
	$(ROOM)/mypy
	$(ROOM)/mypy tests/typing/api.py
	$(ROOM)/pyright --pythonpath $(ROOM)/python
	$(ROOM)/python tests/typing/complete.py
	$(ROOM)/lint-imports
	$(ROOM)/vaultlayer policy check --policies policies

docs: .venv/.ready-test
	$(ROOM)/python -m pytest tests/docs

bench: .venv/.ready-bench
	$(ROOM)/python -m benchmarks $(ARGS)

bench-page: .venv/.ready-bench
	$(ROOM)/python -m benchmarks.page $(ARGS)

soak: .venv/.ready-test
	$(ROOM)/python -m pytest -m soak $(ARGS)

clean:
	rm -rf .venv

# A stamp a group: a second run finds it newer than pyproject.toml and starts at once.
.venv/.ready-%: pyproject.toml
	@test -x $(ROOM)/python || $(PYTHON) -m venv .venv
	@echo "Installing what 'make $*' needs into .venv"
	@$(ROOM)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	@$(ROOM)/python -m pip install --quiet --disable-pip-version-check --editable '.[cli]' \
		$(if $(filter-out demo,$*),--group $*)
	@touch $@
