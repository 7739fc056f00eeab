"""scripts/pin-images writes digests to image references, and reports missing ones. The registry is a fake."""

import os
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCKER = """#!/bin/sh
# The digest of a name is the hash of that name.
[ "$1" = pull ] || echo "x@sha256:$(printf '%s' "$5" | sha256sum | cut -c1-64)"
"""


class PinImages(unittest.TestCase):
    def test_every_place_gets_its_digest_and_the_check_sees_it(self):
        with tempfile.TemporaryDirectory() as folder:
            copy, tools = Path(folder, "copy"), Path(folder, "tools")
            for name in ("scripts/pin-images", "scripts/common.sh", "src/config/registry.rs", "Dockerfile"):
                Path(copy, name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, copy / name)
            shutil.copytree(ROOT / "k8s", copy / "k8s")
            tools.mkdir()
            Path(tools, "docker").write_text(DOCKER)
            Path(tools, "docker").chmod(0o755)
            environment = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"}

            def run(*arguments):
                return subprocess.run([copy / "scripts/pin-images", *arguments], env=environment, capture_output=True, text=True, timeout=60)

            self.assertEqual(run().returncode, 0)
            pinned = {path: path.read_text() for path in copy.rglob("*") if path.is_file()}
            for name in ("src/config/registry.rs", "scripts/common.sh"):
                self.assertRegex(pinned[copy / name], r"python:3[.]13-slim@sha256:[0-9a-f]{64}")
            self.assertEqual(pinned[copy / "k8s/builder/registry/registry.yaml"].count("registry:2@sha256:"), 2)
            self.assertEqual(run("--check").returncode, 0)
            # A second run changes nothing. A reference without its digest is reported.
            self.assertEqual(run().returncode, 0)
            self.assertEqual({path: path.read_text() for path in pinned}, pinned)
            engine = copy / "k8s/builder/engine/engine.yaml"
            engine.write_text(engine.read_text().split("@sha256:")[0] + "\n")
            told = run("--check")
            self.assertEqual(told.returncode, 1)
            self.assertIn("docker:28-dind-rootless", told.stderr)


if __name__ == "__main__":
    unittest.main()
