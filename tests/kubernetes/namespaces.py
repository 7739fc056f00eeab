"""Creates the platform's namespaces in a test's cluster. Dry runs of bootstrap need them and create none."""

import os
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
FILES = {"builder-system": "namespace/namespace.yaml", "builder-engine": "engine/namespace.yaml"}


def kubectl(*arguments):
    done = subprocess.run(["kubectl", *arguments], capture_output=True, text=True, timeout=200)
    if done.returncode:
        raise AssertionError(done.stderr)
    return done.stdout


def is_there(name):
    """Whether a namespace exists. Waits until a terminating one of an earlier test is deleted."""
    phase = kubectl("get", "namespace", name, "--ignore-not-found", "-o", "jsonpath={.status.phase}")
    if phase == "Terminating":
        kubectl("wait", "--for=delete", f"namespace/{name}", "--timeout=180s")
    return phase == "Active"


def prepare(case):
    """Creates them for a test class, and deletes afterwards those that did not exist before."""
    for name, file in FILES.items():
        if not is_there(name) and not os.environ.get("SLIPWAY_TEST_KEEP"):
            case.addClassCleanup(kubectl, "delete", "namespace", name, "--wait=false", "--ignore-not-found")
        path = str(ROOT / "k8s/builder" / file)
        kubectl("apply", "--server-side", "--force-conflicts", "--field-manager=slipway-bootstrap", "-n", name, "-f", path)
