#!/usr/bin/env bash
# Installs Slipway in a cluster: the registry, the engine, and the builder with its address and its secrets. Run it
# again to install a new version or change settings: objects that are correct stay unchanged, and apps keep running.
#
#   scripts/bootstrap-cluster.sh [OPTION…]
#     --domain NAME          apps are at <app>.NAME, the pages at builder.NAME; default: <IP>.nip.io
#     --apps-domain NAME     a separate domain for apps: they are at <app>.NAME, and share no cookies with the pages if it is
#                            registered separately. *.NAME has to point at the server too
#     --ip ADDRESS           the IP address for the default domain; default: the node's own
#     --public-url PATTERN   the pattern of links; default: http://{host}. Behind TLS, set https://{host}
#     --ingress-class NAME   default: traefik, which k3s includes
#     --ingress-namespace NAME  namespace of the ingress controller, by which policies identify it; default: kube-system
#     --storage-class NAME   for the three volumes; default: the cluster's own
#     --engine KIND          the engine that builds images: `separate` (default), an engine inside the cluster; `socket`,
#                            the Docker engine of this machine, which must be the only node; or your own engine
#                            elsewhere, tcp://HOST:PORT, which needs --engine-certs and a registry that it can reach:
#                            --set SLIPWAY_REGISTRY=HOST:PORT. docs/kubernetes.md compares them
#     --engine-certs FOLDER  ca.pem, cert.pem and key.pem for mutual TLS with an engine elsewhere; default: DOCKER_CERT_PATH.
#                            scripts/engine-certificates creates them. For `separate` this script creates them, once
#     --allow-egress CIDR:PORT  permits the builder to reach this private network at this port, such as 10.0.0.5/32:11434
#                            for a model's server. May be repeated. --engine and its registry are permitted anyway
#     --image IMAGE          an existing image of the builder, which nodes can pull: nothing is built or pushed
#     --binary FILE          puts this Slipway binary into the image instead of compiling it
#     --set KEY=VALUE        another setting of the builder (`slipway config` lists them). May be repeated
#     --registry-image IMAGE, --engine-image IMAGE, --runtime-image IMAGE, --rust-image IMAGE, --node-image IMAGE
#                            images to use if the public ones cannot be pulled
#     --dry-run              prints what would be applied, and changes nothing
#
# With ANTHROPIC_API_KEY set, Claude answers; the key is stored only in the Secret `slipway-anthropic`. For another
# provider (--set SLIPWAY_PROVIDER=openai) the same applies to OPENAI_API_KEY and `slipway-openai`. The admin password is
# generated and printed once, and stored in the Secret `slipway-admin`; SLIPWAY_ADMIN_PASSWORD sets it.
set -euo pipefail
# shellcheck source=scripts/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
# shellcheck source=scripts/cluster-common.sh
. "$ROOT/scripts/cluster-common.sh"
help_asked "$@"

DOMAIN='' APPS_DOMAIN='' IP='' PUBLIC_URL='http://{host}' INGRESS_CLASS=traefik INGRESS_NAMESPACE=kube-system STORAGE_CLASS='' ENGINE=separate IMAGE='' BINARY=''
REGISTRY_IMAGE='' ENGINE_IMAGE='' RUNTIME_IMAGE='' RUST_IMAGE='' NODE_IMAGE='' DRY_RUN='' ENGINE_CERTS=${DOCKER_CERT_PATH:-} SETTINGS=() EGRESS=()
while [ $# -gt 0 ]; do
  case $1 in
    --dry-run)
      DRY_RUN=yes
      shift
      continue
      ;;
    --*) [ $# -ge 2 ] || wrong_usage "$1 wants a value" ;;
  esac
  case $1 in
    --domain) DOMAIN=${2,,} ;;
    --apps-domain) APPS_DOMAIN=${2,,} ;;
    --ip) IP=$2 ;;
    --public-url) PUBLIC_URL=$2 ;;
    --ingress-class) INGRESS_CLASS=$2 ;;
    --ingress-namespace) INGRESS_NAMESPACE=$2 ;;
    --storage-class) STORAGE_CLASS=$2 ;;
    --engine) ENGINE=$2 ;;
    --engine-certs) ENGINE_CERTS=$2 ;;
    --image) IMAGE=$2 ;;
    --binary) BINARY=$2 ;;
    --set) SETTINGS+=("$2") ;;
    --allow-egress) EGRESS+=("$2") ;;
    --registry-image) REGISTRY_IMAGE=$2 ;;
    --engine-image) ENGINE_IMAGE=$2 ;;
    --runtime-image) RUNTIME_IMAGE=$2 ;;
    --rust-image) RUST_IMAGE=$2 ;;
    --node-image) NODE_IMAGE=$2 ;;
    *) wrong_usage "there is no option $1" ;;
  esac
  shift 2
