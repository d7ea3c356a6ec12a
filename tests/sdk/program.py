"""Starts the program for a suite, with an upstream beside it that breaks off in mid-stream."""

import json
import os
import pathlib
import re
import subprocess
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
KEY = "a-key-for-the-sdk-suite"


def binary() -> str:
    """The program under test: WEIGHBRIDGE_BIN, else the release build."""
    return str(REPOSITORY / os.environ.get("WEIGHBRIDGE_BIN", "target/release/weighbridge"))


class BreaksOff(BaseHTTPRequestHandler):
    """An upstream that says three words, the last of them half, and breaks the connection."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):  # The name is http.server's.
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for word in ("half", " an", " ans"):
            choices = [{"index": 0, "delta": {"content": word}, "finish_reason": None}]
            event = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices}
            data = f"data: {json.dumps(event)}\n\n".encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()
        self.close_connection = True

    def log_message(self, *arguments):
        pass


class Program:
    """The program, serving the demo model and the broken upstream to one caller. A context manager."""

    def __enter__(self):
        self.upstream = ThreadingHTTPServer(("127.0.0.1", 0), BreaksOff)
        threading.Thread(target=self.upstream.serve_forever, daemon=True).start()
        self.folder = tempfile.TemporaryDirectory()
        config = pathlib.Path(self.folder.name) / "w.toml"
        config.write_text(self.config())
        self.process = subprocess.Popen(
            [binary(), "serve", "--config", str(config), "--listen", "127.0.0.1:0"],
            env={**os.environ, "WEIGHBRIDGE_DATA_DIR": self.folder.name},
            cwd=self.folder.name,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        said = []
        for line in self.process.stdout:
            said.append(line)
            if found := re.search(r"http://[\d.]+:\d+(?=\s|$)", line):
                self.url = found.group()
                # What it still says is read, so that it never waits for a reader.
                self.reader = threading.Thread(target=self.process.stdout.read)
                self.reader.start()
                return self
        raise RuntimeError(f"the program did not start: {''.join(said)}")

    def __exit__(self, *exception):
        self.process.terminate()
        self.process.wait(timeout=30)
        self.reader.join()
        self.process.stdout.close()
        self.upstream.shutdown()
        self.upstream.server_close()
        self.folder.cleanup()

    def config(self) -> str:
        hashed = subprocess.run([binary(), "keys", "hash"], input=KEY, capture_output=True, text=True, check=True)
        return f"""
[dispatch]
retries = 0

[[models]]
name = "demo"
path = {json.dumps(str(REPOSITORY / "models/demo"))}

[[providers]]
name = "broken"
kind = "openai"
base_url = "http://127.0.0.1:{self.upstream.server_port}/v1"
clearance = "internal"
models = [{{ name = "m", input_usd_per_mtok = 1.0, output_usd_per_mtok = 1.0 }}]

[[routes]]
name = "main"
match = {{ models = ["auto", "demo", "broken/*"] }}
backends = ["demo", "broken/m"]
prefer = "order"

[[callers]]
name = "sdk"
key_sha256 = "{hashed.stdout.strip()}"
highest_class = "confidential"
"""
