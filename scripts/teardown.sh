#!/usr/bin/env bash
# Deletes from the cluster what bootstrap-cluster.sh installed. Run it again if it was interrupted.
#
#   scripts/teardown.sh [--yes] [--apps] [--installation ID]
#     --yes    does not ask for a confirmation
#     --apps   deletes the apps too: every namespace app-* that this cluster's builder created. Without it apps keep
#              running. Apps that were exported and applied manually, and those of another Slipway, stay
#     --installation ID   treats apps with this label slipway.dev/installation as the builder's; needed only if
#              the builder is already deleted and its id cannot be read
#
# The builder's volume is deleted with it: conversations, releases and the source of all apps. Export first what you
# want to keep. The registry's images are deleted with it: running apps continue, but cannot start on another node.
# k3s stays (/usr/local/bin/k3s-uninstall.sh removes it), and so does /etc/rancher/k3s/registries.yaml.
set -euo pipefail
# shellcheck source=scripts/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
# shellcheck source=scripts/cluster-common.sh
. "$ROOT/scripts/cluster-common.sh"
help_asked "$@"

YES='' APPS='' INSTALLATION=''
while [ $# -gt 0 ]; do
  case $1 in
    --yes) YES=yes ;;
    --apps) APPS=yes ;;
    --installation)
      [ $# -ge 2 ] || wrong_usage "$1 wants a value"
      [[ $2 =~ ^[a-z0-9]+$ ]] || wrong_usage "--installation: '$2' is no value of the label slipway.dev/installation"
      INSTALLATION=$2
      shift
      ;;
    *) wrong_usage "there is no option $1" ;;
  esac
  shift
done

# namespaces SELECTOR: the namespaces of apps. Both the label and the name are required.
namespaces() {
  kube get namespaces -l "app.kubernetes.io/managed-by=slipway$1" -o 'jsonpath={range .items[*]}{.metadata.name}{"\n"}{end}' | grep '^app-' || true
}

# The apps of this cluster's builder; and apps of other builders, or that were applied manually.
own_apps() { [ -z "$INSTALLATION" ] || namespaces ",slipway.dev/installation=$INSTALLATION"; }
other_apps() { namespaces "${INSTALLATION:+,slipway.dev/installation!=$INSTALLATION}"; }

# remove_namespaces NAME…: deletes them and waits. Prints what blocks the deletion.
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

# remove KIND NAME: deletes a cluster-wide object, if it exists and belongs to Slipway.
remove() {
  if [ -n "$(kube get "$1" -l app.kubernetes.io/part-of=slipway -o name 2>/dev/null | grep "/$2\$" || true)" ]; then
    kube delete "$1" "$2" --ignore-not-found >/dev/null
    say "removed the $1 $2"
  fi
}

find_cluster
INSTALLATION=${INSTALLATION:-$(installation)}
mapfile -t apps < <(own_apps)
mapfile -t others < <(other_apps)
context=$(kube config current-context 2>/dev/null || echo '?')
platform=()
for namespace in "$PLATFORM_NAMESPACE" "$ENGINE_NAMESPACE"; do
  if namespace_is_ours "$namespace"; then platform+=("$namespace"); fi
done
if [ ${#others[@]} -gt 0 ]; then
  if [ -n "$INSTALLATION" ]; then
    say "left alone, since this builder did not make them: ${others[*]}"
  else
    say "left alone, since the builder is not there to say which of them it made: ${others[*]} (with --installation, the value of their label slipway.dev/installation, they are known all the same)"
  fi
fi
if [ -z "$YES" ]; then
  [ -t 0 ] || die 'there is no terminal for a confirmation: pass --yes to confirm'
  {
    printf 'From the cluster of context "%s":\n' "$context"
    printf '  - the builder with its data: conversations, releases, the source of all apps\n'
    printf '  - the registry with its images, the engine, the roles\n'
    if [ -n "$APPS" ]; then
      printf '  - %d apps: %s\n' ${#apps[@]} "${apps[*]}"
    else
      printf '%d apps keep running.\n' ${#apps[@]}
    fi
  } >&2
  read -r -p 'Remove all this? Type yes: ' answer
  [ "$answer" = yes ] || die 'nothing was removed'
fi

# The builder first, because it would restore removed objects.
if namespace_is_ours "$PLATFORM_NAMESPACE"; then
  # For the next run, if this one is interrupted.
  [ -z "$INSTALLATION" ] || note_installation "$INSTALLATION"
  kube -n "$PLATFORM_NAMESPACE" delete deployment builder --ignore-not-found --wait=true --timeout=90s >/dev/null
fi
if [ -n "$APPS" ]; then remove_namespaces "${apps[@]}"; fi
remove_namespaces "${platform[@]}"
remove clusterrolebinding slipway-builder
remove clusterrole slipway-builder
remove validatingadmissionpolicybinding slipway-builder
remove validatingadmissionpolicy slipway-builder
# Bindings in the namespaces of the remaining apps refer to this role.
mapfile -t left < <(own_apps)
if [ ${#left[@]} -gt 0 ]; then say "${#left[@]} apps keep running: ${left[*]} (--apps --installation $INSTALLATION removes them too)"; fi
if [ -z "$(namespaces ,slipway.dev/installation)" ]; then remove clusterrole slipway-app-manager; fi
say 'Slipway is out of the cluster'