done

# --- What is asked for ----------------------------------------------------------------------------------------------

# A host and a port, in the address of an engine or a registry.
ADDRESS_PATTERN='(\[[0-9a-fA-F:]+\]|[A-Za-z0-9.-]+):([0-9]{1,5})'

check_options() {
  [ -z "$DOMAIN" ] || is_name "$DOMAIN" || wrong_usage "--domain: '$DOMAIN' is no domain such as 203.0.113.7.nip.io or apps.example.org"
  [ -z "$APPS_DOMAIN" ] || is_name "$APPS_DOMAIN" || wrong_usage "--apps-domain: '$APPS_DOMAIN' is no domain such as apps.example.net"
  [ -z "$IP" ] || is_ipv4 "$IP" || wrong_usage "--ip: '$IP' is no IPv4 address"
  [[ $PUBLIC_URL =~ ^https?://.*\{host\} ]] || wrong_usage "--public-url: '$PUBLIC_URL' is not http:// or https:// with {host} in it"
  is_name "$INGRESS_CLASS" || wrong_usage "--ingress-class: '$INGRESS_CLASS' is no name"
  is_name "$INGRESS_NAMESPACE" || wrong_usage "--ingress-namespace: '$INGRESS_NAMESPACE' is no name"
  [ -z "$STORAGE_CLASS" ] || is_name "$STORAGE_CLASS" || wrong_usage "--storage-class: '$STORAGE_CLASS' is no name"
  case $ENGINE in
    separate | socket) ;;
    *) [[ $ENGINE =~ ^tcp://$ADDRESS_PATTERN$ ]] || wrong_usage "--engine: '$ENGINE' is none of separate, socket, tcp://HOST:PORT" ;;
  esac
  [ -z "$BINARY" ] || [ -x "$BINARY" ] || wrong_usage "--binary: $BINARY is no program"
  local image setting network
  for image in "$IMAGE" "$REGISTRY_IMAGE" "$ENGINE_IMAGE" "$RUNTIME_IMAGE" "$RUST_IMAGE" "$NODE_IMAGE"; do
    [[ $image =~ ^[A-Za-z0-9._/:@-]*$ ]] || wrong_usage "--image and the like: '$image' is no image"
  done
  for setting in "${SETTINGS[@]}"; do
    [[ $setting =~ ^(SLIPWAY_[A-Z_]+|ANTHROPIC_BASE_URL|OPENAI_BASE_URL|RUST_LOG)=[^$'\n']*$ ]] || wrong_usage "--set: '$setting' is no setting such as SLIPWAY_MODEL=claude-opus-5-5"
    case $setting in SLIPWAY_ADMIN_PASSWORD*) wrong_usage '--set is for what may be seen; export SLIPWAY_ADMIN_PASSWORD instead' ;; esac
  done
  for network in "${EGRESS[@]}"; do
    [[ $network =~ ^([0-9]{1,3}(\.[0-9]{1,3}){3}|[0-9a-fA-F:]*:[0-9a-fA-F:]*)/[0-9]{1,3}:[0-9]{1,5}$ ]] ||
      wrong_usage "--allow-egress: '$network' is no network and port such as 10.0.0.5/32:11434"
  done
  case $ENGINE in
    tcp://*)
      [ -n "$(setting SLIPWAY_REGISTRY)" ] || wrong_usage "--engine $ENGINE: an engine outside the cluster does not reach the registry inside it.
Name one that the engine, the builder and the nodes reach: --set SLIPWAY_REGISTRY=HOST:PORT
(and --set SLIPWAY_REGISTRY_PULL=HOST:PORT where nodes know it by another name)"
      local file
      for file in ca.pem cert.pem key.pem; do
        [ -s "${ENGINE_CERTS:-/nowhere}/$file" ] || wrong_usage "--engine $ENGINE: an external engine needs mutual TLS, because access to its port is root access to its machine.
Name the folder with ca.pem, cert.pem and key.pem: --engine-certs FOLDER (${ENGINE_CERTS:-none}/$file is not there).
scripts/engine-certificates makes such files, and says how the engine is to listen."
      done
      ;;
  esac
}

# setting KEY: the last value of KEY in the --set options; empty without one.
setting() {
  local setting value=
  for setting in "${SETTINGS[@]}"; do
    case $setting in "$1="*) value=${setting#*=} ;; esac
  done
  printf '%s' "$value"
}

# Installs missing tools, then checks whether the cluster is suitable.
check_prerequisites() {
  have jq || apt_install jq
  have openssl || apt_install openssl
  find_cluster
  kube kustomize "$ROOT/k8s/builder/app" >/dev/null 2>&1 || die "this kubectl is too old to put the parts together: version 1.22 or newer is needed ($(kube version --client 2>/dev/null | head -n1))"
  [ "$(kube auth can-i '*' '*' --all-namespaces 2>/dev/null)" = yes ] || die 'this account is not an administrator of the cluster, and only one can make roles'
  local namespace
  for namespace in "$PLATFORM_NAMESPACE" "$ENGINE_NAMESPACE"; do
    if kube get namespace "$namespace" >/dev/null 2>&1 && ! namespace_is_ours "$namespace"; then
      die "the namespace $namespace is there and not Slipway's: it is left alone, and so Slipway cannot be installed beside it"
    fi
    if [ "$(kube get namespace "$namespace" --ignore-not-found -o 'jsonpath={.status.phase}')" = Terminating ]; then
      say "the namespace $namespace is terminating: waiting for that"
      kube wait --for=delete "namespace/$namespace" --timeout=180s >/dev/null || die "the namespace $namespace does not go: 'kubectl get namespace $namespace -o yaml' says what holds it"
    fi
  done
  kube get ingressclass "$INGRESS_CLASS" >/dev/null 2>&1 ||
    warn "the cluster has no ingress class '$INGRESS_CLASS': nothing answers from outside until a controller has it (or name another with --ingress-class)"
  kube get namespace "$INGRESS_NAMESPACE" >/dev/null 2>&1 ||
    warn "the cluster has no namespace '$INGRESS_NAMESPACE', and only from there is anything let in: name the ingress controller's with --ingress-namespace"
  if [ -n "$STORAGE_CLASS" ]; then
    kube get storageclass "$STORAGE_CLASS" >/dev/null 2>&1 || die "the cluster has no storage class '$STORAGE_CLASS'"
  elif ! kube get storageclass -o json | jq -e '[.items[].metadata.annotations["storageclass.kubernetes.io/is-default-class"]] | index("true") != null' >/dev/null; then
    warn 'the cluster has no default storage class: the volumes must be there already (or name a class with --storage-class)'
  fi
  if has_admission_policies; then
    ADMISSION=yes
  else
    ADMISSION=
    warn 'this cluster has no ValidatingAdmissionPolicy (Kubernetes 1.30): the builder is held by its roles alone; docs/kubernetes.md says what that leaves open'
  fi
  if [ -z "$IMAGE" ] && [ "$ENGINE" != separate ]; then
    have docker || die "the docker command is missing, and with --engine $ENGINE it builds the builder's image (or name one with --image)"
    engine info >/dev/null 2>&1 || die "no Docker engine answers at $ENGINE, which is to build the builder's image (or name one with --image)"
  fi
  # This can be checked in advance only if the node is this machine.
  if [ "$ENGINE" = separate ] && [ -e "$K3S_DIR/k3s.yaml" ] && [ "$(cat /proc/sys/kernel/apparmor_restrict_unprivileged_userns 2>/dev/null)" = 1 ] &&
    ! as_root grep -q rootlesskit /sys/kernel/security/apparmor/profiles; then
    warn 'this kernel keeps the engine from making user namespaces: run scripts/install-k3s.sh --profile-only'
  fi
  if [ "$ENGINE" = socket ]; then [ -S /var/run/docker.sock ] || die '/var/run/docker.sock is not on this machine'; fi
}

# registry_pull: the registry's name for nodes. For an engine elsewhere it is the name for pushes, unless another one is
# set.
registry_pull() {
  local name
  name=$(setting SLIPWAY_REGISTRY_PULL)
  case $ENGINE in tcp://*) name=${name:-$(setting SLIPWAY_REGISTRY)} ;; esac
  printf '%s' "${name:-$REGISTRY_PULL}"
}

# allow_out HOST:PORT: permits the builder to reach exactly this. Network policies contain addresses, not names.
allow_out() {
  [[ $1 =~ ^$ADDRESS_PATTERN$ ]] || return 0
  local host=${BASH_REMATCH[1]} port=${BASH_REMATCH[2]} address addresses
  host=${host#[} host=${host%]}
  # Hosts inside of the cluster are permitted by the selectors of their pods.
  case $host in *.svc | *.svc.*) return 0 ;; esac
  mapfile -t addresses < <(getent ahosts "$host" | awk '{ print $1 }' | sort -u)
  if [ ${#addresses[@]} -eq 0 ]; then
    warn "'$host' is not known on this machine, and policies know addresses only: if it is in a private network, say where with --allow-egress ADDRESS/32:$port"
    return 0
  fi
  for address in "${addresses[@]}"; do
    case $address in
      *:*) EGRESS+=("$address/128:$port") ;;
      *) EGRESS+=("$address/32:$port") ;;
    esac
  done
  if [ "${addresses[*]}" != "$host" ]; then say "the builder may speak to $host at ${addresses[*]}: when that changes, run this again"; fi
}

settle_egress() {
  case $ENGINE in tcp://*) allow_out "${ENGINE#tcp://}" ;; esac
  allow_out "$(setting SLIPWAY_REGISTRY)"
}

settle_address() {
  local source='--ip'
  # Traffic to a node's own address may bypass the firewall in front of the node, so apps and builds may not reach it.
  NODE_ADDRESSES=$(kube get nodes -o json | jq -r '[.items[].status.addresses[]? | select(.type == "ExternalIP" or .type == "InternalIP") | .address
    | if contains(":") then . + "/128" else . + "/32" end] | unique | join(",")')
  # The networks of pods, which include the ingress controller: its X-Forwarded-* headers are trusted.
  POD_NETWORKS=$(kube get nodes -o json | jq -r '[.items[].spec | (.podCIDRs // [.podCIDR])[]? | select(. != null)] | unique | join(",")')
  [ -n "$POD_NETWORKS" ] || warn 'the nodes name no networks of pods: all visitors count as one until --set SLIPWAY_TRUST_PROXY=NETWORK says where the ingress controller is'
  if [ -z "$IP" ]; then
    source='the node'
    IP=$(kube get nodes -o json | jq -r '[.items[0].status.addresses[]? | select(.type == "ExternalIP" or .type == "InternalIP")] | sort_by(.type) | .[0].address // ""')
  fi
  if [ -z "$DOMAIN" ]; then
    is_ipv4 "$IP" || die "the cluster's nodes have no IPv4 address ('$IP'): name one with --ip, or a domain with --domain"
    DOMAIN=$IP.nip.io
    say "the domain is $DOMAIN, by the address of $source (another with --domain, or --ip where the server is reached by another address)"
  fi
}

# --- What is applied ------------------------------------------------------------------------------------------------

# overlay PART…: prints the manifests of these parts with the settings of this cluster. jq writes the kustomization as
# JSON, so that a value cannot change its structure.
overlay() {
  local work docker_host='' docker_group='' parts components='[]'
  work=$(mktemp -d)
  cp -r "$ROOT/k8s/builder/." "$work"
  parts=$(jq -nc '$ARGS.positional' --args "$@")
  case $ENGINE in
    socket)
      docker_group=$(stat -c %g /var/run/docker.sock)
      case " $* " in *' app '*) components='["node-socket"]' ;; esac
      ;;
    tcp://*) docker_host=$ENGINE ;;
  esac
  jq -n --argjson parts "$parts" --argjson components "$components" --arg domain "$DOMAIN" --arg apps "$APPS_DOMAIN" --arg url "$PUBLIC_URL" \
    --arg class "$INGRESS_CLASS" --arg class_namespace "$INGRESS_NAMESPACE" --arg storage "$STORAGE_CLASS" --arg image "$IMAGE" --arg group "$docker_group" \
    --arg docker_host "$docker_host" --arg registry "${REGISTRY_PUSH:-}" --arg registry_image "$REGISTRY_IMAGE" \
    --arg engine_image "$ENGINE_IMAGE" --arg pull "$(registry_pull)" --arg nodes "$NODE_ADDRESSES" --arg pods "$POD_NETWORKS" --arg egress "${EGRESS[*]}" --args '
    def has_part($name): $parts | index($name) != null;
    def image($name; $value):
      if $value == "" then empty
      elif $value | contains("@") then ($value | split("@")) as [$new, $digest] | {name: $name, newName: $new, digest: $digest}
      else ($value | capture("^(?<new>.*?)(:(?<tag>[^:/]+))?$")) | {name: $name, newName: .new, newTag: (.tag // "latest")}
      end;
    def patch($kind; $name; $operations): {target: ({kind: $kind} + $name), patch: ($operations | tojson)};
    def probes: ["startupProbe", "readinessProbe", "livenessProbe"];
    # As in k8s/app/network.yaml: a controller is identified by its namespace, and Traefik also by its label.
    def controller: {namespaceSelector: {matchLabels: {"kubernetes.io/metadata.name": $class_namespace}}}
      + (if $class == "traefik" then {podSelector: {matchLabels: {"app.kubernetes.io/name": "traefik"}}} else {} end);
    def rule: capture("^(?<cidr>.*):(?<port>[0-9]+)$") | {to: [{ipBlock: {cidr: .cidr}}], ports: [{protocol: "TCP", port: (.port | tonumber)}]};
    def words($by): split($by) | map(select(. != ""));
    {
      apiVersion: "kustomize.config.k8s.io/v1beta1",
      kind: "Kustomization",
      resources: $parts,
      components: $components,
      images: [
        # The part app has already set the name of this image.
        image("127.0.0.1:30500/slipway/builder"; $image), image("registry"; $registry_image), image("docker"; $engine_image)
      ],
      configMapGenerator: (if has_part("app") then [{
        name: "slipway-settings", namespace: "builder-system", behavior: "merge",
        # Values of --set override the others.
        literals: ({
            SLIPWAY_DOMAIN: $domain, SLIPWAY_PUBLIC_URL: $url,
            SLIPWAY_INGRESS_CLASS: $class, SLIPWAY_INGRESS_NAMESPACE: $class_namespace, SLIPWAY_BLOCKED_NETWORKS: $nodes,
            SLIPWAY_REGISTRY_PULL: $pull, SLIPWAY_TRUST_PROXY: $pods
          }
          + (if $apps == "" then {} else {SLIPWAY_APPS_DOMAIN: $apps} end)
          + (if $docker_host == "" then {} else {DOCKER_HOST: $docker_host} end)
          + (if $registry == "" then {} else {SLIPWAY_REGISTRY: $registry} end)
          + ([$ARGS.positional[] | capture("^(?<key>[^=]+)=(?<value>.*)$")] | from_entries)
          | to_entries | map("\(.key)=\(.value)"))
      }] else [] end),
      patches: (
        (if has_part("app") then [
          patch("Ingress"; {name: "builder"}; [{op: "replace", path: "/spec/rules/0/host", value: ("builder." + $domain)}]),
          patch("Ingress"; {name: "drafts"}; [{op: "replace", path: "/spec/rules/0/host", value: ("*." + (if $apps == "" then $domain else $apps end))}]),
          patch("Ingress"; {}; [{op: "replace", path: "/spec/ingressClassName", value: $class}]),
          patch("NetworkPolicy"; {name: "builder"}; [
            {op: "replace", path: "/spec/ingress/0/from", value: [controller]},
            ($egress | words(" ") | unique[] | {op: "add", path: "/spec/egress/-", value: rule})
          ]),
          patch("Deployment"; {name: "builder"}; [probes[] | {
            op: "replace", path: "/spec/template/spec/containers/0/\(.)/httpGet/httpHeaders/0/value", value: ("builder." + $domain)
          }])
        ] else [] end)
        + (if $group == "" or (has_part("app") | not) then [] else [
          patch("Deployment"; {name: "builder"}; [{op: "add", path: "/spec/template/spec/securityContext/supplementalGroups", value: [$group | tonumber]}])
        ] end)
        + (if has_part("engine") and $nodes != "" then [
          patch("Deployment"; {name: "engine"}; [
            {op: "test", path: "/spec/template/spec/containers/0/env/0/name", value: "SLIPWAY_BLOCKED_NETWORKS"},
            {op: "replace", path: "/spec/template/spec/containers/0/env/0/value", value: $nodes}
          ]),
          patch("NetworkPolicy"; {name: "engine"}; [$nodes | words(",")[] | {
            op: "add", path: "/spec/egress/2/to/\(if contains(":") then 1 else 0 end)/ipBlock/except/-", value: .
          }])
        ] else [] end)
        + (if has_part("admission") then [
          # Apps may have a domain of their own in addition to that of the builder.
          ([$ARGS.positional[] | capture("^SLIPWAY_(APPS_)?DOMAIN=(?<domain>.+)$").domain] + [$domain] | unique) as $domains
          | patch("ValidatingAdmissionPolicy"; {name: "slipway-builder"}; [
            {op: "replace", path: "/spec/variables/2/expression", value: ($domains | tojson)}
          ])
        ] else [] end)
        + (if $storage == "" then [] else [
          patch("PersistentVolumeClaim"; {}; [{op: "add", path: "/spec/storageClassName", value: $storage}])
        ] end)
      )
    }' "${SETTINGS[@]}" >"$work/kustomization.yaml"
  kube kustomize "$work" || die 'the manifests could not be put together'
  rm -rf "$work"
}

apply() {
  local manifests words
  manifests=$(overlay "$@")
  words=$(printf '%s\n' "$manifests" | kube apply --server-side --force-conflicts --field-manager=slipway-bootstrap -f - 2>&1) ||
    die "the cluster refused what was applied: $words"
  # Shortens the output to the number of objects and the names of the parts.
  say "applied $*: $(printf '%s\n' "$words" | grep -c 'serverside-applied') objects"
}

# An engine that is not configured any more is removed; its volume contains only a cache.
remove_unused_engine() {
  if [ "$ENGINE" != separate ] && namespace_is_ours "$ENGINE_NAMESPACE"; then
    say "removing the namespace $ENGINE_NAMESPACE: images are built by $ENGINE from now on"
    kube delete namespace "$ENGINE_NAMESPACE" --wait=true --timeout=120s >/dev/null
  fi
}

# --- The builder's image --------------------------------------------------------------------------------------------

# build_context FOLDER: writes the build context of the image to the folder.
build_context() {
  cp "$ROOT/Dockerfile" "$1/Dockerfile"
  if [ -n "$BINARY" ]; then
    install -m 755 "$BINARY" "$1/slipway"
  else
    tar -C "$ROOT" --exclude-vcs --exclude=./target --exclude=./data --exclude=./node_modules --exclude=./static/vendor \
      --exclude=./slipway.toml -c . | tar -C "$1" -x
  fi
}

build_arguments() {
  printf '%s\n' --target "$([ -n "$BINARY" ] && echo runtime-prebuilt || echo runtime)"
  [ -z "$RUNTIME_IMAGE" ] || printf '%s\n' --build-arg "RUNTIME_IMAGE=$RUNTIME_IMAGE"
  [ -z "$RUST_IMAGE" ] || printf '%s\n' --build-arg "RUST_IMAGE=$RUST_IMAGE"
  [ -z "$NODE_IMAGE" ] || printf '%s\n' --build-arg "NODE_IMAGE=$NODE_IMAGE"
}

# engine ARGUMENT…: runs docker on the engine that builds.
engine() {
  if [ "$ENGINE" = separate ]; then
    kube -n "$ENGINE_NAMESPACE" exec -i deployment/engine -- docker --host unix:///run/user/1000/docker.sock "$@"
  elif [ "$ENGINE" = socket ]; then
    DOCKER_HOST='' docker "$@"
  else
    DOCKER_HOST=$ENGINE DOCKER_TLS_VERIFY=1 DOCKER_CERT_PATH=$ENGINE_CERTS docker "$@"
  fi
}

build_and_push() {
  local work arguments name digest before kept=slipway-builder:latest
  work=$(mktemp -d)
  mapfile -t arguments < <(build_arguments)
  build_context "$work"
  name=$REGISTRY_PUSH/slipway/builder:$(date -u +%Y%m%d%H%M%S)
  if [ -n "$BINARY" ]; then say "building the builder's image from $BINARY"; else say "building the builder's image (compiling takes some minutes)"; fi
  before=$(engine image inspect --format '{{.Id}}' "$kept" 2>/dev/null </dev/null) || before=
  if ! tar -C "$work" -c . | engine build "${arguments[@]}" --tag "$kept" --tag "$name" - >"$work.log" 2>&1; then
    tail -n 25 "$work.log" >&2
    rm -rf "$work" "$work.log"
    die "the builder's image could not be built: see the log's end above"
  fi
  say "pushing it to the cluster's registry"
  if ! engine push "$name" >"$work.log" 2>&1 </dev/null; then
    tail -n 10 "$work.log" >&2
    rm -rf "$work" "$work.log"
    die "the registry at $REGISTRY_PUSH did not take the image: see above. With --engine socket, run scripts/setup-registry.sh --docker with the range of the cluster's Services first; an engine elsewhere has to reach its registry and trust it."
  fi
  digest=$(sed -n 's/^.*digest: \(sha256:[0-9a-f]\{64\}\).*$/\1/p' "$work.log" | tail -n1)
  rm -rf "$work" "$work.log"
  [ -n "$digest" ] || die 'the registry did not say under which digest it keeps the image'
  # The newest image stays in the engine, so that the next build uses the cache and produces the same image.
  engine image rm "$name" >/dev/null 2>&1 </dev/null || true
  if [ -n "$before" ] && [ "$(engine image inspect --format '{{.Id}}' "$kept" </dev/null)" != "$before" ]; then
    engine image rm "$before" >/dev/null 2>&1 </dev/null || true
  fi
  IMAGE=$(registry_pull)/slipway/builder@$digest
  say "the builder's image is $IMAGE"
}

# Removes the previous image's manifest from the registry, which collects its layers within an hour.
forget_image() {
  local old=$1
  case $old in
    "$IMAGE" | '') return 0 ;;
    "$REGISTRY_PULL"/slipway/builder@sha256:*)
      if kube delete --raw "/api/v1/namespaces/$PLATFORM_NAMESPACE/services/registry:push/proxy/v2/slipway/builder/manifests/${old##*@}" >/dev/null 2>&1; then
        say "removed the image before it from the registry"
      fi
      ;;
  esac
}

