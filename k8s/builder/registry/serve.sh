#!/bin/sh
# Serves the registry for pushes, and frees the disk space of deleted images.
#
# A deleted image's layers stay on the disk until they are collected. Collecting during a push could delete
# a layer whose manifest was not pushed yet, so pushes are refused for those seconds; the builder retries.
# The read-only container still serves pulls.
set -eu

config=${CONFIG:-/etc/registry/config.yml}
root=${ROOT:-/var/lib/registry}
every=${COLLECT_SECONDS:-3600}
pid=

stop() {
  trap - TERM INT
  kill -TERM "$pid" 2>/dev/null || true
  wait "$pid" || true
}
trap 'stop; exit 0' TERM INT

start() {
  registry serve "$config" &
  pid=$!
}

# Sleeps in short steps, so that an exit of the registry is noticed and a signal is handled soon.
rest() {
  left=$every
  while [ "$left" -gt 0 ]; do
    kill -0 "$pid" 2>/dev/null || { echo 'the registry has exited' >&2; exit 1; }
    step=5
    [ "$left" -ge "$step" ] || step=$left
    sleep "$step" &
    wait $! || true
    left=$((left - step))
  done
}

# Whether there is garbage to collect. An empty registry has no folder of repositories yet.
worthwhile() {
  [ -d "$root/docker/registry/v2/repositories" ] || return 1
  ! registry garbage-collect --dry-run "$config" 2>&1 | grep -q ' 0 blobs and 0 manifests eligible for deletion'
}

start
while :; do
  rest
  if worthwhile; then
    before=$(du -sk "$root" | cut -f1)
    kill -TERM "$pid"
    wait "$pid" || true
    registry garbage-collect "$config" >/dev/null 2>&1 || echo 'collecting has failed; it is tried again later' >&2
    start
    after=$(du -sk "$root" | cut -f1)
    echo "collected what was deleted: $((before - after)) KiB freed, $after KiB used"
  fi
done
