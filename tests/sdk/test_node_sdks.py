"""The official SDKs for Node, where there is one: their checks are in clients.cjs. And CompatCanary, a scanner."""

import os
import pathlib
import shutil
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from program import KEY, REPOSITORY, Program  # noqa: E402

# Where `.ci/run` installs what tests/sdk/package.json names.
MODULES = REPOSITORY / "target/node/node_modules"


class NodeSdks(unittest.TestCase):
    @unittest.skipUnless(shutil.which("node"), "there is no node")
    @unittest.skipUnless(MODULES.is_dir(), "the SDKs for Node are not installed")
    def test_every_check_of_the_clients_holds(self):
        with Program() as program:
            checks = subprocess.run(
                ["node", str(pathlib.Path(__file__).parent / "clients.cjs"), program.url, KEY],
                env={**os.environ, "NODE_PATH": str(MODULES)},
                capture_output=True,
                text=True,
                timeout=300,
            )
        self.assertEqual(checks.returncode, 0, checks.stdout + checks.stderr)

    @unittest.skipUnless(shutil.which("node"), "there is no node")
    @unittest.skipUnless((MODULES / "compatcanary").is_dir(), "CompatCanary is not installed")
    def test_a_scanner_of_compatible_endpoints_finds_nothing(self):
        with Program() as program:
            scanned = subprocess.run(
                [str(MODULES / ".bin/compatcanary"), "scan", "--base-url", f"{program.url}/v1", "--model", "demo", "--profile", "modern"],
                env={**os.environ, "OPENAI_API_KEY": KEY},
                capture_output=True,
                text=True,
                timeout=300,
            )
        self.assertEqual(scanned.returncode, 0, scanned.stdout + scanned.stderr)
        self.assertIn("7 passed, 0 warned, 0 failed", scanned.stdout)


if __name__ == "__main__":
    unittest.main()
