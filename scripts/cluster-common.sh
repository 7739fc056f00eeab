# shellcheck shell=bash
# Shared by the scripts for clusters: finds the cluster and kubectl, and defines Slipway's names. Sourced after
# common.sh.

K3S_DIR=/etc/rancher/k3s
# shellcheck disable=SC2034 # the scripts that source this file use them
PLATFORM_NAMESPACE=builder-system ENGINE_NAMESPACE=builder-engine
# The registry's address for nodes (k8s/builder/registry), and its name inside the cluster.
# shellcheck disable=SC2034
REGISTRY_PULL=127.0.0.1:30500 REGISTRY_NAME=registry.builder-system.svc.cluster.local:5000

# help_asked ARGUMENT…: if help is requested, prints the comment at the top of the script and exits.
help_asked() {
  local argument
  for argument in "$@"; do
    case $argument in -h | --help)
      sed -n '2,/^[^#]/{/^#/{s/^# \{0,1\}//;p}}' "$0"
      exit 0
      ;;
    esac
  done
}

# wrong_usage WORDS…: reports invalid arguments and exits.
wrong_usage() {
  printf 'error: %s\n%s --help says what can be asked for\n' "$*" "$0" >&2
  exit 2
}

# find_cluster: uses the cluster of KUBECONFIG, else kubectl's default, else k3s on this machine. Sets KUBECTL.
find_cluster() {
  if have kubectl; then
    KUBECTL=(kubectl)
  elif have k3s; then
    KUBECTL=(k3s kubectl)
  else
    die 'kubectl is missing: install it, or k3s, which brings one (scripts/install-k3s.sh)'
  fi
  if [ -z "${KUBECONFIG:-}" ] && [ ! -f "$HOME/.kube/config" ] && [ -e "$K3S_DIR/k3s.yaml" ]; then
    [ -r "$K3S_DIR/k3s.yaml" ] || die "$K3S_DIR/k3s.yaml can be read by root only: run this with sudo"
    export KUBECONFIG=$K3S_DIR/k3s.yaml
  fi
  local words
  if ! words=$(kube --request-timeout=10s get --raw /readyz 2>&1); then
    die "no cluster answers (${KUBECONFIG:-$HOME/.kube/config}): $(printf '%s' "$words" | tail -n1 | cut -c1-200)
       Start it, or name another with KUBECONFIG; scripts/install-k3s.sh makes one."
  fi
}

kube() { "${KUBECTL[@]}" "$@"; }

# namespace_is_ours NAMESPACE: whether it exists and has Slipway's label. Other namespaces are never changed.
namespace_is_ours() {
  [ "$(kube get namespace "$1" --ignore-not-found -o 'jsonpath={.metadata.labels.app\.kubernetes\.io/part-of}')" = slipway ]
}

# installation: the id of the cluster's builder, which is a label of its namespaces; empty if it cannot be read. If the
# builder does not run, bootstrap's annotation is read.
installation() {
  local id
  id=$(kube -n "$PLATFORM_NAMESPACE" exec deployment/builder -c builder --pod-running-timeout=5s -- cat /data/installation 2>/dev/null </dev/null) ||
    id=$(kube get namespace "$PLATFORM_NAMESPACE" --ignore-not-found -o 'jsonpath={.metadata.annotations.slipway\.dev/installation}')
  [[ $id =~ ^[a-z0-9]+$ ]] || return 0
  printf '%s' "$id"
}

# note_installation ID: stores the id in an annotation, where it can be read after the builder was removed.
note_installation() { kube annotate --overwrite namespace "$PLATFORM_NAMESPACE" "slipway.dev/installation=$1" >/dev/null; }

# has_admission_policies: whether the cluster supports ValidatingAdmissionPolicy v1.
has_admission_policies() {
  kube get --raw /apis/admissionregistration.k8s.io/v1 2>/dev/null |
    jq -e '[.resources[].name] | index("validatingadmissionpolicies") != null' >/dev/null
}