# --- Secrets --------------------------------------------------------------------------------------------------------

# secret_value SECRET KEY [NAMESPACE]: the value, or nothing.
secret_value() { kube -n "${3:-$PLATFORM_NAMESPACE}" get secret "$1" --ignore-not-found -o json | jq -r --arg key "$2" '.data[$key] // "" | @base64d' 2>/dev/null; }

# put_secret SECRET KEY VALUE: writes a Secret. The value is passed through pipes, because arguments are visible to all
# users of the machine.
put_secret() {
  printf '%s' "$3" | kube -n "$PLATFORM_NAMESPACE" create secret generic "$1" --from-file="$2=/dev/stdin" --dry-run=client -o json |
    jq '.metadata.labels = {"app.kubernetes.io/part-of": "slipway"}' |
    kube apply --server-side --force-conflicts --field-manager=slipway-bootstrap -f - >/dev/null || die "the Secret $1 could not be written"
}

# put_certificates NAMESPACE SECRET FOLDER: writes the folder's ca.pem, cert.pem and key.pem to a Secret.
put_certificates() {
  kube -n "$1" create secret generic "$2" --from-file="$3/ca.pem" --from-file="$3/cert.pem" --from-file="$3/key.pem" --dry-run=client -o json |
    jq '.metadata.labels = {"app.kubernetes.io/part-of": "slipway"}' |
    kube apply --server-side --force-conflicts --field-manager=slipway-bootstrap -f - >/dev/null || die "the Secret $2 could not be written"
  say "wrote the Secret $2"
}

