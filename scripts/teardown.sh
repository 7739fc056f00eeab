#!/usr/bin/env bash
# Takes out of the cluster what bootstrap-cluster.sh put into it. Run it again if it was interrupted.
#
#   scripts/teardown.sh [--yes] [--apps]
#     --yes    does not ask
#     --apps   the apps too: every namespace app-* that carries Slipway's label. Without it apps go on running
#
# With the builder its volume goes: conversations, releases and the source of all apps. Export what is to be kept
# first. With the registry its images go: apps that run keep running, and cannot be started anew on another node.
# k3s stays (/usr/local/bin/k3s-uninstall.sh removes it), and so does /etc/rancher/k3s/registries.yaml.
set -euo pipefail
# shellcheck source=scripts/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
# shellcheck source=scripts/cluster-common.sh
. "$ROOT/scripts/cluster-common.sh"
help_asked "$@"

YES='' APPS=''
for argument in "$@"; do
  case $argument in
    --yes) YES=yes ;;
    --apps) APPS=yes ;;
    *) wrong_usage "there is no option $argument" ;;
  esac
done

# Namespaces by label and by name: what carries only one of the two is somebody else's.
app_namespaces() {
  kube get namespaces -l app.kubernetes.io/managed-by=slipway -o 'jsonpath={range .items[*]}{.metadata.name}{"\n"}{end}' | grep '^app-' || true
}

# remove_namespaces NAME…: and waits; says what holds one that does not go.
remove_namespaces() {
  local name
  [ $# -gt 0 ] || return 0
  kube delete namespace "$@" --ignore-not-found --wait=false >/dev/null
  for name in "$@"; do
    if ! kube wait --for=delete "namespace/$name" --timeout=180s >/dev/null 2>&1 && kube get namespace "$name" >/dev/null 2>&1; then
      kube get namespace "$name" -o 'jsonpath={range .status.conditions[?(@.status=="True")]}{.message}{"\n"}{end}' >&2
      die "the namespace $name does not go: what holds it is said above"
    fi
    say "removed the namespace $name"
  done
}

# remove KIND NAME: one object of the whole cluster, if it is there and ours.
remove() {
  if [ -n "$(kube get "$1" -l app.kubernetes.io/part-of=slipway -o name 2>/dev/null | grep "/$2\$" || true)" ]; then
    kube delete "$1" "$2" --ignore-not-found >/dev/null
    say "removed the $1 $2"
  fi
}

find_cluster
mapfile -t apps < <(app_namespaces)
context=$(kube config current-context 2>/dev/null || echo '?')
namespaces=()
for namespace in "$PLATFORM_NAMESPACE" "$ENGINE_NAMESPACE"; do
  if namespace_is_ours "$namespace"; then namespaces+=("$namespace"); fi
done
if [ -z "$YES" ]; then
  [ -t 0 ] || die 'nobody can be asked here: say --yes if it is meant'
  {
    printf 'From the cluster of context "%s":\n' "$context"
    printf '  - the builder with its data: conversations, releases, the source of all apps\n'
    printf '  - the registry with its images, the engine, the roles\n'
    if [ -n "$APPS" ]; then
      printf '  - %d apps: %s\n' ${#apps[@]} "${apps[*]}"
    else
      printf '%d apps go on running.\n' ${#apps[@]}
    fi
  } >&2
  read -r -p 'Remove all this? Type yes: ' answer
  [ "$answer" = yes ] || die 'nothing was removed'
fi

# The builder first: it would put back what is taken from under it.
if namespace_is_ours "$PLATFORM_NAMESPACE"; then
  kube -n "$PLATFORM_NAMESPACE" delete deployment builder --ignore-not-found --wait=true --timeout=90s >/dev/null
fi
if [ -n "$APPS" ]; then remove_namespaces "${apps[@]}"; fi
remove_namespaces "${namespaces[@]}"
remove clusterrolebinding slipway-builder
remove clusterrole slipway-builder
remove validatingadmissionpolicybinding slipway-builder
remove validatingadmissionpolicy slipway-builder
# Bindings in the namespaces of apps that stay name this role.
mapfile -t left < <(app_namespaces)
if [ ${#left[@]} -eq 0 ]; then remove clusterrole slipway-app-manager; else say "${#left[@]} apps go on running: ${left[*]} (--apps removes them too)"; fi
say 'Slipway is out of the cluster'