# wait_for_rollout NAMESPACE DEPLOYMENT SECONDS: waits until it is available, or fails with the reason.
wait_for_rollout() {
  local namespace=$1 deployment=$2 until=$((SECONDS + $3)) stuck_since='' stuck=''
  say "waiting for $deployment in $namespace"
  while ! kube -n "$namespace" rollout status "deployment/$deployment" --timeout=5s >/dev/null 2>&1; do
    stuck=$(what_is_stuck "$namespace" "$deployment")
    if [ -z "$stuck" ]; then stuck_since=; else stuck_since=${stuck_since:-$SECONDS}; fi
    # A first pull may fail and the next one succeed, so a failure is fatal only after one minute.
    if [ "$SECONDS" -ge "$until" ] || { [ -n "$stuck_since" ] && [ $((SECONDS - stuck_since)) -ge 60 ]; }; then
      {
        printf '\n'
        kube -n "$namespace" get pods,persistentvolumeclaims || true
        printf '\n'
        kube -n "$namespace" get events --field-selector type=Warning --sort-by=.lastTimestamp 2>/dev/null | tail -n 8 || true
        printf '\n'
        kube -n "$namespace" logs "deployment/$deployment" --all-containers --tail=15 2>/dev/null || true
      } >&2
      die "$deployment in $namespace does not get ready${stuck:+ ($stuck)}: see its pods, warnings and last words above"
    fi
    # kubectl may fail at once instead of waiting.
    sleep 0.5
  done
}

# what_is_stuck NAMESPACE DEPLOYMENT: Kubernetes's reason why its newest pods do not start; empty if they may still
# start.
what_is_stuck() {
  kube -n "$1" get pods -l "app.kubernetes.io/part-of=slipway,app.kubernetes.io/component=$2" -o json 2>/dev/null | jq -r '
    [.items[] | select(.metadata.deletionTimestamp == null) | (.status.containerStatuses // [])[]
      | .state.waiting.reason // empty
      | select(IN("ImagePullBackOff", "ErrImagePull", "InvalidImageName", "CreateContainerConfigError", "CrashLoopBackOff"))
    ] | unique | join(", ")' 2>/dev/null || true
}

# write_if_changed FILE MODE CONTENT: writes a file; false if it had this content already.
write_if_changed() {
  local file=$1 mode=$2 fresh
  fresh=$(mktemp)
  printf '%s\n' "$3" >"$fresh"
  if as_root cmp -s "$fresh" "$file"; then
    rm -f "$fresh"
    return 1
  fi
  as_root install -D -m "$mode" "$fresh" "$file" || die "$file cannot be written"
  rm -f "$fresh"
}

# service_active NAME: whether the service runs under systemd.
service_active() { [ -d /run/systemd/system ] && systemctl is-active --quiet "$1"; }

# is_name WORD: whether it is a lowercase DNS name. is_ipv4 WORD: whether it looks like an IPv4 address.
is_name() { [[ $1 =~ ^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$ && ${#1} -le 200 ]]; }
is_ipv4() { [[ $1 =~ ^([0-9]{1,3}\.){3}[0-9]{1,3}$ ]]; }

# use_test_cluster: sets KUBECONFIG to a cluster for tests: the one that it names already, else k3s on this machine,
# else scripts/test-cluster.
use_test_cluster() {
  if [ -z "${KUBECONFIG:-}" ] && as_root test -e "$K3S_DIR/k3s.yaml"; then
    [ -r "$K3S_DIR/k3s.yaml" ] || die "$K3S_DIR/k3s.yaml can be read by root only: copy it and name the copy in KUBECONFIG"
    KUBECONFIG=$K3S_DIR/k3s.yaml
  elif [ -z "${KUBECONFIG:-}" ]; then
    KUBECONFIG=$(as_root env "TEST_CLUSTER_HOME=${TEST_CLUSTER_HOME:-$HOME/.cache/test-cluster}" "$ROOT/scripts/test-cluster" up |
      sed -n 's/^export KUBECONFIG=//p')
    [ -n "$KUBECONFIG" ] || die 'the test cluster did not start: see its words above'
  fi
  export KUBECONFIG
  have kubectl || apt_install kubernetes-client
}
