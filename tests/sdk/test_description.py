"""Schemathesis against the program: requests made up from its own description find no failure of ours, and no answer
that the description does not have."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from program import KEY, Program  # noqa: E402

# Enough to meet every field of every body; `SCHEMATHESIS_EXAMPLES=500 SCHEMATHESIS_SECONDS=3600` looks longer.
EXAMPLES = os.environ.get("SCHEMATHESIS_EXAMPLES", "20")
SECONDS = os.environ.get("SCHEMATHESIS_SECONDS", "60")
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"


def description(url):
    """The program's own, without the header by which an answer comes too late: its 504 is what was asked for."""
    with urllib.request.urlopen(f"{url}/openapi.json") as reply:
        document = json.load(reply)
    deadline = {"$ref": "#/components/parameters/Deadline"}
    for methods in document["paths"].values():
        for operation in methods.values():
            operation["parameters"] = [named for named in operation.get("parameters", []) if named != deadline]
    return json.dumps(document)


class Description(unittest.TestCase):
    def test_the_program_answers_as_it_is_described(self):
        with Program() as program, tempfile.TemporaryDirectory() as folder:
            described = pathlib.Path(folder) / "openapi.json"
            described.write_text(description(program.url))
            found = subprocess.run(
                [
                    str(pathlib.Path(sys.executable).parent / "schemathesis"),
                    "run",
                    str(described),
                    f"--url={program.url}",
                    f"--header=Authorization: Bearer {KEY}",
                    f"--checks={CHECKS}",
                    f"--max-examples={EXAMPLES}",
                    "--phases=examples,coverage,fuzzing",
                    # Loads and unloads what the others are answered by.
                    "--exclude-path-regex=^/admin",
                    "--seed=1",
                    "--request-timeout=60",
                    # What takes longer is looked for by hand, with more examples.
                    f"--max-time={SECONDS}",
                    "--no-color",
                ],
                # It keeps what it found where it runs.
                cwd=folder,
                capture_output=True,
                text=True,
                timeout=900,
            )
        self.assertEqual(found.returncode, 0, found.stdout[-8000:] + found.stderr[-2000:])


if __name__ == "__main__":
    unittest.main()
