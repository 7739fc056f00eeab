"""Tests the permissions of the builder's account with its own token on a real cluster.

The cluster is the one that KUBECONFIG names; `scripts/test manifests` finds or starts one. Permissions are queried
(SelfSubjectAccessReview) and then also exercised, because only a real request proves a denial.
"""

import base64
import json
import os
import pathlib
import re
import secrets
import subprocess
import tempfile
import unittest
import urllib.request

import namespaces

ROOT = pathlib.Path(__file__).resolve().parents[2]
PLATFORM, ACCOUNT, ROLE = "builder-system", "builder-controller", "slipway-app-manager"
MANAGED = {"app.kubernetes.io/managed-by": "slipway"}
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}


class Refused(AssertionError):
    """The error with which the cluster denied a request."""


def kubectl(*arguments, config=None, stdin=None):
    command = ["kubectl", *(["--kubeconfig", config] if config else []), "--request-timeout=30s", *arguments]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=180)
    if done.returncode != 0:
        raise Refused(f"{' '.join(arguments)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def apply(manifest, config=None):
    """Applies server-side, as the builder does."""
    return kubectl("apply", "--server-side", "--field-manager=slipway", "-f", "-", config=config, stdin=json.dumps(manifest))


def namespace(name, labels):
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def binding(namespace_name, role=ROLE, name="slipway", account=ACCOUNT):
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": name, "namespace": namespace_name, "labels": MANAGED},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": PLATFORM}],
    }


def secret(namespace_name, name="slipway-test"):
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace_name, "labels": MANAGED},
        "stringData": {"word": "hidden"},
    }


def deployment(namespace_name, name="slipway-test"):
    """A Deployment without replicas: the test is only whether it may be created."""
    container = {
        "name": "app",
        "image": "slipway.invalid/none",
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    pod = {"securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}, "containers": [container]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace_name, "labels": MANAGED},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": pod},
        },
    }


def has_admission_policies():
    try:
        resources = json.loads(kubectl("get", "--raw", "/apis/admissionregistration.k8s.io/v1"))["resources"]
    except Refused:
        return False
    return any(resource["name"] == "validatingadmissionpolicies" for resource in resources)


