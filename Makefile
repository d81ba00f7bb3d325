# Thin: each target is a line or two. The work is in the programs they start.
.PHONY: run demo test test-changed check bench torture fuzz privacy containers machine locks sbom audit clean

PYTHON ?= python3
BASE ?= main
MINUTES ?= 10
SEED ?= 1
RUNS ?= 1000000
SHOAL := .venv/bin/python -m shoal_cli
unexport PYTHONPATH PYTHONHOME

run: .venv/installed
	@exec $(SHOAL) up

demo: .venv/installed
	@exec $(SHOAL) demo

test: .venv/installed-dev .venv/aws/installed build/axe.js
	@exec sh tests/run.sh

# The tests that the change since BASE concerns, and the checks.
test-changed: .venv/installed-dev .venv/aws/installed build/axe.js
	@exec .venv/bin/python -m tests.changed "$(BASE)"

check: .venv/installed-dev
	@sh tests/check.sh

bench: .venv/installed-dev
	@exec .venv/bin/python -m benchmarks

# The whole system under random load while everything fails; MINUTES=2 and SEED=7 choose another run.
torture: .venv/installed-dev
	@exec .venv/bin/python -m benchmarks.torture --minutes $(MINUTES) --seed $(SEED)

# A million random inputs, guided by what they make the readers of what strangers send do; at most ten minutes.
fuzz: .venv/installed-dev .venv/fuzz/installed
	@exec .venv/bin/python -m benchmarks.fuzzing --runs $(RUNS) --atheris .venv/fuzz/lib/python3.*/site-packages

# Photos rebuilt from the activations of nine cuts: build/privacy. At most ten minutes a cut.
privacy: .venv/installed-dev
	@exec .venv/bin/python -m benchmarks.privacy

# The images of the web process, the worker and the Lambda function: built, and tried with real photos.
containers: .venv/installed-dev
	@exec ami/containers

# The machine image: baked on a fresh Debian 12, booted as machines of the embedded cloud, drained; then `shoal deploy` to
# its first photo, with a machine as the page's instance. Needs root.
machine: .venv/installed-dev
	@.venv/bin/python -m benchmarks.running.machines && exec .venv/bin/python -m benchmarks.running.deployed

# After a change of the pins: the hashes of what pip may install.
locks: .venv/tools/installed
	@exec sh ami/lock .venv/tools/bin/uv

# The bill of materials of what `make run` installs: build/sbom.json, as CycloneDX.
sbom: .venv/tools/installed
	@mkdir -p build && exec .venv/tools/bin/cyclonedx-py requirements requirements/locked/run.txt --pyproject pyproject.toml \
		--output-reproducible --output-format JSON --output-file build/sbom.json

# Known vulnerabilities of what `make run` installs. Needs PyPI itself; without --strict a package that it cannot ask
# about would count as a good one.
audit: .venv/tools/installed
	@.venv/tools/bin/pip-audit --strict --require-hashes --disable-pip --requirement requirements/locked/run.txt || \
		{ echo "make audit: a package is vulnerable, or could not be asked about: that needs PyPI itself, for a mirror does not know" >&2; exit 1; }

clean:
	rm -rf .venv .shoal build .mypy_cache .ruff_cache .pytest_cache .hypothesis

.venv/installed: ami/make-venv requirements/locked/run.txt
	@PYTHON="$(PYTHON)" sh ami/make-venv .venv requirements/locked/run.txt && touch $@

.venv/aws/installed: tests/requirements-awscli.txt .venv/installed
	@PYTHON="$(PYTHON)" sh ami/make-venv .venv/aws tests/requirements-awscli.txt 200 && touch $@

.venv/installed-dev: requirements/locked/develop.txt .venv/installed
	@PYTHON="$(PYTHON)" sh ami/make-venv .venv requirements/locked/develop.txt && touch $@

.venv/tools/installed: tests/requirements-tools.txt .venv/installed
	@PYTHON="$(PYTHON)" sh ami/make-venv .venv/tools tests/requirements-tools.txt 200 && touch $@

.venv/fuzz/installed: tests/requirements-fuzz.txt .venv/installed
	@PYTHON="$(PYTHON)" sh ami/make-venv .venv/fuzz tests/requirements-fuzz.txt 200 && touch $@

# axe-core looks for what people cannot use on the pages; tests/axe.sha512 names and pins it.
build/axe.js: tests/axe.sha512
	@mkdir -p build && cd build && npm pack axe-core@4.10.3 --ignore-scripts --loglevel=error >/dev/null && \
		sha512sum --quiet --check ../$< && tar -xzf axe-core-4.10.3.tgz --to-stdout package/axe.min.js >axe.js
