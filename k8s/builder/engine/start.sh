#!/bin/sh
# Starts the engine in its pod: dockerd inside RootlessKit, which gives it a user and a network namespace of its own.
#
# dockerd listens only on that namespace's loopback, which containers cannot reach. RootlessKit accepts connections at
# the pod's address and forwards them. The image's entrypoint starts RootlessKit with `dockerd …`, which it finds in the
# PATH: the script `dockerd` beside this one comes first there, and sets up the packet filter.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
export PATH="$here:$PATH"
# Otherwise the entrypoint would create its own certificates, and listen at 0.0.0.0.
export DOCKER_TLS_CERTDIR=''
export DOCKERD_ROOTLESS_ROOTLESSKIT_FLAGS='-p 0.0.0.0:2376:2376/tcp'
exec dockerd-entrypoint.sh dockerd "$@"
