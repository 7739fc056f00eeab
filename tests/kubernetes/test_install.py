"""Runs scripts/install-k3s.sh in a container with fakes of k3s, systemd and the disk."""

import pathlib
import subprocess
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
IMAGES = ("slipway.local/minbase", "slipway.local/python", "python:3.13-slim")

# The disk has the size in DISK. k3s runs once its installer has run, and its restarts are counted.
PLAYED = r"""
set -eu
mkdir -p /run/systemd/system /from /etc/rancher/k3s
play() { printf '#!/bin/sh\n%s\n' "$2" >"$1"; chmod 755 "$1"; }
play /usr/local/bin/df 'printf "head\n/dev/x 1 1 %s 1%% /\n" "$DISK"'
play /usr/local/bin/ss 'exit 0'
play /usr/local/bin/systemctl 'case $1 in is-active) [ "$3" = k3s ] && [ -e /tmp/runs ] ;; restart) echo restarted >>/tmp/restarts ;; esac'
play /from/k3s 'case $1 in --version) echo "k3s version v1.33.5+k3s1 (abc)" ;; *) echo "node Ready" ;; esac'
play /from/install.sh 'touch /tmp/runs'
install() { DISK=$1; export DISK; shift; /source/scripts/install-k3s.sh --from /from "$@" 2>&1; }
written() { cat /etc/rancher/k3s/config.yaml.d/slipway.yaml; }
"""


class Install(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        def there(image):
            return subprocess.run(["docker", "image", "inspect", image], capture_output=True).returncode == 0

        cls.image = next((image for image in IMAGES if there(image)), IMAGES[-1])

    def play(self, script):
        command = ["docker", "run", "--rm", "--network", "none", "--volume", f"{ROOT}:/source:ro", self.image, "bash", "-c"]
        done = subprocess.run([*command, PLAYED + script], capture_output=True, text=True, timeout=120)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout

    def test_another_installer_than_the_expected_one_is_not_run(self):
        said = self.play("""
            install 99999999999 --installer-sha256 "$(printf x | sha256sum | cut -d' ' -f1)" && exit 1
            [ ! -e /tmp/runs ] && [ ! -e /usr/local/bin/k3s ]
            install 99999999999 --installer-sha256 "$(sha256sum </from/install.sh | cut -d' ' -f1)"
            [ -e /tmp/runs ]
        """)
        self.assertIn("installer is not the expected one", said)

    def test_a_full_disk_is_no_reason_against_running_it_again(self):
        said = self.play("""
            if install 5000; then exit 1; fi
            [ ! -e /tmp/runs ]
            install 20000 && [ -e /tmp/runs ]
            install 5000 && [ ! -e /tmp/restarts ]
        """)
        self.assertIn("error: /var/lib has 5000 MiB free", said)
        self.assertIn("warning: /var/lib has 5000 MiB free", said)
        self.assertEqual(said.count("k3s is ready"), 2)

    def test_lists_are_added_to_what_the_operator_wrote(self):
        written = self.play("install 20000 --tls-san api.example.test >&2; written")
        lists = [line for line in written.splitlines() if line.endswith(":")]
        self.assertEqual(lists, ["kube-proxy-arg+:", "kubelet-arg+:", "tls-san+:"])
        self.assertIn("  - pod-max-pids=1024\n", written)

    def test_a_bound_for_processes_that_the_operator_chose_stays(self):
        written = self.play("""
            printf 'kubelet-arg:\\n  - pod-max-pids=4096\\n' >/etc/rancher/k3s/config.yaml
            install 20000 >&2
            written
        """)
        self.assertNotIn("pod-max-pids", written)
        self.assertIn("image-gc-high-threshold", written)


if __name__ == "__main__":
    unittest.main()
