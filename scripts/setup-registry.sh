#!/usr/bin/env bash
# Configures the registries of this node. Run it on every node; it can be run again at any time, with the same options.
#
#   scripts/setup-registry.sh [OPTION…]
#     --mirror HOST=URL   pulls HOST's images from URL first, such as docker.io=https://mirror.example
#                         (may be given more than once)
#     --force             replaces a registries.yaml that another tool wrote; the old file is kept beside it
#     --docker CIDR       for a node that runs pods or builds with Docker, instead: permits its Docker engine to use plain
#                         HTTP for registries in CIDR, the range of the cluster's Services (k3s: 10.43.0.0/16)
#
# On k3s it writes /etc/rancher/k3s/registries.yaml: Slipway's registry, which the node reaches as 127.0.0.1:30500,
# under its own name and under its name in the cluster. k3s is restarted only if that changed; pods keep running.
set -euo pipefail
# shellcheck source=scripts/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
# shellcheck source=scripts/cluster-common.sh
. "$ROOT/scripts/cluster-common.sh"
help_asked "$@"

MARK="# Written by Slipway's scripts/setup-registry.sh, which writes it again."
FORCE='' DOCKER='' MIRRORS=()
while [ $# -gt 0 ]; do
  case $1 in
    --force)
      FORCE=yes
      shift
      ;;
    --mirror | --docker)
      [ $# -ge 2 ] || wrong_usage "$1 wants a value"
      case $1 in
        --mirror) MIRRORS+=("$2") ;;
        --docker) DOCKER=$2 ;;
      esac
      shift 2
      ;;
    *) wrong_usage "there is no option $1" ;;
  esac
done
for mirror in "${MIRRORS[@]}"; do
  [[ $mirror =~ ^[A-Za-z0-9.:-]+=https?://[A-Za-z0-9.:/_-]+$ ]] || wrong_usage "--mirror: '$mirror' is not HOST=URL"
done
[[ -z $DOCKER || $DOCKER =~ ^[0-9a-fA-F.:]+/[0-9]{1,3}$ ]] || wrong_usage "--docker: '$DOCKER' is no range such as 10.43.0.0/16"

# --- Docker -------------------------------------------------------------------------------------------------------

setup_docker() {
  local file=/etc/docker/daemon.json old='{}' fresh
  apt_install jq
  have docker || die 'there is no Docker on this node'
  if as_root test -s "$file"; then old=$(as_root cat "$file"); fi
  fresh=$(printf '%s' "$old" | jq --arg cidr "$DOCKER" '."insecure-registries" = ((."insecure-registries" // []) + [$cidr] | unique)') ||
    die "$file is not JSON: put it right, then run this again"
  if write_if_changed "$file" 644 "$fresh"; then say "wrote $file"; else say "$file is as it should be"; fi
  if docker_knows; then
    say "Docker speaks to registries in $DOCKER already"
    return
  fi
  say 'reloading the configuration of Docker (containers keep running)'
  if service_active docker; then
    as_root systemctl reload docker
  else
    local pid
    pid=$(as_root cat /var/run/docker.pid 2>/dev/null) || die 'Docker does not run'
    as_root kill -HUP "$pid"
  fi
  local _
  for _ in $(seq 20); do
    if docker_knows; then
      say "Docker speaks to registries in $DOCKER"
      return
    fi
    sleep 0.5
  done
  die "Docker does not know $DOCKER after a reload: restart it, then run this again"
}

docker_knows() {
  as_root docker info --format '{{json .RegistryConfig.InsecureRegistryCIDRs}}' 2>/dev/null | jq -e --arg cidr "$DOCKER" 'index($cidr) != null' >/dev/null
}

# --- k3s ----------------------------------------------------------------------------------------------------------

registries() {
  local mirror
  printf '%s\nmirrors:\n' "$MARK"
  printf '  "%s":\n    endpoint:\n      - "http://%s"\n' "$REGISTRY_PULL" "$REGISTRY_PULL" "$REGISTRY_NAME" "$REGISTRY_PULL"
  for mirror in "${MIRRORS[@]}"; do
    printf '  "%s":\n    endpoint:\n      - "%s"\n' "${mirror%%=*}" "${mirror#*=}"
  done
}

setup_k3s() {
  local file=$K3S_DIR/registries.yaml service='' name
  for name in k3s k3s-agent; do
    if service_active "$name"; then service=$name; fi
  done
  [ -n "$service" ] || die 'k3s does not run on this machine: scripts/install-k3s.sh installs it; for a node that runs Docker, use --docker'
  if as_root test -e "$file" && [ "$(as_root head -n1 "$file")" != "$MARK" ]; then
    [ -n "$FORCE" ] || die "$file is there and not ours: put Slipway's two mirrors into it yourself, or replace it with --force. They are:
$(registries | tail -n +2)"
    as_root cp -a "$file" "$file.before-slipway"
    say "kept the old one as $file.before-slipway"
  fi
  # The URLs of mirrors may contain passwords, so only root can read the file.
  if ! write_if_changed "$file" 600 "$(registries)"; then
    say "$file is as it should be; $service is left alone"
    return
  fi
  say "wrote $file"
  say "restarting $service, which reads it at its start (pods keep running)"
  as_root systemctl restart "$service"
  local _
  for _ in $(seq 120); do
    if service_active "$service" && { [ "$service" = k3s-agent ] || as_root k3s kubectl get --raw /readyz >/dev/null 2>&1; }; then
      say "$service is back"
      return
    fi
    sleep 1
  done
  die "$service has not come back: see 'journalctl -u $service'"
}

if [ -n "$DOCKER" ]; then setup_docker; else setup_k3s; fi
