"""Checks which connections the network policies of apps and of the platform allow.

An app's policies are read from the snapshots of the Rust tests, the platform's as scripts/bootstrap-cluster.sh renders
them. tests/kubernetes/policies.py evaluates them.
"""

import dataclasses
import functools
import json
import pathlib
import re
import subprocess
import tempfile
import unittest

import namespaces
from policies import Pod, may_connect

ROOT = pathlib.Path(__file__).resolve().parents[2]
SNAPSHOTS = ROOT / "src/runtime/kubernetes/snapshots"
APP = "brisk-otter"
MANAGED = {"app.kubernetes.io/managed-by": "slipway"}
PART = {"app.kubernetes.io/part-of": "slipway"}

TRAEFIK = Pod("kube-system", {"app.kubernetes.io/name": "traefik"})
BUILDER = Pod(
    "builder-system",
    PART | {"app.kubernetes.io/component": "builder", "app.kubernetes.io/name": "slipway"},
    PART,
    {"http": 8080},
)
REGISTRY = Pod("builder-system", PART | {"app.kubernetes.io/component": "registry"}, PART, {"push": 5000, "pull": 5001})
ENGINE = Pod("builder-engine", PART | {"app.kubernetes.io/component": "engine"}, PART, {"engine": 2376})
DNS = Pod("kube-system", {"k8s-app": "kube-dns"}, address="10.42.0.2")
STRANGER = Pod("default", {"app.kubernetes.io/name": "traefik"})

INTERNET = ("1.1.1.1", "93.184.215.14", "100.63.255.255", "172.32.0.1", "169.253.255.255", "2606:4700:4700::1111")
NEAR = (
    "0.0.0.1",
    "10.0.0.1",
    "10.43.0.1",
    "100.64.0.1",
    "100.127.255.254",
    "127.0.0.1",
    "168.63.129.16",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.254",
    "192.0.0.192",
    "192.168.1.1",
    "198.18.0.1",
    "224.0.0.1",
    "255.255.255.255",
    "::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "ff02::1",
    "::ffff:169.254.169.254",
    "::ffff:10.0.0.1",
    "64:ff9b::a9fe:a9fe",
    "2002:a9fe:a9fe::1",
)


def snapshot(name):
    """The objects of a snapshot: JSON, after insta's header."""
    text = (SNAPSHOTS / f"slipway__runtime__kubernetes__manifest__tests__{name}.snap").read_text()
    return [json.loads(document) for document in text.split("---\n", 2)[2].split("\n---\n")]


def of_kind(objects, kind):
    return [thing for thing in objects if thing["kind"] == kind]


def pod_of(workload, namespace):
    """The pod that a Deployment or a CronJob creates."""
    spec = workload["spec"]
    template = spec.get("jobTemplate", {}).get("spec", spec)["template"]
    ports = [port for container in template["spec"]["containers"] for port in container.get("ports", [])]
    return Pod(
        namespace["metadata"]["name"],
        template["metadata"]["labels"],
        namespace["metadata"]["labels"],
        {port["name"]: port["containerPort"] for port in ports},
    )


@functools.cache
def platform(*options):
    """The platform's objects, as bootstrap would apply them."""
    command = [ROOT / "scripts/bootstrap-cluster.sh", "--dry-run", "--domain", "x.test", *options]
    made = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if made.returncode:
        raise AssertionError(made.stderr)
    command = ["kubectl", "create", "--dry-run=client", "--validate=false", "-o", "json", "-f", "-"]
    text = subprocess.run(command, input=made.stdout, capture_output=True, text=True, timeout=120, check=True).stdout
    decoder, objects = json.JSONDecoder(), []
    while text.strip():
        found, end = decoder.raw_decode(text.lstrip())
        objects.extend(found["items"] if found["kind"] == "List" else [found])
        text = text.lstrip()[end:]
    return objects


