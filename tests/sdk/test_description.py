"""Schemathesis against the program: requests made up from its own description find no failure of ours, and no answer
that the description does not have."""

import os
import pathlib
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from program import KEY, Program  # noqa: E402

# Enough to meet every field of every body; `SCHEMATHESIS_EXAMPLES=500` looks longer.
EXAMPLES = os.environ.get("SCHEMATHESIS_EXAMPLES", "20")
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"


class Description(unittest.TestCase):
    def test_the_program_answers_as_it_is_described(self):
        with Program() as program:
            found = subprocess.run(
                [
                    str(pathlib.Path(sys.executable).parent / "schemathesis"),
                    "run",
                    f"{program.url}/openapi.json",
                    f"--header=Authorization: Bearer {KEY}",
                    f"--checks={CHECKS}",
                    f"--max-examples={EXAMPLES}",
                    "--phases=examples,coverage,fuzzing",
                    # Loads and unloads what the others are answered by.
                    "--exclude-path-regex=^/admin",
                    "--seed=1",
                    "--request-timeout=60",
                    "--no-color",
                ],
                capture_output=True,
                text=True,
                timeout=900,
            )
        self.assertEqual(found.returncode, 0, found.stdout[-8000:] + found.stderr[-2000:])


if __name__ == "__main__":
    unittest.main()
