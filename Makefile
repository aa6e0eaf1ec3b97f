# `make demo` and `make test` each set up what they need; nothing has to be installed first but Python 3.11.
# Everything lives in .venv, with the versions in constraints.txt, put there by plain pip.

PYTHON ?= python3
OUT ?= runs/demo
# Test processes: one per core, four at most; 0 runs the tests in pytest's own.
WORKERS ?= $(shell cores=$$(nproc 2>/dev/null || echo 1); echo $$((cores > 4 ? 4 : cores > 1 ? cores : 0)))
# Fits that `make evidence` runs at a time, one thread each.
JOBS ?= 1

BIN := .venv/bin
CORE ?= .venv-core
RAY ?= .venv-ray
INSTALL := python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
PIP := $(BIN)/$(INSTALL)
# torch is named, so that pip settles on the pinned build before it looks at anything else.
TORCH := $(shell grep '^torch==' constraints.txt)
# One thread, so that results and times do not depend on how many cores are free.
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 NUMBA_NUM_THREADS=1 POLARS_MAX_THREADS=1 \
	TOKENIZERS_PARALLELISM=false

.PHONY: help demo demo-risk serve test test-core test-ray check docs dist bench evidence clean

help:
	@echo "make demo   train on ML-100K with SmolLM2-135M, evaluate, recommend to two new people ($(OUT))"
	@echo "make demo-risk  few-shot risk profiles; a synthetic payment network, clearing, a settlement day, a small study, a stress test and a watch list of banks with their reports (runs/demo-risk)"
	@echo "make serve  serve the demo's run over HTTP on this machine"
	@echo "make bench  time the adaptation of one user in the demo's run"
	@echo "make evidence  measure what is missing of every table in docs/results/evidence, and write the pages (JOBS=2 at a time; many hours)"
	@echo "make test   run the tests with coverage"
	@echo "make test-core  the first hour, and every command of the documentation, with the core alone (.venv-core)"
	@echo "make test-ray  shards on Ray, which is installed beside the rest (.venv-ray), with loopback alone"
	@echo "make check  ruff, mypy, import contracts, dependencies, documentation"
	@echo "make docs   build the documentation into site/"
	@echo "make dist   build wheel and source archive into dist/, twice, and compare them byte by byte"
	@echo "make clean  remove build output and caches, keep .venv and runs"

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit("warmprompt needs Python 3.11 or newer: make PYTHON=python3.11 ..." if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv

.venv/.core: pyproject.toml constraints.txt | .venv/bin/python
	$(PIP) $(TORCH) --editable .
	touch $@

.venv/.risk: .venv/.core
	$(PIP) $(TORCH) --editable '.[risk]'
	touch $@

.venv/.dev: .venv/.core
	$(PIP) $(TORCH) --editable '.[risk,docs,dev]'
	$(BIN)/python -m pip check
	touch $@

# The core alone, as a wheel, for the tests of what its users can do; CORE names another folder, PYTHON another Python.
# What .venv has of it is linked, and pip then finds that nothing is missing.
$(CORE)/.core: pyproject.toml constraints.txt | .venv/.dev
	$(PYTHON) -m venv --clear $(CORE)
	$(BIN)/python .ci/link_core $(CORE)
	$(CORE)/bin/$(INSTALL) $(TORCH) .
	touch $@

# Ray beside what .venv has; RAY names another folder.
$(RAY)/.ray: pyproject.toml constraints.txt | .venv/.dev
	$(PYTHON) -m venv --clear $(RAY)
	$(BIN)/python -c "import sysconfig as s; print('import site; site.addsitedir(%r)' % s.get_path('purelib'))" \
		> $$($(RAY)/bin/python -c "import sysconfig as s; print(s.get_path('purelib'))")/base.pth
	$(RAY)/bin/$(INSTALL) --editable '.[ray]'
	touch $@

demo: .venv/.core
	$(BIN)/python -m warmprompt.demo --out $(OUT)

serve: .venv/.core
	@test -d $(OUT) || { echo "error: $(OUT) is not there. Run 'make demo' first, or name a run with OUT=." >&2; exit 2; }
	$(BIN)/warmprompt serve $(OUT)

demo-risk: OUT := runs/demo-risk
demo-risk: .venv/.risk
	$(ONE_THREAD) $(BIN)/warmprompt risk network --banks 300 --seed 1 --out $(OUT)/links.csv --plot $(OUT)/network.png
	$(ONE_THREAD) $(BIN)/warmprompt risk clear $(OUT)/links.csv --cash-share 0.2 --alpha 0.8 --beta 0.8 \
		--out $(OUT)/clearing.csv --plot $(OUT)/cascade.png
	$(ONE_THREAD) $(BIN)/warmprompt risk simulate --seed 1 --outage B001@30000+20000 --out $(OUT)/day.csv
	$(ONE_THREAD) $(BIN)/warmprompt risk train --customers 200 --out $(OUT)/profiler --overwrite \
		--save-payments $(OUT)/payments.parquet
	$(ONE_THREAD) $(BIN)/warmprompt risk profile $(OUT)/profiler --customers 150 --last 20 --plot $(OUT)/reliability.png
	$(ONE_THREAD) $(BIN)/warmprompt risk profile $(OUT)/profiler $(OUT)/payments.parquet --entity 156 --last 25 \
		--plot $(OUT)/customer.png
	$(ONE_THREAD) $(BIN)/warmprompt risk study --scenarios 12 --incident stress --seed 1 --out $(OUT)
	$(ONE_THREAD) $(BIN)/warmprompt risk stress $(OUT)/links.csv --capital-share 0.1 --model threshold \
		--loss-given-default 0.4 --shock B003 --shock all=20% --out $(OUT)/report.html --table $(OUT)/banks.csv
	$(ONE_THREAD) $(BIN)/warmprompt risk train --save-table $(OUT)/ratings.csv \
		--out $(OUT)/ratings --overwrite
	$(ONE_THREAD) $(BIN)/warmprompt risk score $(OUT)/ratings $(OUT)/ratings.csv --all --out $(OUT)/scores.csv
	$(ONE_THREAD) $(BIN)/warmprompt risk watch $(OUT)/links.csv --capital-share 0.1 --scores $(OUT)/scores.csv \
		--out $(OUT)/watch.html --table $(OUT)/watch.csv

bench: .venv/.core
	@test -d $(OUT) || { echo "error: $(OUT) is not there. Run 'make demo' first, or name a run with OUT=." >&2; exit 2; }
	$(BIN)/warmprompt bench adapt $(OUT) --k 10 --batch 1,32

evidence: .venv/.dev
	$(BIN)/python benchmarks/random_backbone.py --like smollm2-135m --out runs/random-smollm2-135m
	$(BIN)/warmprompt evidence build --jobs $(JOBS)
	$(BIN)/warmprompt evidence report

test: .venv/.dev
	@.ci/chromium
	env $$(.ci/postgresql) $$(.ci/nginx) $(ONE_THREAD) $(BIN)/pytest -n $(WORKERS) --dist worksteal --cov --cov-report=term

test-core: .venv/.dev $(CORE)/.core
	$(CORE)/bin/$(INSTALL) --no-deps --force-reinstall .
	WARMPROMPT_CORE=$(CORE) $(ONE_THREAD) $(BIN)/pytest tests/core -n $(WORKERS) --dist worksteal --durations=10

# Ray listens on every interface there is, so its tests have loopback alone.
test-ray: $(RAY)/.ray
	$(ONE_THREAD) .ci/loopback $(RAY)/bin/python -m pytest tests/on_ray --durations=5

check: .venv/.dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy --strict src
	$(BIN)/lint-imports
	$(BIN)/deptry src
	.ci/audit
	$(ONE_THREAD) NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

docs: .venv/.dev
	$(ONE_THREAD) NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "open site/index.html"

# Twice, each from a copy of what git tracks, with the commit's time: equal bytes or an error.
dist: .venv/bin/python
	$(BIN)/python -m venv build/env
	build/env/bin/$(INSTALL) hatchling
	rm -rf dist build/first build/second
	set -e; for copy in first second; do \
		mkdir -p build/$$copy/tree && git archive HEAD | tar -x -C build/$$copy/tree; \
		(cd build/$$copy/tree && SOURCE_DATE_EPOCH=$$(git -C $(CURDIR) log -1 --format=%ct) \
			$(CURDIR)/build/env/bin/python -m hatchling build -d ../dist); \
	done
	diff -r build/first/dist build/second/dist
	mv build/first/dist dist
	@cd dist && sha256sum *

clean:
	rm -rf site build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .coverage