class Roles(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        there = namespaces.is_there(PLATFORM)
        parts = [ROOT / "k8s/builder/namespace/namespace.yaml", ROOT / "k8s/builder/app/account.yaml"]
        cls.walled = has_admission_policies()
        if cls.walled:
            parts.append(ROOT / "k8s/builder/admission/policy.yaml")
        if not there and not os.environ.get("SLIPWAY_TEST_KEEP"):
            for part in parts:
                cls.addClassCleanup(kubectl, "delete", "--ignore-not-found", "--wait=false", "-f", str(part))
        for part in parts:
            kubectl("apply", "--server-side", "--force-conflicts", "--field-manager=slipway-bootstrap", "-f", str(part))
        cls.builder = cls.kubeconfig()
        cls.asking = cls.proxy()
        cls.mine, cls.unbound = (f"app-roles-{secrets.token_hex(4)}" for _ in range(2))
        for name in (cls.mine, cls.unbound):
            cls.addClassCleanup(kubectl, "delete", "namespace", name, "--ignore-not-found", "--wait=false")
            apply(namespace(name, MANAGED | RESTRICTED), cls.builder)
        apply(binding(cls.mine), cls.builder)
        if cls.walled:
            cls.wait_for_the_policy()

    @classmethod
    def kubeconfig(cls):
        """A kubeconfig of the same cluster with the account's token and nothing else."""
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}}
        path = f"/api/v1/namespaces/{PLATFORM}/serviceaccounts/{ACCOUNT}/token"
        token = json.loads(kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(request)))["status"]["token"]
        config = json.loads(kubectl("config", "view", "--raw", "--minify", "--flatten", "-o", "json"))
        config["users"] = [{"name": ACCOUNT, "user": {"token": token}}]
        for context in config["contexts"]:
            context["context"]["user"] = ACCOUNT
        file = pathlib.Path(cls.folder.name) / "builder.json"
        file.touch(mode=0o600)
        file.write_text(json.dumps(config))
        return str(file)

    @classmethod
    def proxy(cls):
        """Runs `kubectl proxy` with the account, so that many queries share one connection."""
        process = subprocess.Popen(["kubectl", "--kubeconfig", cls.builder, "proxy", "--port=0"], stdout=subprocess.PIPE, text=True)
        cls.addClassCleanup(process.stdout.close)
        cls.addClassCleanup(process.wait)
        cls.addClassCleanup(process.terminate)
        return "http://" + re.search(r"[0-9.]+:[0-9]+", process.stdout.readline()).group()

    @classmethod
    def wait_for_the_policy(cls):
        """Waits until the policy is in effect, some moments after it was applied."""
        name = f"roles-{secrets.token_hex(4)}"
        for _ in range(60):
            try:
                kubectl("create", "namespace", name, "--dry-run=server", config=cls.builder)
            except Refused as refusal:
                if "builder may only touch" in str(refusal):
                    return
            kubectl("get", "--raw", "/readyz")
        raise AssertionError("the admission policy does not hold")

    def may(self, verb, resource, name="", within=None, subresource=""):
        group = ""
        if "." in resource:
            resource, group = resource.split(".", 1)
        attributes = {"verb": verb, "resource": resource, "group": group, "name": name, "subresource": subresource}
        if within:
            attributes["namespace"] = within
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }
        address = f"{self.asking}/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        request = urllib.request.Request(address, json.dumps(review).encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)["status"]["allowed"]

    def refused(self, what, *words):
        """Asserts that a request is denied for lack of permission."""
        with self.assertRaises(Refused) as caught:
            what()
        self.assertRegex(str(caught.exception), "|".join(("[Ff]orbidden", *words)))

    def test_secrets_of_others_cannot_be_read(self):
        def as_builder(*arguments):
            return kubectl(*arguments, config=self.builder)

        apply(secret("kube-system"))
        self.addCleanup(kubectl, "-n", "kube-system", "delete", "secret", "slipway-test", "--ignore-not-found")
        for place in ("kube-system", "default", PLATFORM, self.unbound):
            with self.subTest(namespace=place):
                self.assertFalse(self.may("get", "secrets", within=place))
                self.refused(lambda place=place: as_builder("-n", place, "get", "secrets"))
        self.refused(lambda: as_builder("-n", "kube-system", "get", "secret", "slipway-test"))
        self.refused(lambda: as_builder("get", "secrets", "--all-namespaces"))
        self.refused(lambda: apply(secret("kube-system"), self.builder))

    def test_nothing_can_be_run_elsewhere(self):
        for place in ("default", "kube-system", PLATFORM, self.unbound):
            with self.subTest(namespace=place):
                self.assertFalse(self.may("create", "deployments.apps", within=place))
                self.refused(lambda place=place: apply(deployment(place), self.builder))
                self.assertFalse(self.may("create", "pods", within=place))
                self.assertFalse(self.may("create", "jobs.batch", within=place))

    def test_it_cannot_raise_itself(self):
        self.refused(lambda: apply(binding(self.mine, role="cluster-admin"), self.builder), "cannot change roleRef")
        self.refused(lambda: apply(binding(self.mine, role="admin", name="more"), self.builder))
        self.refused(lambda: apply(binding(self.unbound, role="view"), self.builder))
        cluster_wide = {**binding(self.mine), "kind": "ClusterRoleBinding", "metadata": {"name": "slipway-test"}}
        self.refused(lambda: apply(cluster_wide, self.builder))
        for verb, resource in (
            ("create", "clusterrolebindings.rbac.authorization.k8s.io"),
            ("create", "clusterroles.rbac.authorization.k8s.io"),
            ("patch", "clusterroles.rbac.authorization.k8s.io"),
            ("escalate", "clusterroles.rbac.authorization.k8s.io"),
            ("create", "roles.rbac.authorization.k8s.io"),
            ("impersonate", "users"),
            ("impersonate", "serviceaccounts"),
            ("get", "nodes"),
            ("create", "persistentvolumes"),
            ("create", "certificatesigningrequests.certificates.k8s.io"),
            ("patch", "validatingadmissionpolicies.admissionregistration.k8s.io"),
        ):
            with self.subTest(verb=verb, resource=resource):
                self.assertFalse(self.may(verb, resource))
        self.assertFalse(self.may("create", "serviceaccounts", within=PLATFORM, subresource="token"))
        self.assertFalse(self.may("create", "serviceaccounts", within=self.mine, subresource="token"))
        self.assertFalse(self.may("create", "pods", within=self.mine, subresource="exec"))
        self.assertFalse(self.may("create", "pods", within=self.mine, subresource="ephemeralcontainers"))
        self.assertFalse(self.may("patch", "rolebindings.rbac.authorization.k8s.io", name="other", within="kube-system"))

    def test_in_an_apps_namespace_it_manages_what_the_manifests_hold(self):
        plurals = {
            "Namespace": "namespaces",
            "RoleBinding": "rolebindings.rbac.authorization.k8s.io",
            "ResourceQuota": "resourcequotas",
            "LimitRange": "limitranges",
            "Secret": "secrets",
            "Service": "services",
            "Deployment": "deployments.apps",
            "CronJob": "cronjobs.batch",
            "Job": "jobs.batch",
            "Ingress": "ingresses.networking.k8s.io",
            "NetworkPolicy": "networkpolicies.networking.k8s.io",
        }
        kinds = set()
        for file in (ROOT / "k8s/app").glob("*.yaml"):
            # Only unindented lines: the kind in a reference is indented.
            kinds.update(re.findall(r"^kind: (\w+)$", file.read_text(), flags=re.MULTILINE))
        self.assertLessEqual(kinds, set(plurals), "a manifest of an app holds a kind that no role was made for")
        for resource in plurals.values():
            for verb in ("create", "get", "list", "watch", "patch", "delete"):
                with self.subTest(verb=verb, resource=resource):
                    self.assertTrue(self.may(verb, resource, within=self.mine))
        for verb, resource, subresource in (
            ("list", "pods", ""),
            ("watch", "pods", ""),
            ("delete", "pods", ""),
            ("get", "pods", "log"),
            ("watch", "events", ""),
            ("list", "events.events.k8s.io", ""),
            ("watch", "replicasets.apps", ""),
            ("watch", "endpointslices.discovery.k8s.io", ""),
            ("get", "endpoints", ""),
            ("list", "pods.metrics.k8s.io", ""),
        ):
            with self.subTest(verb=verb, resource=resource, subresource=subresource):
                self.assertTrue(self.may(verb, resource, within=self.mine, subresource=subresource))

    def test_bound_means_it_works_and_unbound_that_it_does_not(self):
        apply(secret(self.mine), self.builder)
        held = json.loads(kubectl("-n", self.mine, "get", "secret", "slipway-test", "-o", "json", config=self.builder))
        self.assertEqual(base64.b64decode(held["data"]["word"]), b"hidden")
        apply(deployment(self.mine), self.builder)
        apply(binding(self.mine), self.builder)
        kubectl("-n", self.mine, "get", "deployments,replicasets,pods,events,services", config=self.builder)
        kubectl("-n", self.mine, "delete", "deployment", "slipway-test", config=self.builder)
        self.refused(lambda: apply(secret(self.unbound), self.builder))

    def test_namespaces_come_and_go(self):
        name = f"app-roles-{secrets.token_hex(4)}"
        self.addCleanup(kubectl, "delete", "namespace", name, "--ignore-not-found", "--wait=false")
        apply(namespace(name, MANAGED | RESTRICTED), self.builder)
        self.assertIn(name, kubectl("get", "namespaces", "-l", "app.kubernetes.io/managed-by=slipway", config=self.builder))
        kubectl("delete", "namespace", name, "--timeout=120s", config=self.builder)
        self.assertEqual(kubectl("get", "namespace", name, "--ignore-not-found"), "")

    def test_the_wall_around_namespaces_of_others(self):
        if not self.walled:
            self.skipTest("this cluster has no ValidatingAdmissionPolicy (Kubernetes 1.30)")
        other = f"roles-{secrets.token_hex(4)}"
        unlabelled = f"app-roles-{secrets.token_hex(4)}"
        kubectl("create", "namespace", unlabelled)
        self.addCleanup(kubectl, "delete", "namespace", unlabelled, "--ignore-not-found", "--wait=false")

        def dry(*arguments):
            return kubectl(*arguments, "--dry-run=server", config=self.builder)

        self.refused(lambda: apply(namespace(other, MANAGED | RESTRICTED), self.builder))
        self.refused(lambda: apply(namespace(unlabelled, MANAGED | RESTRICTED), self.builder))
        self.refused(lambda: apply(namespace(self.mine, MANAGED), self.builder), "restricted")
        self.refused(lambda: dry("delete", "namespace", "default"))
        self.refused(lambda: dry("delete", "namespace", unlabelled))
        self.refused(lambda: apply(binding("default"), self.builder))
        self.refused(lambda: apply(binding(unlabelled), self.builder))
        self.refused(lambda: apply(binding(self.mine, account="default"), self.builder))


if __name__ == "__main__":
    unittest.main()
