# `make repro` runs the study, `make test` checks the project; both set up .venv first, from Python 3.11, make and git alone.

PYTHON ?= python3.11
VENV := .venv
# uv, if it is on the PATH, and pip otherwise; uv would take a package from the first index that has any version of it.
INSTALL := $(if $(shell command -v uv),uv pip install --python $(VENV)/bin/python --index-strategy unsafe-best-match,\
	$(VENV)/bin/python -m pip install $(if $(TORCH),--retries 1 --timeout 10))
# `make setup TORCH=cpu`: PyTorch's own wheels, without CUDA. By default those of the usual index, which on Linux bring it.
WHEELS := $(if $(TORCH),--extra-index-url https://download.pytorch.org/whl/$(TORCH))
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

.PHONY: repro test test-all lint attack bench gpu touched verify carry setup lock

repro: setup
	@git rev-parse --git-dir >/dev/null 2>&1 || { echo "make: not a git repository, which DVC needs: git init, or clone it"; exit 1; }
	dvc repro

test: lint
	pytest

# With the slow tests.
test-all: lint
	pytest -m ''

lint: setup
	ruff check .
	ruff format --check .
	mypy
	lint-imports --no-logo

# Half an hour on two cores, with nothing else running; python tools/bench.py --repetitions 2 is quicker.
bench: setup
	python tools/bench.py

# Four minutes on an H100; needs a GPU.
gpu: setup
	python tools/gpu.py

# Kills of every stage, races, damage, generated entries: half an hour; python tools/attack.py --help names its parts.
attack: setup
	python tools/attack.py

# After `make repro`, whose data and models it reads: a minute or two for most studies, 15 to 20 for each of 14 epochs.
verify: setup
	python tools/verify.py

# After a change of the code of trials that changes no result, committed or not: twice the minutes of `make verify`.
carry: setup
	python tools/carry.py

# After `make repro`, whose results it reads: two minutes on idle cores; trains nothing.
touched: setup
	python tools/touched.py

setup: $(VENV)/ready dvc_plots/vega.js

# A plain install under constraints: exact versions, and on each platform only what its own wheels ask for. A set-up
# that fails or is stopped leaves no .venv; one that was killed leaves it without `ready`, and is begun again.
$(VENV)/ready: pyproject.toml .constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
		|| { echo "make: $(PYTHON) is not there, or older than 3.11; name another one: make PYTHON=python3.12"; exit 1; }
	@test -e $@ || rm -rf $(VENV)
	trap 'test -e $@ || rm -rf $(VENV)' EXIT; trap 'exit 1' INT TERM; $(PYTHON) -m venv $(VENV) \
		&& PIP_CONSTRAINT=.constraints.txt UV_CONSTRAINT=.constraints.txt $(INSTALL) --quiet $(WHEELS) '.[test]' && touch $@

# Vega, so that the charts of `dvc plots show` are drawn without network: in a block of its own, as its names are short.
dvc_plots/vega.js: $(VENV)/ready
	mkdir -p dvc_plots
	python -c 'import vl_convert; print("{", vl_convert.javascript_bundle(vl_version="5.21"), "}")' > $@.part
	mv $@.part $@

# Resolves pyproject.toml from scratch, for all platforms at once.
lock: setup
	PIP_CONSTRAINT= $(VENV)/bin/python -m pip install --quiet '.[lock]'
	uv pip compile --universal --python-version 3.11 --all-extras --upgrade --no-emit-index-url --no-emit-find-links \
		--no-header --no-annotate --quiet --output-file .constraints.txt pyproject.toml
