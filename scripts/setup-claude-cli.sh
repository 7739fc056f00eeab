#!/usr/bin/env bash
# Optional: the Claude command-line tool on this server, in a terminal that a browser opens. Slipway does not need it;
# it is for operators who want to administer the server with Claude. Each version of Slipway installs
# one version of the tool: run this again after an update.
#
#   scripts/setup-claude-cli.sh [OPTION…]
#     --no-terminal      installs only the tool, without the terminal in the browser
#     --listen ADDRESS   address of the terminal; default: 127.0.0.1, which only this machine can reach
#     --port PORT        port of the terminal; default: 7681
#     --remove           removes everything, including the user's home directory
#
# The tool is one executable, which is downloaded with npm and verified with its checksum. It runs as a separate user,
# `slipway-claude`, who may not become root. The terminal (ttyd, from the distribution's packages) asks for that user's
# password, which is generated and printed once. It uses plain HTTP: leave it on 127.0.0.1 and connect through
# `ssh -L 7681:127.0.0.1:7681 SERVER`, or put a TLS proxy in front of it.
set -euo pipefail
# shellcheck source=scripts/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
# shellcheck source=scripts/cluster-common.sh
. "$ROOT/scripts/cluster-common.sh"
help_asked "$@"

VERSION=2.1.332
ACCOUNT=slipway-claude SERVER_ACCOUNT=slipway-ttyd PREFIX=/opt/slipway-claude
UNIT=slipway-claude-terminal UNIT_FILE=/etc/systemd/system/slipway-claude-terminal.service
LISTEN=127.0.0.1 PORT=7681 TERMINAL=yes REMOVE=''
while [ $# -gt 0 ]; do
  case $1 in
    --no-terminal)
      TERMINAL=
      shift
      ;;
    --remove)
      REMOVE=yes
      shift
      ;;
    --listen | --port)
      [ $# -ge 2 ] || wrong_usage "$1 wants a value"
      case $1 in
        --listen) LISTEN=$2 ;;
        --port) PORT=$2 ;;
      esac
      shift 2
      ;;
    *) wrong_usage "there is no option $1" ;;
  esac
done
is_ipv4 "$LISTEN" || wrong_usage "--listen: '$LISTEN' is no IPv4 address"
if ! [[ $PORT =~ ^[1-9][0-9]{0,4}$ ]] || [ "$PORT" -gt 65535 ]; then wrong_usage "--port: '$PORT' is no port"; fi

account_exists() { getent passwd "$1" >/dev/null; }

remove() {
  if [ -e "$UNIT_FILE" ]; then
    as_root systemctl disable --now "$UNIT" >/dev/null 2>&1 || true
    as_root rm -f "$UNIT_FILE"
    as_root systemctl daemon-reload
  fi
  as_root rm -rf "$PREFIX" /usr/local/bin/claude
  local account
  for account in "$ACCOUNT" "$SERVER_ACCOUNT"; do
    if account_exists "$account"; then as_root userdel --remove "$account" >/dev/null 2>&1 || as_root userdel "$account"; fi
  done
  say 'the Claude tool, its terminal and their users are gone (packages stay)'
}

check() {
  have apt-get || die 'this script knows Debian and Ubuntu'
  if [ -n "$TERMINAL" ]; then
    [ -d /run/systemd/system ] || die 'systemd does not run here, and it starts the terminal: use --no-terminal'
    apt-cache show ttyd >/dev/null 2>&1 || as_root apt-get update -qq >/dev/null 2>&1 || true
    apt-cache show ttyd >/dev/null 2>&1 ||
      die 'this release has no package ttyd (Ubuntu 22.04 and 24.04 have it in universe; Debian 12 does not): use --no-terminal'
    case $LISTEN in
      127.*) ;;
      *) warn "the terminal will answer at $LISTEN in plain HTTP: the password can be read on its way" ;;
    esac
  fi
}

