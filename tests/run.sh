#!/bin/sh
# What `make test` runs after the packages are installed: the rest of the set-up, all checks, all tests.
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

sh tests/check.sh
.venv/bin/python -m shoal_cli models prepare
exec .venv/bin/python -m pytest --durations=40 "$@"
