#!/usr/bin/env bash
# Installs k3s, a small Kubernetes, as a server on this machine. It can be run again at any time, with the same options.
#
#   scripts/install-k3s.sh [OPTION…]
#     --version V     the version, such as v1.33.5+k3s1; default: k3s's stable channel
#     --installer-sha256 H  the expected hash of k3s's install.sh; default: the one that its repository publishes
#     --tls-san NAME  an additional name or address for the API server's certificate
#     --from FOLDER   installs from FOLDER without a download. It contains k3s's own `install.sh`, the binary `k3s`, and,
#                     for a machine that cannot reach an image registry, `k3s-airgap-images-<arch>.tar.zst`
#
# It needs root, systemd, 2 GiB of memory, 10 GiB of disk and the ports 80, 443, 6443 and 10250. It writes
# /etc/rancher/k3s/config.yaml.d/slipway.yaml and restarts k3s only if that file has changed. It adds to the lists in your
# own config.yaml, and never replaces them. If the kernel permits only programs with a profile to create user namespaces
# (Ubuntu 24.04), it writes one for the engine that builds images, /etc/apparmor.d/slipway-rootlesskit. On a further node
# of a cluster: scripts/install-k3s.sh --profile-only
set -euo pipefail
# shellcheck source=scripts/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
# shellcheck source=scripts/cluster-common.sh
. "$ROOT/scripts/cluster-common.sh"
help_asked "$@"

INSTALLER_URL=https://raw.githubusercontent.com/k3s-io/k3s CONFIG_FILE=$K3S_DIR/config.yaml.d/slipway.yaml POD_MAX_PIDS=1024
VERSION='' FROM='' INSTALLER_SHA256='' PROFILE_ONLY='' SANS=()
while [ $# -gt 0 ]; do
  case $1 in
    --version | --tls-san | --from | --installer-sha256)
      [ $# -ge 2 ] || wrong_usage "$1 wants a value"
      case $1 in
        --version) VERSION=$2 ;;
        --tls-san) SANS+=("$2") ;;
        --from) FROM=$2 ;;
        --installer-sha256) INSTALLER_SHA256=${2,,} ;;
      esac
      shift 2
      ;;
    --profile-only)
      PROFILE_ONLY=yes
      shift
      ;;
    *) wrong_usage "there is no option $1" ;;
  esac
done
[[ -z $VERSION || $VERSION =~ ^v[0-9]+\.[0-9]+\.[0-9]+[A-Za-z0-9.+-]*$ ]] || wrong_usage "--version: '$VERSION' is no version such as v1.33.5+k3s1"
[[ -z $INSTALLER_SHA256 || $INSTALLER_SHA256 =~ ^[0-9a-f]{64}$ ]] || wrong_usage "--installer-sha256: '$INSTALLER_SHA256' is no SHA-256 in hexadecimal digits"
for san in "${SANS[@]}"; do is_name "${san,,}" || wrong_usage "--tls-san: '$san' is neither a name nor an address"; done

port_taken() { ss -Hltn "sport = :$1" 2>/dev/null | grep -q .; }

