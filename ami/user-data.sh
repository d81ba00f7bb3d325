#!/bin/bash
# User data of a worker instance. The controller fills in the worker's settings at each launch.
# INSTANCE_ROOT is empty on EC2; a host that gives its instances a folder instead of a disk sets it.
set -euo pipefail
root="${INSTANCE_ROOT:-}"
mkdir -p "$root/etc/shoal"
cat >"$root/etc/shoal/worker.env" <<'SETTINGS'
@ENVIRONMENT@
SETTINGS
if [ -z "$root" ] && [ -d /run/systemd/system ]; then
    # The unit waits for this file, and cron looks every minute should systemd have given up.
    systemctl start --no-block shoal-worker
else
    exec "$root/opt/shoal/ami/start-worker"
fi