# held_certificates NAMESPACE SECRET FOLDER: writes the Secret's files to the folder; false if one is missing.
held_certificates() {
  local file
  mkdir -p "$3"
  for file in ca.pem cert.pem key.pem; do
    secret_value "$2" "$file" "$1" >"$3/$file"
    [ -s "$3/$file" ] || return 1
  done
}

# certificate_holds FOLDER: whether the certificate belongs to its authority and key, and is valid for at least one more
# month.
certificate_holds() {
  openssl verify -CAfile "$1/ca.pem" "$1/cert.pem" >/dev/null 2>&1 &&
    openssl x509 -in "$1/cert.pem" -noout -checkend 2592000 >/dev/null 2>&1 &&
    [ "$(openssl x509 -in "$1/cert.pem" -noout -pubkey 2>/dev/null)" = "$(openssl pkey -in "$1/key.pem" -pubout 2>/dev/null)" ]
}

# The mutual TLS certificates of the builder and the engine, created once. The engine's is a Secret in the engine's
# namespace, the builder's in the platform's namespace; neither side can read the other's key.
make_engine_certificates() {
  local work
  work=$(mktemp -d)
  case $ENGINE in
    separate)
      if held_certificates "$ENGINE_NAMESPACE" slipway-engine-server "$work/server" && certificate_holds "$work/server" &&
        held_certificates "$PLATFORM_NAMESPACE" slipway-engine-client "$work/client" && certificate_holds "$work/client" &&
        cmp -s "$work/server/ca.pem" "$work/client/ca.pem"; then
        rm -rf "$work"
        return 0
      fi
      "$ROOT/scripts/engine-certificates" "$work" "engine.$ENGINE_NAMESPACE.svc.cluster.local" "engine.$ENGINE_NAMESPACE.svc" "engine.$ENGINE_NAMESPACE" localhost 127.0.0.1
      put_certificates "$ENGINE_NAMESPACE" slipway-engine-server "$work/server"
      put_certificates "$PLATFORM_NAMESPACE" slipway-engine-client "$work/client"
      SECRETS_CHANGED=yes
      # A running engine has read the old certificates.
      kube -n "$ENGINE_NAMESPACE" rollout restart deployment/engine >/dev/null
      ;;
    tcp://*)
      if ! { held_certificates "$PLATFORM_NAMESPACE" slipway-engine-client "$work" && cmp -s "$work/ca.pem" "$ENGINE_CERTS/ca.pem" &&
        cmp -s "$work/cert.pem" "$ENGINE_CERTS/cert.pem" && cmp -s "$work/key.pem" "$ENGINE_CERTS/key.pem"; }; then
        put_certificates "$PLATFORM_NAMESPACE" slipway-engine-client "$ENGINE_CERTS"
        SECRETS_CHANGED=yes
      fi
      ;;
  esac
  rm -rf "$work"
}