check() {
  [ "$(uname -s)" = Linux ] || die 'k3s runs on Linux'
  case $(uname -m) in
    x86_64) ARCH=amd64 ;;
    aarch64) ARCH=arm64 ;;
    *) die "k3s is not made for $(uname -m); amd64 and arm64 are what this script knows" ;;
  esac
  local id
  id=$(sed -n 's/^ID=//p' /etc/os-release 2>/dev/null | tr -d '"') || id=
  case $id in
    ubuntu | debian) ;;
    *) warn "this was written for Ubuntu and Debian, and this is ${id:-something else}: going on" ;;
  esac
  [ "$(id -u)" = 0 ] || have sudo || die 'root is needed: run this as root, or install sudo'
  [ -d /run/systemd/system ] || die 'systemd does not run here; k3s is started by it'
  local memory disk
  memory=$(awk '/^MemTotal:/ { print int($2 / 1024) }' /proc/meminfo)
  [ "$memory" -ge 1800 ] || die "this machine has $memory MiB of memory; k3s and Slipway want 2 GiB, and 4 GiB to build images in comfort"
  [ "$memory" -ge 3600 ] || warn "this machine has $memory MiB of memory: enough to run, little to build images with"
  disk=$(df -Pm /var/lib | awk 'NR == 2 { print $4 }')
  # If k3s already runs, its images use the disk, and kubelet frees space automatically.
  if [ "$disk" -lt 10240 ]; then
    service_active k3s || die "/var/lib has $disk MiB free; images want 10 GiB at least"
    warn "/var/lib has $disk MiB free: images will have to go soon"
  fi
  if [ ! -e /sys/fs/cgroup/cgroup.controllers ]; then
    grep -q '^memory[[:space:]].*1$' /proc/cgroups || die 'the kernel keeps no account of memory: start it with cgroup_enable=memory cgroup_memory=1'
  elif ! grep -qw memory /sys/fs/cgroup/cgroup.controllers; then
    die 'the kernel keeps no account of memory: start it with cgroup_enable=memory'
  fi
  if service_active k3s-agent; then die 'k3s runs here as an agent of another server: install Slipway from that one'; fi
  if ! service_active k3s; then
    local port
    for port in 80 443 6443 10250; do
      ! port_taken "$port" || die "port $port is taken, and k3s needs it: $(ss -Hltnp "sport = :$port" | awk '{print $NF}' | head -n1)"
    done
  fi
}

# Whether the operator has set the number of processes of a pod.
pids_chosen() {
  local file
  for file in "$K3S_DIR/config.yaml" "$K3S_DIR"/config.yaml.d/*; do
    if [ "$file" != "$CONFIG_FILE" ] && as_root grep -qsE '^[^#]*pod-max-pids=' "$file"; then return 0; fi
  done
  return 1
}

configuration() {
  # A key with a plus adds to the list in config.yaml; without it, it would replace the list.
  printf '# Written by Slipway'"'"'s scripts/install-k3s.sh, which writes it again.\n'
  # Node ports are reachable only on this machine. Slipway's registry has one, from which nodes pull. Only this mode of
  # kube-proxy supports that.
  printf 'kube-proxy-arg+:\n  - proxy-mode=iptables\n  - nodeport-addresses=127.0.0.0/8\n'
  # Secrets are stored encrypted. An existing k3s keeps its own setting.
  if ! service_active k3s || as_root grep -qs '^secrets-encryption' "$CONFIG_FILE"; then printf 'secrets-encryption: true\n'; fi
  # Unused images are removed before the disk is full.
  printf 'kubelet-arg+:\n  - image-gc-high-threshold=80\n  - image-gc-low-threshold=70\n'
  # The number of processes and threads of one pod is limited, so that an app cannot use up the node's. Kubelet has one
  # limit for all pods, and the pod that builds images needs more for the processes of a build, so this limit is higher
  # than Docker's 128 for an app.
  if ! pids_chosen; then printf '  - pod-max-pids=%d\n' "$POD_MAX_PIDS"; fi
  if [ ${#SANS[@]} -gt 0 ]; then
    printf 'tls-san+:\n'
    printf '  - "%s"\n' "${SANS[@]}"
  fi
}

download() {
  curl -fsSL --proto '=https' --retry 3 --max-time 60 -o "$2" "$1" ||
    die "k3s cannot be downloaded: $1 does not answer. Is this machine connected? Without a connection, fetch the files elsewhere and use --from FOLDER."
}

# verify_installer FILE: exits unless the file has the expected hash.
verify_installer() {
  local sum
  sum=$(sha256sum "$1" | cut -d' ' -f1)
  [ "$sum" = "$INSTALLER_SHA256" ] || die "k3s's installer is not the expected one: its SHA-256 is $sum, not $INSTALLER_SHA256. Nothing was installed."
}

install_k3s() {
  local work installer=$FROM/install.sh environment=(INSTALL_K3S_EXEC=server)
  work=$(mktemp -d)
  # shellcheck disable=SC2064 # the path is known now
  trap "rm -rf '$work'" EXIT
  if [ -n "$FROM" ]; then
    if ! [ -s "$FROM/install.sh" ] || ! [ -s "$FROM/k3s" ]; then die "$FROM must hold k3s's install.sh and the binary k3s"; fi
    [ -z "$INSTALLER_SHA256" ] || verify_installer "$FROM/install.sh"
    as_root install -m 755 "$FROM/k3s" /usr/local/bin/k3s
    local images=$FROM/k3s-airgap-images-$ARCH.tar.zst
    if [ -s "$images" ]; then as_root install -D -m 644 "$images" "/var/lib/rancher/k3s/agent/images/${images##*/}"; fi
    environment+=(INSTALL_K3S_SKIP_DOWNLOAD=true)
  else
    apt_install ca-certificates curl
    # The installer of this version. It verifies the binary that it downloads with the checksums of the release.
    local source=$INSTALLER_URL/${VERSION:-HEAD}
    source=${source//+/%2B}
    say "downloading k3s's installer from $source"
    installer=$work/install.sh
    download "$source/install.sh" "$installer"
    if [ -z "$INSTALLER_SHA256" ]; then
      download "$source/install.sh.sha256sum" "$work/sum"
      INSTALLER_SHA256=$(cut -d' ' -f1 "$work/sum")
    fi
    verify_installer "$installer"
    if [ -n "$VERSION" ]; then environment+=("INSTALL_K3S_VERSION=$VERSION"); else environment+=(INSTALL_K3S_CHANNEL=stable); fi
  fi
  say 'installing k3s'
  if ! as_root env "${environment[@]}" sh "$installer" >"$work/log" 2>&1 </dev/null; then
    tail -n 20 "$work/log" >&2
    die "k3s's installer failed: see its last words above. If they speak of a download, k3s could not be fetched from its release page."
  fi
}

