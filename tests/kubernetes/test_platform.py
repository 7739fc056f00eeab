"""Tests the platform as an operator uses it: bootstrap, use over HTTP, restart, teardown.

Runs against the cluster that KUBECONFIG names, which `scripts/test manifests` prepares. The builder runs there as a pod
with its own account; images are built by the node's Docker engine and go through the platform's own registry.
"""

import http.client
import json
import os
import pathlib
import re
import secrets
import shutil
import subprocess
import tempfile
import time
import unittest
import urllib.parse

ROOT = pathlib.Path(__file__).resolve().parents[2]
DOMAIN = "apps.test"
PATIENCE = 240


def run(*arguments, stdin=None, env=None):
    done = subprocess.run(arguments, input=stdin, capture_output=True, text=True, env=env)
    if done.returncode:
        raise AssertionError(f"{' '.join(map(str, arguments))}: {done.stdout[-2000:]}{done.stderr[-4000:]}")
    return done.stdout


def kubectl(*arguments, **options):
    return run("kubectl", *arguments, **options)


def until(what, look, patience=PATIENCE):
    """Waits for a condition, with a short poll interval."""
    end = time.monotonic() + patience
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"never: {what}")
        time.sleep(0.1)


class Platform(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        there = kubectl("-n", "builder-system", "get", "deployment", "builder", "--ignore-not-found", "-o", "name")
        if there.strip():
            raise AssertionError("Slipway is installed in this cluster, and this test would replace it: name another one")
        runtime = kubectl("get", "nodes", "-o", "jsonpath={.items[0].status.nodeInfo.containerRuntimeVersion}")
        if not runtime.startswith("docker://"):
            raise unittest.SkipTest("this cluster's node has no Docker engine: the platform's default is tried by hand there")
        cls.password = secrets.token_urlsafe(12)
        # Pods write with an arbitrary user id.
        cls.volumes = pathlib.Path(tempfile.mkdtemp(prefix="slipway-platform-"))
        cls.volumes.chmod(0o755)
        cls.addClassCleanup(shutil.rmtree, cls.volumes, ignore_errors=True)
        cls.addClassCleanup(cls.clean)
        for name, namespace in (("builder", "builder-system"), ("registry", "builder-system")):
            folder = cls.volumes / name
            folder.mkdir()
            folder.chmod(0o777)
            volume = {
                "apiVersion": "v1",
                "kind": "PersistentVolume",
                "metadata": {"name": f"slipway-test-{name}"},
                "spec": {
                    "capacity": {"storage": "20Gi"},
                    "accessModes": ["ReadWriteOnce"],
                    "persistentVolumeReclaimPolicy": "Retain",
                    "claimRef": {"namespace": namespace, "name": name},
                    "hostPath": {"path": str(folder)},
                },
            }
            kubectl("delete", "persistentvolume", f"slipway-test-{name}", "--ignore-not-found")
            kubectl("apply", "-f", "-", stdin=json.dumps(volume))
        services = kubectl("-n", "default", "get", "service", "kubernetes", "-o", "jsonpath={.spec.clusterIP}")
        run(ROOT / "scripts/setup-registry.sh", "--docker", f"{'.'.join(services.split('.')[:2])}.0.0/16")
        # No public registry is needed: the pods' base image is built from the distribution's packages.
        dockerfile = (
            "FROM slipway.local/minbase\n"
            "RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends docker-registry"
            " && ln -s docker-registry /usr/bin/registry && rm -rf /var/lib/apt/lists/*\n"
        )
        run("docker", "build", "--tag", "slipway-test/registry:1", "-", stdin=dockerfile)
        cls.first = cls.bootstrap()

    @classmethod
    def bootstrap(cls):
        images = ("--registry-image", "slipway-test/registry:1", "--runtime-image", "slipway.local/minbase")
        binary = os.environ.get("SLIPWAY_TEST_BINARY", ROOT / "target/debug/slipway")
        options = ("--engine", "socket", "--domain", DOMAIN, "--binary", binary, *images)
        settings = ("--set", "SLIPWAY_DEMO_PACE=0")
        environment = {key: value for key, value in os.environ.items() if key != "ANTHROPIC_API_KEY"}
        environment["SLIPWAY_ADMIN_PASSWORD"] = cls.password
        return run(ROOT / "scripts/bootstrap-cluster.sh", *options, *settings, env=environment)

    @classmethod
    def clean(cls):
        subprocess.run([ROOT / "scripts/teardown.sh", "--yes", "--apps"], capture_output=True)
        for name in ("builder", "registry"):
            kubectl("delete", "persistentvolume", f"slipway-test-{name}", "--ignore-not-found")

    def setUp(self):
        self.address = kubectl("-n", "builder-system", "get", "service", "builder", "-o", "jsonpath={.spec.clusterIP}")
        self.cookie = ""

    def ask(self, method, path, body=None, headers=None):
        line = http.client.HTTPConnection(self.address, timeout=60)
        sent = {"Host": f"builder.{DOMAIN}", "Cookie": self.cookie} | (headers or {})
        if isinstance(body, dict):
            body, sent["Content-Type"] = json.dumps(body), "application/json"
        line.request(method, path, body, sent)
        answer = line.getresponse()
        text = answer.read().decode()
        line.close()
        return answer, text

    def log_in(self, password):
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        answer, _ = self.ask("POST", "/login", urllib.parse.urlencode({"password": password}), form)
        self.cookie = (answer.getheader("Set-Cookie") or "").split(";")[0]
        return answer.status

    def call(self, method, path, body=None, status=None):
        answer, text = self.ask(method, f"/api/v1{path}", body)
        self.assertEqual(answer.status, status or answer.status, text)
        self.assertLess(answer.status, 300, text)
        return json.loads(text) if text else None

    def done(self, method, path, body=None):
        """Starts a job and waits for its end."""
        job = self.call(method, path, body, 202)

        def ended():
            now = self.call("GET", f"/jobs/{job['id']}")
            return now if now["state"] in ("succeeded", "failed", "cancelled") else None

        job = until(f"{path} ends", ended)
        self.assertEqual(job["state"], "succeeded", job)
        return job

    def wait_for_answer(self, app, environment, expected):
        """Waits until an environment answers with a text: the node learns the Service's new endpoints with a delay."""
        address = kubectl(
            "-n", f"app-{app}", "get", "service", f"{app}-{environment}", "-o", "jsonpath={.spec.clusterIP}"
        )

        def is_answered():
            try:
                line = http.client.HTTPConnection(address, timeout=10)
                line.request("GET", "/")
                return expected in line.getresponse().read().decode()
            except (OSError, http.client.HTTPException):
                return False
            finally:
                line.close()

        until(f"{environment} of {app} answers {expected}", is_answered)

    def enter(self, app, place):
        """Returns the cookie that a logged-in browser gets on the host of a draft or a preview."""
        answer, text = self.ask("GET", f"/preview-access?app={app}&place={place}")
        self.assertEqual(answer.status, 303, text)
        address = urllib.parse.urlsplit(answer.getheader("Location"))
        self.assertEqual(address.netloc, f"{app}-{place}.{DOMAIN}")
        answer, text = self.ask("GET", f"{address.path}?{address.query}", headers={"Host": address.netloc, "Cookie": ""})
        self.assertEqual(answer.status, 303, text)
        return answer.getheader("Set-Cookie").split(";")[0]

    def write(self, app, text):
        answer, said = self.ask("PUT", f"/api/v1/apps/{app}/files/public/index.html", text)
        self.assertLess(answer.status, 300, said)

    def test_from_bootstrap_to_teardown(self):
        self.assertIn(f"http://builder.{DOMAIN}/", self.first)
        # Without the password there is no access.
        answer, _ = self.ask("GET", "/api/v1/apps")
        self.assertEqual(answer.status, 401)
        self.assertNotIn(self.log_in("not the password"), (200, 303))
        self.assertIn(self.log_in(self.password), (200, 303))
        answer, text = self.ask("GET", "/readyz")
        self.assertEqual(answer.status, 200, text)
        names = {check["name"] for check in json.loads(text)["checks"]}
        self.assertLessEqual({"kubernetes", "docker", "database"}, names)

        app = f"tea-{secrets.token_hex(3)}"
        self.call("POST", "/apps", {"description": "A page about tea", "template": "static-site", "name": app}, 201)
        self.done("POST", f"/apps/{app}/turns", {"prompt": "A page about tea"})
        self.done("POST", f"/apps/{app}/previews", {})
        self.wait_for_answer(app, "preview", "<html")
        for text in ("version one", "version two"):
            self.write(app, text)
            self.done("POST", f"/apps/{app}/previews", {})
            self.wait_for_answer(app, "preview", text)
            self.done("POST", f"/apps/{app}/publish")
            self.wait_for_answer(app, "prod", text)
        self.done("POST", f"/apps/{app}/rollback", {"environment": "prod"})
        self.wait_for_answer(app, "prod", "version one")
        release = self.call("GET", f"/apps/{app}/releases?environment=prod")["releases"][0]
        self.assertRegex(release["image"], r"^127\.0\.0\.1:30500/slipway/.+@sha256:[0-9a-f]{64}$")
        state = self.call("GET", f"/apps/{app}")["environments"]["prod"]
        self.assertEqual((state["state"], state["url"]), ("ready", f"http://{app}.{DOMAIN}"))
        # Draft and preview go through the builder, which requires a login. No Ingress bypasses it.
        for place in ("draft", "preview"):
            answer, text = self.ask("GET", "/", headers={"Host": f"{app}-{place}.{DOMAIN}"})
            self.assertEqual(answer.status, 401, text)
            answer, text = self.ask("GET", "/", headers={"Host": f"{app}-{place}.{DOMAIN}", "Cookie": self.enter(app, place)})
            self.assertEqual((answer.status, text), (200, "version two"))
        ingresses = kubectl("-n", f"app-{app}", "get", "ingress", "-o", "jsonpath={.items[*].metadata.name}")
        self.assertEqual(ingresses, f"{app}-prod")

        with self.subTest("the builder's pod has no more than it needs"):
            pods = kubectl("-n", "builder-system", "get", "pods", "-l", "app.kubernetes.io/component=builder", "-o", "json")
            spec = json.loads(pods)["items"][0]["spec"]
            container = spec["containers"][0]
            self.assertTrue(spec["securityContext"]["runAsNonRoot"])
            self.assertTrue(container["securityContext"]["readOnlyRootFilesystem"])
            self.assertFalse(container["securityContext"]["allowPrivilegeEscalation"])
            self.assertNotIn(self.password, pods)

        with self.subTest("bootstrap can be run again, and changes nothing"):
            before = kubectl("-n", "builder-system", "get", "pods", "-o", "jsonpath={.items[*].metadata.uid}")
            self.bootstrap()
            after = kubectl("-n", "builder-system", "get", "pods", "-o", "jsonpath={.items[*].metadata.uid}")
            self.assertEqual(before, after)
            # It stored the installation id, for a teardown without a builder.
            noted = kubectl("get", "namespace", "builder-system", "-o", r"jsonpath={.metadata.annotations.slipway\.dev/installation}")
            made = kubectl("get", "namespace", f"app-{app}", "-o", r"jsonpath={.metadata.labels.slipway\.dev/installation}")
            self.assertRegex(made, "^[a-z0-9]+$")
            self.assertEqual(noted, made)

        with self.subTest("a new builder finds everything as it was"):
            kubectl("-n", "builder-system", "rollout", "restart", "deployment/builder")
            kubectl("-n", "builder-system", "rollout", "status", "deployment/builder", "--timeout=120s")

            def is_back():
                # The node learns the Service's new endpoints with a delay.
                try:
                    return self.log_in(self.password) in (200, 303)
                except OSError:
                    return False

            until("the new builder answers", is_back)
            self.assertIn(app, [known["name"] for known in self.call("GET", "/apps")["apps"]])
            self.wait_for_answer(app, "prod", "version one")
            self.done("POST", f"/apps/{app}/publish")

        with self.subTest("deleting leaves nothing"):
            self.done("DELETE", f"/apps/{app}")
            self.assertEqual(kubectl("get", "namespace", f"app-{app}", "--ignore-not-found"), "")

        with self.subTest("teardown leaves nothing"):
            said = subprocess.run(
                [ROOT / "scripts/teardown.sh", "--yes", "--apps"], capture_output=True, text=True, check=True
            )
            self.assertTrue(re.search("out of the cluster", said.stdout + said.stderr))
            left = kubectl("get", "namespaces,clusterroles,clusterrolebindings", "-l", "app.kubernetes.io/part-of=slipway")
            self.assertEqual(left, "")


if __name__ == "__main__":
    unittest.main()
