# `make repro` runs the study, `make test` checks the project; both set up .venv first, from Python 3.11, make and git alone.

PYTHON ?= python3.11
VENV := .venv
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

.PHONY: repro test attack bench overhead batches rates setup lock

repro: setup
	dvc repro

test: setup
	ruff check .
	ruff format --check .
	mypy
	lint-imports --no-logo
	pytest

# Half an hour on two cores, with nothing else running; python tests/bench.py --repetitions 2 is quicker.
bench: setup
	python tests/bench.py

# Kills, races, damage: half an hour on two idle cores; python tests/attack.py --help names its parts.
attack: setup
	python tests/attack.py

overhead: setup
	python tests/overhead.py

rates: setup
	python tests/rates.py

batches: setup
	python tests/batches.py

setup: $(VENV)/ready

# A plain pip install under constraints: exact versions, and on each platform only what its own wheels ask for.
$(VENV)/ready: pyproject.toml .constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "make: no $(PYTHON) here; name a Python of 3.11 or later: make PYTHON=python3"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	PIP_CONSTRAINT=.constraints.txt $(VENV)/bin/python -m pip install --quiet '.[test]'
	touch $@

# Resolves pyproject.toml from scratch, for all platforms at once.
lock: setup
	PIP_CONSTRAINT= $(VENV)/bin/python -m pip install --quiet '.[lock]'
	uv pip compile --universal --python-version 3.11 --all-extras --upgrade --no-emit-index-url --no-emit-find-links \
		--no-header --no-annotate --quiet --output-file .constraints.txt pyproject.toml
