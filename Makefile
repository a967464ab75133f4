# `make repro` and `make test` do all of their own set-up; everything runs inside .venv.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
# Stages start as `python ...`: it has to be the one of .venv.
export PATH := $(CURDIR)/$(BIN):$(PATH)
export DVC_NO_ANALYTICS := 1

.PHONY: setup repro test unit lint lock plots-page deps clean

setup: $(VENV)/.installed

$(VENV)/.installed: requirements.txt
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is needed; set PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	touch $@

repro: setup          ## run the pipeline: only what is out of date
	dvc repro

test: setup lint      ## everything: lint, types, unit and pipeline tests
	pytest -n 2 --dist loadfile -m "not alone"
	pytest -m alone

unit: setup           ## the fast tests
	pytest -n 2 --dist loadfile -m "not pipeline and not alone"

lint: setup
	ruff check .
	ruff format --check .
	mypy

lock: setup           ## compile requirements.txt from pyproject.toml
	uv pip compile pyproject.toml --group dev --universal --generate-hashes --python-version 3.11 \
		--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" --output-file requirements.txt

plots-page: setup     ## build DVC's offline plots page again, after an upgrade of vl-convert-python
	PYTHONPATH=src python -m millrace.plots_page

clean:                ## forget checkpoints, logs and caches; DVC's outs stay
	rm -rf runs dvc_plots .pytest_cache .mypy_cache .ruff_cache .hypothesis
