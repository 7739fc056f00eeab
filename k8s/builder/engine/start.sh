#!/bin/sh
# Starts the engine in its pod: dockerd inside RootlessKit, which gives it a user and a network namespace of its own.
#
# dockerd listens on that namespace's loopback only, where no container reaches it. RootlessKit takes connections at the
# pod's address and passes them on. The image's entrypoint starts RootlessKit with `dockerd …`, which it looks up in the
# PATH: there, the script `dockerd` beside this one comes first and puts up the packet filter.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
export PATH="$here:$PATH"
# The entrypoint would make certificates of its own otherwise, and listen at 0.0.0.0.
export DOCKER_TLS_CERTDIR=''
export DOCKERD_ROOTLESS_ROOTLESSKIT_FLAGS='-p 0.0.0.0:2376:2376/tcp'
exec dockerd-entrypoint.sh dockerd "$@"
