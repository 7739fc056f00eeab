# shellcheck shell=bash
# Shared by all scripts: messages, installation of packages, paths. Sourced, never run.

: "${HOME:=/root}"
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
CACHE=${SETUP_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/slipway}
# Debian does not include the folders of system programs (dockerd, nginx) in an ordinary user's PATH.
PATH=$PATH:/usr/sbin:/sbin
export HOME ROOT CACHE PATH

# The program that scripts/run builds, and that scripts/setup installs for the packet filter rules.
# shellcheck disable=SC2034 # the scripts that source this file use it
RUN_BINARY=${CARGO_TARGET_DIR:-$ROOT/target}/quick/slipway

# The base images of apps; the same defaults as in src/config/registry.rs, which scripts/test compares.
DEFAULT_PYTHON_IMAGE=python:3.13-slim
DEFAULT_NGINX_IMAGE=nginxinc/nginx-unprivileged:alpine-slim
# shellcheck disable=SC2034 # the scripts that source this file use them
PYTHON_IMAGE=${SLIPWAY_BASE_IMAGE_PYTHON:-$DEFAULT_PYTHON_IMAGE} NGINX_IMAGE=${SLIPWAY_BASE_IMAGE_NGINX:-$DEFAULT_NGINX_IMAGE}

say() { printf '==> %s\n' "$*" >&2; }
warn() { printf 'warning: %s\n' "$*" >&2; }
die() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }

# as_root COMMAND…: runs it as root: directly if the user is root, else through sudo.
as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  elif have sudo; then
    sudo "$@"
  else
    die "root is needed for: $* (run this as root, or install sudo)"
  fi
}

# installed PACKAGE: whether dpkg has installed it completely.
installed() { [ "$(dpkg-query -W -f '${db:Status-Abbrev}' "$1" 2>/dev/null)" = 'ii ' ]; }

# apt_install PACKAGE…: installs the missing packages.
apt_install() {
  local missing=() package
  for package in "$@"; do installed "$package" || missing+=("$package"); done
  [ ${#missing[@]} -gt 0 ] || return 0
  have apt-get || die "please install ${missing[*]}: this machine has no apt-get"
  say "installing ${missing[*]}"
  local log
  log=$(mktemp)
  # An unreachable third-party source must not be fatal: apt then uses the lists it has.
  as_root apt-get update -qq >"$log" 2>&1 || warn "apt-get update: $(tail -n1 "$log")"
  if ! as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends "${missing[@]}" >"$log" 2>&1 </dev/null; then
    tail -n 20 "$log" >&2
    die "could not install ${missing[*]}: see apt's words above"
  fi
  rm -f "$log"
}

# node_major: the installed Node's major version, 0 without one.
node_major() {
  local version
  version=$(node --version 2>/dev/null) || version=v0
  version=${version#v}
  printf '%s' "${version%%.*}"
}

# The browser driver needs a newer Node than some releases contain. scripts/setup installs one here, for the tests only.
TEST_NODE_MAJOR=20
TEST_NODE_DIR=$CACHE/node
use_test_node() {
  [ "$(node_major)" -ge "$TEST_NODE_MAJOR" ] || PATH=$TEST_NODE_DIR/bin:$PATH
}

# Python packages for some tests. scripts/setup installs them here; the system's Python is not changed.
# shellcheck disable=SC2034 # the scripts that source this file use it
TEST_PYTHON_DIR=$CACHE/python

# npm_package NAME@VERSION SHA512 DIRECTORY: downloads a package with npm, verifies its checksum and unpacks it into the
# directory, which exists. The package's own scripts are not run.
npm_package() {
  local work archive
  work=$(mktemp -d -p "$3")
  if ! (cd "$work" && npm pack --ignore-scripts "$1") >"$work/log" 2>&1 </dev/null; then
    tail -n 20 "$work/log" >&2
    rm -rf "$work"
    die "npm could not fetch $1: see its words above"
  fi
  archive=$(find "$work" -name '*.tgz')
  if ! printf '%s  %s\n' "$2" "$archive" | sha512sum --check --status; then
    rm -rf "$work"
    die "$1 does not have the checksum that this script expects: nothing was installed"
  fi
  tar -xzf "$archive" --strip-components=1 --no-same-owner -C "$3"
  rm -rf "$work"
}

# find_chromium: the first Chromium or Chrome that is found; CHROMIUM overrides it.
find_chromium() {
  local name
  for name in "${CHROMIUM:-}" chromium chromium-browser google-chrome google-chrome-stable; do
    if [ -n "$name" ] && have "$name"; then
      command -v "$name"
      return 0
    fi
  done
  return 1
}
