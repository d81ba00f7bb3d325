#!/bin/sh
# What `make test` runs after the packages are installed: the rest of the set-up, all checks, all tests.
# Words after it are pytest's: files, -k, -n 0 for one test after another.
set -eu
cd "$(dirname "$0")/.."

if ! command -v chromium >/dev/null && [ -z "${CHROMIUM:-}" ]; then
    if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
        echo "Installing Debian's chromium for the browser tests ..."
        apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null
    else
        echo "shoal: the browser tests need chromium: apt-get install chromium, or set CHROMIUM=/path/to/it" >&2
        exit 1
    fi
fi

# Thousands of processes would each compile our code again.
unset PYTHONDONTWRITEBYTECODE

sh tests/check.sh
.venv/bin/python -m shoal_cli models prepare

# Two workers more than there are processors, for most tests wait; not more than six, for each needs a gigabyte.
workers=$(($(nproc) < 4 ? $(nproc) + 2 : 6))
rm -f .pytest_cache/v/cache/lastfailed
status=0
.venv/bin/python -m pytest -n "$workers" --dist loadfile --no-loadscope-reorder --durations=40 "$@" || status=$?
[ "$status" = 1 ] || exit "$status"
exec .venv/bin/python -m tests.again
