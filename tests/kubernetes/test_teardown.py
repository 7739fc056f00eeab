"""Tests what scripts/teardown.sh deletes and what it keeps, on a real cluster without a builder."""

import json
import os
import pathlib
import secrets
import subprocess
import unittest

import namespaces

ROOT = pathlib.Path(__file__).resolve().parents[2]
MANAGED = {"app.kubernetes.io/managed-by": "slipway"}


def kubectl(*arguments, stdin=None):
    return subprocess.run(["kubectl", *arguments], input=stdin, capture_output=True, text=True, timeout=200, check=True).stdout


def teardown(*options):
    return subprocess.run([ROOT / "scripts/teardown.sh", "--yes", *options], capture_output=True, text=True, timeout=500)


def make(name, labels, annotations=None):
    metadata = {"name": name, "labels": labels, "annotations": annotations or {}}
    kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}))


class Teardown(unittest.TestCase):
    def setUp(self):
        if os.environ.get("SLIPWAY_TEST_KEEP"):
            self.skipTest("it would take away what is to be kept")
        # It may still be terminating, or left over from another test with an account in it.
        there = namespaces.is_there("builder-system")
        if there and kubectl("-n", "builder-system", "get", "deployments,persistentvolumeclaims,configmaps", "-o", "name").replace(
            "configmap/kube-root-ca.crt", ""
        ).strip():
            raise AssertionError("the namespace builder-system is in use, and this test would remove it: name another cluster")
        self.tail = secrets.token_hex(3)
        self.mine, self.theirs = f"a{self.tail}", f"b{self.tail}"
        for name, labels in (
            ("mine", MANAGED | {"slipway.dev/installation": self.mine}),
            ("theirs", MANAGED | {"slipway.dev/installation": self.theirs}),
            # As k8s/export/namespace.yaml labels it.
            ("exported", MANAGED | {"slipway.dev/app": "exported"}),
        ):
            self.addCleanup(kubectl, "delete", "namespace", self.app(name), "--ignore-not-found", "--wait=false")
            make(self.app(name), labels)

    def app(self, name):
        return f"app-{name}-{self.tail}"

    def left(self):
        names = kubectl("get", "namespaces", "-o", "jsonpath={.items[*].metadata.name}").split()
        return {name for name in ("mine", "theirs", "exported") if self.app(name) in names}

    def test_apps_that_the_builder_did_not_make_are_left_alone(self):
        with self.subTest("without a builder that says who it is, no app is taken"):
            done = teardown("--apps")
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(self.left(), {"mine", "theirs", "exported"})
            self.assertIn("--installation", done.stderr)
            self.assertIn(self.app("mine"), done.stderr)

        # As bootstrap stores it, or an interrupted teardown.
        noted = {"slipway.dev/installation": self.mine}
        with self.subTest("apps stay unless they are asked for"):
            make("builder-system", {"app.kubernetes.io/part-of": "slipway"}, noted)
            done = teardown()
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(self.left(), {"mine", "theirs", "exported"})
            self.assertIn(f"1 apps keep running: {self.app('mine')}", done.stderr)
            self.assertEqual(kubectl("get", "namespace", "builder-system", "--ignore-not-found"), "")

        with self.subTest("its own go, and what is left is named"):
            make("builder-system", {"app.kubernetes.io/part-of": "slipway"}, noted)
            done = teardown("--apps")
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(self.left(), {"theirs", "exported"})
            said = next(line for line in done.stderr.splitlines() if "left alone" in line)
            self.assertIn(self.app("theirs"), said)
            self.assertIn(self.app("exported"), said)

        with self.subTest("and one that is named goes, without a builder"):
            done = teardown("--apps", "--installation", self.theirs)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(self.left(), {"exported"})


if __name__ == "__main__":
    unittest.main()