install_tool() {
  local package sum work
  case $(uname -m) in
    x86_64)
      package=@anthropic-ai/claude-code-linux-x64
      sum=7f8256873c18bad2481d2702eff75838f5fab36f2db7b6400e1b0e8bccf0387ab97c53c4b94782861d8d31f8a74a0d06ad472463169e79b0b88740ea88accb73
      ;;
    aarch64)
      package=@anthropic-ai/claude-code-linux-arm64
      sum=0651cd12d2b7f0a04f594df5178954492f6c1dc942c9f59b4e14f5084aefc711fcf977258d82d9950c1dc970644c3eb6af0d5381f135bb56beaae3164b435226
      ;;
    *) die "the Claude tool does not come for $(uname -m)" ;;
  esac
  if ! have npm; then apt_install npm; fi
  say "fetching $package $VERSION from npm"
  mkdir -p "$CACHE"
  work=$(mktemp -d -p "$CACHE")
  npm_package "$package@$VERSION" "$sum" "$work"
  as_root rm -rf "$PREFIX"
  as_root install -D -m 755 "$work/claude" "$PREFIX/bin/claude"
  rm -rf "$work"
  as_root ln -sfn "$PREFIX/bin/claude" /usr/local/bin/claude
  local found
  found=$(/usr/local/bin/claude --version </dev/null 2>/dev/null | head -n1) || die "$PREFIX/bin/claude does not start"
  say "claude is there: $found"
}

make_accounts() {
  if ! account_exists "$ACCOUNT"; then
    as_root useradd --create-home --home-dir "/home/$ACCOUNT" --shell /bin/bash --comment 'Claude on the server' "$ACCOUNT"
    as_root chmod 0700 "/home/$ACCOUNT"
    PASSWORD=$(head -c 512 /dev/urandom | base64 -w0 | tr -d '+/=' | cut -c1-24)
    printf '%s:%s\n' "$ACCOUNT" "$PASSWORD" | as_root chpasswd
    say "made the user $ACCOUNT"
  fi
  [ -z "$TERMINAL" ] || account_exists "$SERVER_ACCOUNT" ||
    as_root useradd --system --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin "$SERVER_ACCOUNT"
}

# Before version 1.7 every terminal was writable, and the option did not exist.
writable() { if /usr/bin/ttyd --help 2>&1 | grep -q -- --writable; then printf ' --writable'; fi; }

# ttyd runs as a user without any rights. It starts `su`, which asks for the password and delays after a wrong one, so
# no file and no process argument contains a password.
unit() {
  cat <<UNIT
# Written by Slipway's scripts/setup-claude-cli.sh, which writes it again.
[Unit]
Description=A terminal with Claude, in the browser
After=network.target

[Service]
User=$SERVER_ACCOUNT
ExecStart=/usr/bin/ttyd --interface $LISTEN --port $PORT$(writable) --check-origin --max-clients 4 /bin/su --login $ACCOUNT
Restart=on-failure
ProtectSystem=full
PrivateTmp=true

[Install]
WantedBy=multi-user.target
UNIT
}

install_terminal() {
  apt_install ttyd
  # The package may start its own service with other access rules.
  as_root systemctl disable --now ttyd >/dev/null 2>&1 || true
  if write_if_changed "$UNIT_FILE" 644 "$(unit)"; then
    say "wrote $UNIT_FILE"
    as_root systemctl daemon-reload
    as_root systemctl enable "$UNIT" >/dev/null 2>&1
    as_root systemctl restart "$UNIT"
  else
    as_root systemctl enable --now "$UNIT" >/dev/null 2>&1
  fi
  local _
  for _ in $(seq 20); do
    if curl -fsS --max-time 2 -o /dev/null "http://$LISTEN:$PORT/" 2>/dev/null; then return 0; fi
    sleep 0.5
  done
  die "the terminal does not answer at http://$LISTEN:$PORT/: see 'journalctl -u $UNIT'"
}

if [ -n "$REMOVE" ]; then
  remove
  exit 0
fi
PASSWORD=
check
install_tool
make_accounts
if [ -n "$TERMINAL" ]; then
  apt_install curl
  install_terminal
  say "the terminal answers at http://$LISTEN:$PORT/; there, run 'claude' and log in"
else
  say "run 'claude' as $ACCOUNT: sudo -iu $ACCOUNT"
fi
if [ -n "$PASSWORD" ]; then printf '\n  user      %s\n  password  %s   (shown this once; passwd changes it)\n\n' "$ACCOUNT" "$PASSWORD"; fi
