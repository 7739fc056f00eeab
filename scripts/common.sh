# shellcheck shell=bash
# What every script here needs: plain messages, installing packages, paths. Sourced, never run.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
CACHE=${SLIPWAY_CACHE_DIR:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/slipway}
export ROOT CACHE

say() { printf '==> %s\n' "$*" >&2; }
warn() { printf 'warning: %s\n' "$*" >&2; }
die() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }

# as_root COMMAND…: runs it as root, directly when we are root already, else through sudo.
as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  elif have sudo; then
    sudo "$@"
  else
    die "root is needed for: $* (run this as root, or install sudo)"
  fi
}

# installed PACKAGE: whether dpkg has it, fully installed.
installed() { [ "$(dpkg-query -W -f '${db:Status-Abbrev}' "$1" 2>/dev/null)" = 'ii ' ]; }

# apt_install PACKAGE…: installs the ones that are missing; quiet and quick when none is.
apt_install() {
  local missing=() package
  for package in "$@"; do installed "$package" || missing+=("$package"); done
  [ ${#missing[@]} -gt 0 ] || return 0
  have apt-get || die "please install ${missing[*]} by hand: this machine has no apt-get"
  say "installing ${missing[*]}"
  local log
  log=$(mktemp)
  # An unreachable third-party source must not stop us: apt then works from the lists it has.
  as_root apt-get update -qq >"$log" 2>&1 || warn "apt-get update: $(tail -n1 "$log")"
  if ! as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends "${missing[@]}" >"$log" 2>&1 </dev/null; then
    tail -n 20 "$log" >&2
    die "could not install ${missing[*]}: see apt's words above"
  fi
  rm -f "$log"
}