make_secrets() {
  local held wanted=${SLIPWAY_ADMIN_PASSWORD:-}
  held=$(secret_value slipway-admin password)
  if [ -n "$wanted" ] && [ ${#wanted} -lt 8 ]; then die 'SLIPWAY_ADMIN_PASSWORD is shorter than 8 characters'; fi
  if [ -z "$wanted" ] && [ -z "$held" ]; then
    wanted=$(head -c 512 /dev/urandom | base64 -w0 | tr -d '+/=' | cut -c1-24)
    NEW_PASSWORD=$wanted
  fi
  if [ -n "$wanted" ] && [ "$wanted" != "$held" ]; then
    put_secret slipway-admin password "$wanted"
    SECRETS_CHANGED=yes
    say 'wrote the Secret slipway-admin'
  fi
  put_key slipway-anthropic "${ANTHROPIC_API_KEY:-}"
  put_key slipway-openai "${OPENAI_API_KEY:-}"
  case " ${SETTINGS[*]} " in
    *' SLIPWAY_PROVIDER=openai '*) ;;
    *)
      if [ -z "$(secret_value slipway-anthropic api-key)" ]; then
        say 'ANTHROPIC_API_KEY is not set: the demo model answers (set it and run this again for Claude)'
      fi
      ;;
  esac
}

