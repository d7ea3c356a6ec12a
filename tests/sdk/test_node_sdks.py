"""The official SDKs for Node, where there is one: their checks are in clients.cjs."""

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


if __name__ == "__main__":
    unittest.main()
