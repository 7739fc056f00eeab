"""Evaluates network policies by the rules of Kubernetes: which pod may connect to which address.

Works on the manifests alone, because the test cluster need not enforce policies, and no API reports their effect.
"""

import dataclasses
import ipaddress

PLACE = "kubernetes.io/metadata.name"


@dataclasses.dataclass(frozen=True)
class Pod:
    """A pod as policies see it: namespace, labels, named ports and address."""

    namespace: str
    labels: dict
    namespace_labels: dict = dataclasses.field(default_factory=dict)
    ports: dict = dataclasses.field(default_factory=dict)
    address: str = "10.42.0.9"


def address(text):
    """An address as it is on the wire: an IPv4-mapped IPv6 address is sent as IPv4."""
    found = ipaddress.ip_address(text)
    return getattr(found, "ipv4_mapped", None) or found


def matches(selector, labels):
    """Whether a label selector matches. An empty selector matches everything."""
    for expression in selector.get("matchExpressions", []):
        held, values = labels.get(expression["key"]), expression.get("values", [])
        good = {
            "In": held in values,
            "NotIn": held not in values,
            "Exists": held is not None,
            "DoesNotExist": held is None,
        }[expression["operator"]]
        if not good:
            return False
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())


def is_peer(peer, place, other):
    """Whether `other`, a pod or an address, matches a peer of a policy in the namespace `place`."""
    if "ipBlock" in peer:
        block, found = peer["ipBlock"], address(other.address if isinstance(other, Pod) else other)
        inside = [ipaddress.ip_network(cidr) for cidr in [block["cidr"], *block.get("except", [])]]
        return found in inside[0] and not any(found in network for network in inside[1:])
    if not isinstance(other, Pod):
        return False
    if "namespaceSelector" in peer:
        if not matches(peer["namespaceSelector"], other.namespace_labels | {PLACE: other.namespace}):
            return False
    elif other.namespace != place:
        return False
    return matches(peer.get("podSelector", {}), other.labels)


def is_port(wanted, protocol, port, target):
    """Whether a rule's port is meant; a port's name is the one of the pod that is called."""
    if wanted.get("protocol", "TCP") != protocol:
        return False
    number = wanted.get("port")
    if isinstance(number, str):
        number = target.ports.get(number) if isinstance(target, Pod) else None
        return number == port
    return number is None or number <= port <= wanted.get("endPort", number)


def allows(policies, direction, pod, other, protocol, port):
    """Whether the policies of a pod's namespace let it speak in this direction."""
    word = "from" if direction == "Ingress" else "to"
    target = pod if direction == "Ingress" else other
    isolated = False
    for policy in policies:
        place, spec = policy["metadata"]["namespace"], policy["spec"]
        types = spec.get("policyTypes") or ["Ingress", *(["Egress"] if "egress" in spec else [])]
        if place != pod.namespace or direction not in types or not matches(spec.get("podSelector", {}), pod.labels):
            continue
        isolated = True
        for rule in spec.get(direction.lower(), []):
            peers, ports = rule.get(word, []), rule.get("ports", [])
            if peers and not any(is_peer(peer, place, other) for peer in peers):
                continue
            if not ports or any(is_port(wanted, protocol, port, target) for wanted in ports):
                return True
    return not isolated


def may_connect(policies, source, target, port, protocol="TCP"):
    """Whether a connection gets through: out of where it starts and in where it ends. An address is outside."""
    out = not isinstance(source, Pod) or allows(policies, "Egress", source, target, protocol, port)
    return out and (not isinstance(target, Pod) or allows(policies, "Ingress", target, source, protocol, port))