# put_key SECRET KEY: stores a provider's key, if one is set and it has changed.
put_key() {
  if [ -n "$2" ] && [ "$2" != "$(secret_value "$1" api-key)" ]; then
    put_secret "$1" api-key "$2"
    SECRETS_CHANGED=yes
    say "wrote the Secret $1"
  fi
}

# --- All of it ------------------------------------------------------------------------------------------------------

running_image() { kube -n "$PLATFORM_NAMESPACE" get deployment builder --ignore-not-found -o 'jsonpath={.spec.template.spec.containers[0].image}'; }
generation() { kube -n "$PLATFORM_NAMESPACE" get deployment builder --ignore-not-found -o 'jsonpath={.metadata.generation}'; }

say 'checking what is here'
check_options
check_prerequisites
settle_address
settle_egress
platform=(namespace registry) app=(namespace registry app)
if [ "$ENGINE" = separate ]; then platform+=(engine) app+=(engine); fi
if [ -n "$ADMISSION" ]; then app+=(admission); fi
REGISTRY_PUSH=$REGISTRY_NAME
if [ -n "$DRY_RUN" ]; then
  REGISTRY_PUSH=
  overlay "${app[@]}"
  exit 0
fi

NEW_PASSWORD='' SECRETS_CHANGED=''
apply "${platform[@]}"
make_engine_certificates
wait_for_rollout "$PLATFORM_NAMESPACE" registry 300
if [ "$ENGINE" = separate ]; then wait_for_rollout "$ENGINE_NAMESPACE" engine 600; fi
# The node cannot resolve the cluster's names, but it can reach the Service's address.
registry=$(setting SLIPWAY_REGISTRY)
REGISTRY_PUSH=${registry:-$REGISTRY_PUSH}
if [ "$ENGINE" != separate ] && [ "$REGISTRY_PUSH" = "$REGISTRY_NAME" ]; then
  REGISTRY_PUSH=$(kube -n "$PLATFORM_NAMESPACE" get service registry -o 'jsonpath={.spec.clusterIP}'):5000
