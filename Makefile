# `make repro` and `make test` do all of their own set-up; everything runs inside .venv.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
# Stages start as `python ...`: it has to be the one of .venv.
export PATH := $(CURDIR)/$(BIN):$(PATH)
export DVC_NO_ANALYTICS := 1
# glibc keeps what is freed, and takes it in large pages: a training step asks for the same memory as the one before.
# Returned each time, it costs a fifth of the time on CPUs (docs/results.md). Other C libraries ignore this.
export GLIBC_TUNABLES ?= glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=33554432:glibc.malloc.trim_threshold=4000000000:glibc.malloc.top_pad=67108864
# Two processes of one thread each: threads of both on the same cores would wait for each other.
PYTEST := OMP_NUM_THREADS=1 pytest -n 2 --dist loadfile

.PHONY: setup repro test unit lint lock plots-page clean

setup: $(VENV)/.installed

$(VENV)/.installed: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || \
		{ echo "Python 3.11 is needed: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	touch $@

repro: setup          ## run the pipeline: only what is out of date
	dvc repro

test: setup lint      ## everything: lint, types, unit and pipeline tests
	$(PYTEST)

unit: setup           ## the fast tests
	$(PYTEST) -m "not pipeline"

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
