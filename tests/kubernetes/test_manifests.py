"""Checks the platform's manifests, as scripts/bootstrap-cluster.sh renders them, against a real API server.

Objects are applied as a server-side dry run, with validation and admission, so nothing is stored.
"""

import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

import namespaces

ROOT = pathlib.Path(__file__).resolve().parents[2]
BOOTSTRAP = ROOT / "scripts/bootstrap-cluster.sh"


def run(*command, stdin=None):
    return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=120)


def kubectl_is_too_old():
    version = re.search(r"v1\.(\d+)", run("kubectl", "version", "--client").stdout)
    return version is None or int(version.group(1)) < 22


@unittest.skipIf(kubectl_is_too_old(), "this kubectl cannot put kustomizations together (1.22 or newer does)")
class Manifests(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        namespaces.prepare(cls)

    def put_together(self, *options):
        done = run(str(BOOTSTRAP), "--dry-run", *options)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def documents(self, text, kind):
        return [document for document in text.split("\n---\n") if re.search(rf"^kind: {kind}$", document, re.MULTILINE)]

    def assert_admitted(self, text):
        done = run(
            "kubectl", "apply", "--server-side", "--force-conflicts", "--dry-run=server",
            "--field-manager=slipway-bootstrap", "-f", "-", stdin=text,
        )  # fmt: skip
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_the_default_is_admitted_and_bears_the_clusters_own_values(self):
        text = self.put_together("--domain", "apps.example.test", "--ingress-class", "haproxy", "--public-url", "https://{host}")
        self.assert_admitted(text)
        hosts = re.findall(r"host: (\S+)", "".join(self.documents(text, "Ingress")))
        self.assertCountEqual(hosts, ["builder.apps.example.test", "'*.apps.example.test'"])
        self.assertEqual(text.count("ingressClassName: haproxy"), 2)
        self.assertEqual(text.count("value: builder.apps.example.test"), 3, "each probe asks for the builder by its name")
        for setting in (
            "SLIPWAY_DOMAIN: apps.example.test",
            "SLIPWAY_INGRESS_CLASS: haproxy",
            "SLIPWAY_PUBLIC_URL: https://{host}",
            "DOCKER_HOST: tcp://engine.builder-engine.svc.cluster.local:2376",
        ):
            self.assertIn(setting, text)
        # Which pods are privileged, and which mount a path of the node.
        self.assertEqual(text.count("privileged: true"), 1)
        self.assertNotIn("hostPath", text)
        self.assertIn("pod-security.kubernetes.io/enforce: restricted", self.documents(text, "Namespace")[1])

    def certificates(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        done = run(str(ROOT / "scripts/engine-certificates"), folder.name, "10.9.8.7")
        self.assertEqual(done.returncode, 0, done.stderr)
        return f"{folder.name}/client"

    def test_the_engine_wants_certificates_and_each_side_has_its_own(self):
        text = self.put_together("--domain", "x.test")
        (engine,) = (found for found in self.documents(text, "Deployment") if "name: engine\n" in found)
        (builder,) = (found for found in self.documents(text, "Deployment") if "name: builder\n" in found)
        self.assertIn("secretName: slipway-engine-server", engine)
        self.assertNotIn("slipway-engine-client", engine)
        self.assertIn("secretName: slipway-engine-client", builder)
        self.assertNotIn("slipway-engine-server", builder)
        self.assertIn("DOCKER_CERT_PATH: /engine-tls", text)
        self.assertNotIn("--tls=false", text)
        self.assertNotIn("2375", text)

    def test_the_engine_does_not_start_without_its_packet_filter(self):
        with tempfile.TemporaryDirectory() as folder:
            here = pathlib.Path(folder)
            for file in ("ca.pem", "cert.pem", "key.pem"):
                (here / file).write_text("a stand-in")
            (here / "dockerd").write_text("#!/bin/sh\necho started\n")
            (here / "ip6tables").write_text("#!/bin/sh\nexit 0\n")
            for program, started in (("exit 0", True), ("case $* in *REJECT*) exit 1 ;; esac", False)):
                (here / "iptables").write_text(f"#!/bin/sh\n{program}\n")
                for file in ("dockerd", "ip6tables", "iptables"):
                    (here / file).chmod(0o755)
                done = run(
                    "env", f"PATH={folder}:{os.environ['PATH']}", f"SLIPWAY_TLS_DIR={folder}",
                    str(ROOT / "k8s/builder/engine/dockerd"),
                )  # fmt: skip
                self.assertEqual((done.returncode == 0, "started" in done.stdout), (started, started), done.stderr)
                self.assertEqual("the engine is not started" in done.stderr, not started)

    def test_apps_on_a_domain_of_their_own(self):
        text = self.put_together("--domain", "example.test", "--apps-domain", "apps-example.test")
        hosts = re.findall(r"host: (\S+)", "".join(self.documents(text, "Ingress")))
        self.assertCountEqual(hosts, ["builder.example.test", "'*.apps-example.test'"])
        self.assertIn("SLIPWAY_DOMAIN: example.test", text)
        self.assertIn("SLIPWAY_APPS_DOMAIN: apps-example.test", text)

    def test_a_changed_setting_is_a_new_pod(self):
        def name_of_settings(*options):
            return re.search(r"name: (slipway-settings-\S+)", self.put_together("--domain", "x.test", *options)).group(1)

        self.assertEqual(name_of_settings(), name_of_settings())
        self.assertNotEqual(name_of_settings(), name_of_settings("--set", "SLIPWAY_MODEL=some-model"))

    def test_the_nodes_socket_instead_of_an_engine(self):
        if not pathlib.Path("/var/run/docker.sock").is_socket() or shutil.which("docker") is None:
            self.skipTest("there is no Docker on this machine")
        text = self.put_together("--domain", "x.test", "--engine", "socket", "--image", "r.test/slipway@sha256:" + "0" * 64)
        self.assert_admitted(text)
        self.assertIn("image: r.test/slipway@sha256:" + "0" * 64, text)
        self.assertIn("DOCKER_HOST: unix:///var/run/docker.sock", text)
        self.assertNotIn("builder-engine.svc", text)
        self.assertNotIn("privileged: true", text)
        self.assertEqual(len(self.documents(text, "Namespace")), 1)

    def test_an_engine_elsewhere_and_ways_out(self):
        digest = "@sha256:" + "0" * 64
        text = self.put_together(
            "--domain", "x.test", "--ingress-class", "nginx", "--ingress-namespace", "ingress-nginx",
            "--engine", "tcp://10.9.8.7:2376", "--engine-certs", self.certificates(), "--image", f"r.test/slipway{digest}",
            "--set", "SLIPWAY_REGISTRY=10.9.8.8:5000",
            "--allow-egress", "fd00::5/128:11434",
        )  # fmt: skip
        self.assert_admitted(text)
        self.assertNotIn("builder-engine.svc", text)

    def test_a_value_is_a_value_and_nothing_else(self):
        text = self.put_together("--domain", "x.test", "--set", 'SLIPWAY_MODEL=a: "b" # c {host} $(touch /tmp/x) \'d\'')
        self.assert_admitted(text)
        self.assertIn("""$(touch /tmp/x) ''d''""", text)

    def test_what_makes_no_sense_is_refused_before_anything_is_done(self):
        for options in (
            ["--domain", "a b"],
            ["--apps-domain", "a b", "--domain", "x.test"],
            ["--domain", "x.test\n  evil: true"],
            ["--ip", "nowhere"],
            ["--public-url", "http://fixed"],
            ["--engine", "podman"],
            ["--engine", "tcp://nowhere"],
            # It cannot use the registry inside the cluster.
            ["--engine", "tcp://10.9.8.7:2376"],
            # Without certificates, every client that reaches the port controls it.
            ["--engine", "tcp://10.9.8.7:2376", "--set", "SLIPWAY_REGISTRY=10.9.8.8:5000"],
            ["--engine", "tcp://10.9.8.7:2376", "--engine-certs", "/nowhere", "--set", "SLIPWAY_REGISTRY=10.9.8.8:5000"],
            ["--allow-egress", "10.0.0.5"],
            ["--allow-egress", "example.test/32:80"],
            ["--ingress-class", "a;b"],
            ["--image", "a b"],
            ["--binary", "/nonexistent"],
            ["--set", "NONSENSE=1"],
            ["--set", "SLIPWAY_ADMIN_PASSWORD=visible"],
            ["--unknown"],
            ["--domain"],
        ):
            with self.subTest(options=options):
                done = run(str(BOOTSTRAP), "--dry-run", *options)
                self.assertEqual(done.returncode, 2, done.stderr)
                self.assertIn(options[0], done.stderr + " ")
                self.assertEqual(done.stdout, "")

    def test_a_namespace_of_somebody_else_is_left_alone(self):
        with tempfile.TemporaryDirectory() as folder:
            # A cluster with a foreign builder-system: this fake of kubectl reports it.
            fake = pathlib.Path(folder) / "kubectl"
            real = shutil.which("kubectl")
            fake.write_text(
                "#!/bin/sh\n"
                'case "$*" in *"get namespace builder-system"*) case "$*" in *jsonpath*) ;; *) echo there ;; esac; exit 0 ;; esac\n'
                f'exec {real} "$@"\n'
            )
            fake.chmod(0o755)
            environment = os.environ | {"PATH": f"{folder}:{os.environ['PATH']}"}
            done = subprocess.run([BOOTSTRAP, "--domain", "x.test"], env=environment, capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn("not Slipway's", done.stderr)


if __name__ == "__main__":
    unittest.main()
