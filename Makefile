# Thin: each target is a line or two. The work is in the programs they start.
.PHONY: run demo test check bench clean

PYTHON ?= python3
SHOAL := .venv/bin/python -m shoal.cli
unexport PYTHONPATH PYTHONHOME

run: .venv/installed
	@exec $(SHOAL) up

demo: .venv/installed
	@exec $(SHOAL) demo

test: .venv/installed-dev .venv/aws/installed
	@exec sh tests/run.sh

check: .venv/installed-dev
	@sh tests/check.sh

bench: .venv/installed-dev
	@exec .venv/bin/python -m benchmarks

clean:
	rm -rf .venv .shoal .mypy_cache .ruff_cache .pytest_cache .hypothesis

.venv/installed: requirements.txt constraints.txt
	@PYTHON="$(PYTHON)" sh ami/make-venv .venv requirements.txt && touch $@

.venv/aws/installed: tests/requirements-awscli.txt .venv/installed
	@PYTHON="$(PYTHON)" sh ami/make-venv .venv/aws tests/requirements-awscli.txt 200 && touch $@

.venv/installed-dev: requirements-dev.txt .venv/installed
	@PYTHON="$(PYTHON)" sh ami/make-venv .venv requirements-dev.txt && touch $@