class AppPolicies(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        base = snapshot("base")
        (namespace,) = of_kind(base, "Namespace")
        cls.policies = of_kind(base, "NetworkPolicy")
        (service,) = of_kind(snapshot("service"), "Deployment")
        (job,) = of_kind(snapshot("cronjob"), "CronJob")
        cls.app, cls.job = pod_of(service, namespace), pod_of(job, namespace)
        # Another app of the same builder, with the same policies.
        other = json.loads(json.dumps([namespace, service, *cls.policies]).replace(APP, "calm-fox"))
        cls.other = dataclasses.replace(pod_of(other[1], other[0]), address="10.42.0.7")
        cls.policies += other[2:]

    def assert_through(self, source, target, port=443, protocol="TCP"):
        self.assertTrue(may_connect(self.policies, source, target, port, protocol), f"{source} to {target}: {port}")

    def assert_not_through(self, source, target, port=443, protocol="TCP"):
        self.assertFalse(may_connect(self.policies, source, target, port, protocol), f"{source} to {target}: {port}")

    def test_in_come_the_ingress_controller_and_the_builder_alone(self):
        self.assertEqual(self.app.ports, {"http": 8080})
        for source in (TRAEFIK, BUILDER):
            self.assert_through(source, self.app, 8080)
            self.assert_not_through(source, self.app, 9000)
            # A job has no port.
            self.assert_not_through(source, self.job, 8080)
        for source in (DNS, ENGINE, REGISTRY, STRANGER, self.other, self.job, "203.0.113.9", "10.42.0.200"):
            self.assert_not_through(source, self.app, 8080)

    def test_apps_do_not_reach_each_other_nor_the_platform(self):
        for source in (self.app, self.job):
            for target in (self.other, BUILDER, REGISTRY, ENGINE, TRAEFIK, STRANGER):
                for port in (80, 443, 2376, 5000, 8080):
                    self.assert_not_through(source, target, port)

    def test_names_are_looked_up_in_the_cluster(self):
        for source in (self.app, self.job):
            self.assert_through(source, DNS, 53, "UDP")
            self.assert_through(source, DNS, 53)
            self.assert_not_through(source, DNS, 9153)

    def test_out_goes_to_the_internet_and_nowhere_near(self):
        for source in (self.app, self.job):
            for target in INTERNET:
                self.assert_through(source, target)
                self.assert_through(source, target, 5432)
            # The last two are extra addresses in the snapshot's settings, as bootstrap sets the nodes' addresses.
            for target in (*NEAR, "198.51.100.7", "2001:db8::7"):
                for port in (53, 80, 443, 6443):
                    self.assert_not_through(source, target, port)

    def test_an_exported_app_is_kept_from_the_same_networks(self):
        exported = set(re.findall(r'^ +- "(\S+/\d+)"$', (ROOT / "k8s/export/network.yaml").read_text(), re.MULTILINE))
        applied = {
            network
            for policy in of_kind(snapshot("base"), "NetworkPolicy")
            for rule in policy["spec"].get("egress", [])
            for peer in rule["to"]
            for network in peer.get("ipBlock", {}).get("except", [])
        }
        self.assertEqual(exported, applied - {"198.51.100.0/24", "2001:db8::/32"})


class PlatformPolicies(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        namespaces.prepare(cls)

    def policies(self, *options):
        return of_kind(platform(*options), "NetworkPolicy")

    def test_only_the_ingress_controller_comes_in_to_the_builder(self):
        policies = self.policies()
        self.assertTrue(may_connect(policies, TRAEFIK, BUILDER, 8080))
        app = Pod(f"app-{APP}", {}, MANAGED)
        for source in (DNS, STRANGER, ENGINE, REGISTRY, app, "203.0.113.9"):
            self.assertFalse(may_connect(policies, source, BUILDER, 8080), source)
        nginx = Pod("ingress-nginx", {"app.kubernetes.io/name": "ingress-nginx"})
        self.assertFalse(may_connect(policies, nginx, BUILDER, 8080))
        policies = self.policies("--ingress-class", "nginx", "--ingress-namespace", "ingress-nginx")
        self.assertTrue(may_connect(policies, nginx, BUILDER, 8080))
        self.assertFalse(may_connect(policies, TRAEFIK, BUILDER, 8080))

    def test_the_builder_reaches_what_it_works_with(self):
        policies = self.policies("--allow-egress", "10.1.2.0/24:11434", "--allow-egress", "fd00::5/128:8000")
        app = Pod(f"app-{APP}", {}, MANAGED)
        for target, port in ((ENGINE, 2376), (REGISTRY, 5000), (app, 8080), (DNS, 53), ("1.1.1.1", 443)):
            self.assertTrue(may_connect(policies, BUILDER, target, port), target)
        for target, port in (("10.43.0.1", 443), ("10.1.2.9", 11434), ("fd00::5", 8000)):
            self.assertTrue(may_connect(policies, BUILDER, target, port), target)
        for target, port in (("10.1.3.9", 11434), ("10.1.2.9", 22), ("169.254.169.254", 80), ("fd00::6", 8000)):
            self.assertFalse(may_connect(policies, BUILDER, target, port), target)

    def test_an_engine_elsewhere_and_its_registry_are_reached_and_nothing_beside_them(self):
        image = "r.test/slipway@sha256:" + "0" * 64
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        subprocess.run([ROOT / "scripts/engine-certificates", folder.name, "10.9.8.7"], check=True)
        certificates = ("--engine-certs", f"{folder.name}/client")
        elsewhere = (*certificates, "--engine", "tcp://10.9.8.7:2376", "--image", image, "--set", "SLIPWAY_REGISTRY=10.9.8.8:5000")
        objects = platform(*elsewhere)
        policies = of_kind(objects, "NetworkPolicy")
        for target, port, through in (
            ("10.9.8.7", 2376, True),
            ("10.9.8.8", 5000, True),
            ("10.9.8.7", 22, False),
            ("10.9.8.7", 5000, False),
            ("10.9.8.6", 2376, False),
        ):
            self.assertEqual(may_connect(policies, BUILDER, target, port), through, f"{target}:{port}")
        (settings,) = (thing["data"] for thing in of_kind(objects, "ConfigMap") if "settings" in thing["metadata"]["name"])
        self.assertEqual(settings["DOCKER_HOST"], "tcp://10.9.8.7:2376")
        # Nodes pull from it too, unless they use another name of the registry.
        self.assertEqual(settings["SLIPWAY_REGISTRY_PULL"], "10.9.8.8:5000")

    def test_builds_reach_the_registry_and_the_internet_and_nothing_near(self):
        policies = self.policies()
        self.assertTrue(may_connect(policies, ENGINE, REGISTRY, 5000))
        self.assertTrue(may_connect(policies, ENGINE, DNS, 53, "UDP"))
        for target in INTERNET:
            self.assertTrue(may_connect(policies, ENGINE, target, 443), target)
        for target in (*NEAR, BUILDER, Pod(f"app-{APP}", {}, MANAGED), TRAEFIK):
            for port in (80, 443, 6443, 8080):
                self.assertFalse(may_connect(policies, ENGINE, target, port), target)

    def test_apps_and_builds_are_kept_from_the_nodes_own_addresses(self):
        command = ["kubectl", "get", "nodes", "-o", "json"]
        nodes = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)["items"]
        addresses = {
            found["address"] for node in nodes for found in node["status"]["addresses"] if found["type"].endswith("IP")
        }
        self.assertTrue(addresses)
        objects = platform()
        (settings,) = (thing["data"] for thing in of_kind(objects, "ConfigMap") if "settings" in thing["metadata"]["name"])
        blocked = settings["SLIPWAY_BLOCKED_NETWORKS"].split(",")
        self.assertEqual({network.split("/")[0] for network in blocked}, addresses)
        (engine,) = (
            policy for policy in of_kind(objects, "NetworkPolicy") if policy["metadata"]["name"] == "engine"
        )
        for network in blocked:
            self.assertIn(network, json.dumps(engine))

    def test_pushes_come_from_the_builder_and_its_engine_alone(self):
        policies = self.policies()
        for source in (BUILDER, ENGINE):
            self.assertTrue(may_connect(policies, source, REGISTRY, 5000))
        for source in (TRAEFIK, STRANGER, DNS, Pod(f"app-{APP}", {}, MANAGED), "203.0.113.9"):
            self.assertFalse(may_connect(policies, source, REGISTRY, 5000), source)
        # Nodes have no label; this port is read-only.
        self.assertTrue(may_connect(policies, "192.0.2.7", REGISTRY, 5001))
        self.assertFalse(may_connect(policies, REGISTRY, "1.1.1.1", 443))
        self.assertTrue(may_connect(policies, BUILDER, ENGINE, 2376))
        for source in (TRAEFIK, STRANGER, REGISTRY, Pod(f"app-{APP}", {}, MANAGED)):
            self.assertFalse(may_connect(policies, source, ENGINE, 2376), source)


if __name__ == "__main__":
    unittest.main()