fi
before=$(running_image)
if [ -z "$IMAGE" ]; then build_and_push; fi
make_secrets
generation_before=$(generation)
apply "${app[@]}"
if [ -n "$SECRETS_CHANGED" ] && [ -n "$generation_before" ] && [ "$(generation)" = "$generation_before" ]; then
  say 'restarting the builder, which reads its secrets at its start'
  kube -n "$PLATFORM_NAMESPACE" rollout restart deployment/builder >/dev/null
fi
wait_for_rollout "$PLATFORM_NAMESPACE" builder 300
remove_unused_engine
forget_image "$before"
installation=$(installation)
[ -z "$installation" ] || note_installation "$installation"

url=${PUBLIC_URL//\{host\}/builder.$DOMAIN}
say 'Slipway runs in the cluster'
if [ -n "$NEW_PASSWORD" ]; then
  printf '\n  address   %s/\n  password  %s   (shown this once; it is in the Secret slipway-admin)\n\n' "$url" "$NEW_PASSWORD"
else
  printf '\n  address   %s/\n\n' "$url"
fi
if ! curl -fsS --max-time 10 -o /dev/null --resolve "builder.$DOMAIN:80:${IP:-127.0.0.1}" "http://builder.$DOMAIN/healthz" 2>/dev/null; then
  warn "nothing answers at port 80 of ${IP:-this machine} for builder.$DOMAIN yet. An ingress controller just installed needs a minute; else look at
         kubectl get ingress -n $PLATFORM_NAMESPACE, at the firewall, and at where the domain leads."
fi
