#!/bin/sh
# Format, lint, types, shell syntax: what `make check` runs and `make test` begins with.
set -eu
cd "$(dirname "$0")/.."
.venv/bin/ruff format --check .
.venv/bin/ruff check .
.venv/bin/mypy
.venv/bin/cfn-lint ami/stack.yaml
for script in ami/install ami/lock ami/make-venv ami/start-worker ami/user-data.sh ami/builder-user-data.sh ami/bake ami/pack-worker ami/power-off ami/machine-tree ami/containers ami/web/set-up ami/server/set-up ami/server/shoal tests/check.sh tests/run.sh .ci/run .ci/machines; do
    bash -n "$script"
done