# The engine runs as an ordinary user and starts by creating a user namespace. The path is the one inside of its image.
allow_user_namespaces() {
  local file=/etc/apparmor.d/slipway-rootlesskit
  [ "$(cat /proc/sys/kernel/apparmor_restrict_unprivileged_userns 2>/dev/null)" = 1 ] || return 0
  if [ -e /etc/apparmor.d/usr.local.bin.rootlesskit ]; then return 0; fi
  have apparmor_parser || apt_install apparmor
  if write_if_changed "$file" 644 "$(apparmor_profile)"; then
    as_root apparmor_parser --replace "$file" || die "AppArmor did not take $file"
    say "wrote $file: the engine may make user namespaces"
  fi
}

apparmor_profile() {
  cat <<'PROFILE'
# Written by Slipway's scripts/install-k3s.sh: lets rootless Docker in a container make user namespaces.
abi <abi/4.0>,
include <tunables/global>

profile slipway-rootlesskit /usr/local/bin/rootlesskit flags=(unconfined) {
  userns,
}
PROFILE
}

wait_for_node() {
  local _
  say 'waiting for the node'
  for _ in $(seq 180); do
    if as_root k3s kubectl get nodes --no-headers 2>/dev/null | awk '{ print $2 }' | grep -qx Ready; then return 0; fi
    sleep 1
  done
  die "the node is not ready after three minutes: see 'journalctl -u k3s'"
}

if [ -n "$PROFILE_ONLY" ]; then
  allow_user_namespaces
  say 'this node is ready for the engine'
  exit 0
fi
say 'checking this machine'
check
allow_user_namespaces
changed=
if write_if_changed "$CONFIG_FILE" 600 "$(configuration)"; then
  changed=yes
  say "wrote $CONFIG_FILE"
fi
if have k3s && service_active k3s && { [ -z "$VERSION" ] || k3s --version | head -n1 | grep -qF " $VERSION "; }; then
  say "k3s is there already: $(k3s --version | head -n1)"
  if [ -n "$changed" ]; then
    say 'restarting k3s, since its configuration has changed'
    as_root systemctl restart k3s
  fi
else
  install_k3s
fi
wait_for_node
say "k3s is ready: $(k3s --version | head -n1)"
say 'next: scripts/setup-registry.sh, then scripts/bootstrap-cluster.sh (both as root)'
