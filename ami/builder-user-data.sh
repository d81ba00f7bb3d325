#!/bin/bash
# User data of the machine on which `shoal bake` makes the image of the workers. cloud-init runs it once, at its first boot.
# It needs no role and no way in: what it is made of comes by a signed address, and what it says goes to signed addresses.
# Whatever happens, it switches itself off after at most an hour.
set -uo pipefail
packed='@PACKED@' sum='@SUM@' told='@TOLD@' result='@RESULT@'
log=/run/shoal-bake.log
# It takes away keys and switches off: only on a machine of `shoal bake`.
[ -d /run/cloud-init ] && [ "${packed#http}" != "$packed" ] || exit 1
shutdown -P +60

put() { # FILE ADDRESS
    python3 - "$@" <<'PYTHON'
import sys, time, urllib.request
body = open(sys.argv[1], "rb").read()
for pause in (1, 3, 9, 0):
    try:
        urllib.request.urlopen(urllib.request.Request(sys.argv[2], body, method="PUT"), timeout=60)
        break
    except OSError:
        time.sleep(pause)
else:
    sys.exit(1)
PYTHON
}

get() { # ADDRESS FILE
    python3 - "$@" <<'PYTHON'
import shutil, sys, urllib.request
with urllib.request.urlopen(sys.argv[1], timeout=60) as answer, open(sys.argv[2], "wb") as file:
    shutil.copyfileobj(answer, file)
PYTHON
}

make() {
    set -e
    # Else cron would start the worker here as soon as it is installed. /run is in no image.
    systemctl mask --quiet --runtime --now cron || true
    mkdir -p /root/bake
    cd /root/bake
    echo "fetching what it is made of"
    get "$packed" packed.tar
    echo "$sum  packed.tar" | sha256sum --quiet --check
    tar -xf packed.tar
    rm packed.tar
    shoal/ami/bake
}

tell() {
    local before=
    while sleep 2; do
        now=$(stat -c %s $log)
        [ "$now" = "$before" ] || put $log "$told"
        before=$now
    done
}

: >$log
tell &
teller=$!
if (make) >>$log 2>&1; then outcome=ok; else outcome=failed; fi
kill $teller
wait $teller
put $log "$told"
echo $outcome >/run/shoal-bake.result
put /run/shoal-bake.result "$result"
# What must not be in an image: keys, this machine's name, what cloud-init keeps of it. When cloud-init has ended, for it
# writes until then.
cat >/run/shoal-bake.end <<'COMMANDS'
rm -rf /root/bake /var/lib/cloud/* /var/log/cloud-init* /etc/ssh/ssh_host_* /root/.ssh /home/*/.ssh /var/lib/apt/lists/*
truncate -s 0 /etc/machine-id
sync
systemctl poweroff
COMMANDS
systemd-run --quiet --no-block --unit=shoal-bake-end --property=After=cloud-final.service /bin/sh /run/shoal-bake.end
