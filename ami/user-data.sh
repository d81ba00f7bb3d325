#cloud-boothook
#!/bin/bash
# User data of a worker instance. As a boothook cloud-init runs it as soon as it has it, at every boot; as a plain script
# it would wait for the whole boot. The controller fills in the worker's settings at each launch.
# INSTANCE_ROOT is empty on EC2; a host that gives its instances a folder instead of a disk sets it.
set -euo pipefail
root="${INSTANCE_ROOT:-}"
mkdir -p "$root/run"
cat >"$root/run/shoal-worker.env.draft" <<'SETTINGS'
@ENVIRONMENT@
SETTINGS
# At once, whole: a worker may wait for it.
mv "$root/run/shoal-worker.env.draft" "$root/run/shoal-worker.env"
if [ -z "$root" ] && [ -d /run/systemd/system ]; then
    # Most often it runs already and has waited for that file. Cron looks every minute should systemd have given up.
    systemctl start --no-block shoal-worker
else
    exec "$root/opt/shoal/ami/start-worker"
fi
