"""Streamed chat completions over HTTP/1.1, by the standard library alone: the client shares its machine with what it
measures, so it does little, and a slow reader needs to say how much the system keeps for it."""
import asyncio
import json
import math
import os
import pathlib
import re
import signal
import socket
import struct
import subprocess
import sys
import time
import urllib.request


class Broken(Exception):
    """A stream that did not come whole: refused, cut, or with an error in it."""


class Stream:
    """One streamed completion. Iterate over `times`, or `read()` it to its end; `close()` hangs up."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer
        self.status = None
        # Pieces of text by choice.
        self.text = {}
        # When each piece of text came; pieces that came together have one time.
        self.times = []
        # Tokens of the answer that were made by then, where the server says so.
        self.tokens = []
        self.asked_at = time.perf_counter()
        self.finish_reason = self.usage = None
        self.is_done = False
        self.rest = b""

    @classmethod
    async def ask(cls, address, body, headers=(), receive_bytes=None):
        """Sends `body` to `(host, port)`. `receive_bytes` bounds what the system takes for a reader who is slow."""
        connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if receive_bytes:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
            await asyncio.get_running_loop().sock_connect(connection, address)
            reader, writer = await asyncio.open_connection(sock=connection, limit=receive_bytes or 65536)
        except BaseException:
            connection.close()
            raise
        stream = cls(reader, writer)
        data = json.dumps({"stream": True, "stream_options": {"include_usage": True}, **body}).encode()
        head = ["POST /v1/chat/completions HTTP/1.1", f"host: {address[0]}:{address[1]}", "connection: close",
                "content-type: application/json", f"content-length: {len(data)}",
                *(f"{name}: {value}" for name, value in headers)]
        writer.write("\r\n".join(head).encode() + b"\r\n\r\n" + data)
        return stream

    async def head(self):
        """Reads the head of the answer, which comes with its first event."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        self.status = int(head.split(" ", 2)[1])
        if self.status != 200:
            said = await asyncio.wait_for(self.reader.read(2000), 5)
            raise Broken(f"status {self.status}: {said.decode(errors='replace')}")
        if "transfer-encoding: chunked" not in head:
            raise Broken("the answer is not chunked")

    async def next(self):
        """Reads one chunk of the connection; False after the last."""
        try:
            if self.status is None:
                await self.head()
            size = int(await self.reader.readuntil(b"\r\n"), 16)
            data = await self.reader.readexactly(size + 2)
        except (OSError, asyncio.IncompleteReadError, ValueError) as error:
            raise Broken(f"cut: {error}") from error
        now = time.perf_counter()
        *events, self.rest = (self.rest + data[:-2]).split(b"\n\n")
        for event in events:
            if event.startswith(b"data: "):
                self.take(event[len(b"data: "):], now)
        return size > 0

    def take(self, data, now):
        if data == b"[DONE]":
            self.is_done = True
            return
        event = json.loads(data)
        if "error" in event:
            raise Broken(str(event["error"]))
        self.usage = event.get("usage") or self.usage
        # In every chunk with `continuous_usage_stats`; llama-server has `timings_per_token`.
        so_far = (event.get("timings") or {}).get("predicted_n") or (event.get("usage") or {}).get("completion_tokens")
        for choice in event["choices"]:
            delta = choice["delta"]
            piece = delta.get("content") or delta.get("reasoning_content")
            if piece:
                self.text.setdefault(choice["index"], []).append(piece)
                self.times.append(now)
                self.tokens.append(so_far)
            self.finish_reason = choice["finish_reason"] or self.finish_reason

    async def read(self):
        """Reads to the end, and holds that it came whole."""
        while await self.next():
            pass
        self.hold_whole()
        self.close()
        return self

    def hold_whole(self):
        if not (self.is_done and self.finish_reason and self.usage):
            raise Broken("the stream ended without its end")

    def first_token_s(self):
        """From asking to the first piece of text."""
        return self.times[0] - self.asked_at

    def close(self, abruptly=False):
        """Hangs up: in good order, or with a reset."""
        if abruptly:
            connection = self.writer.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.writer.transport.abort()
        else:
            self.writer.close()


class Server:
    """A server under measurement. A context manager; `url` and `address` say where it listens, once it answers."""

    def __init__(self, command, log, url=None, environment=None, ready="/health", patience_s=180):
        self.command, self.log, self.url, self.ready, self.patience_s = command, log, url, ready, patience_s
        self.environment = {**os.environ, **(environment or {})}

    def __enter__(self):
        # Who is ended here does not leave a busy server behind.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log, env=self.environment)
        deadline = time.monotonic() + self.patience_s
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise SystemExit(f"{' '.join(map(str, self.command))} does not serve:\n{self.said()[-2000:]}")
            time.sleep(0.1)
        host, port = re.fullmatch(r"http://([\d.]+):(\d+)", self.url).groups()
        self.address = (host, int(port))
        return self

    def __exit__(self, *exception):
        # What still runs then is of no use to anybody.
        self.stop(patience_s=5)

    def said(self):
        return pathlib.Path(self.log).read_text(errors="replace")

    def answers(self):
        if self.url is None:
            found = re.search(r"http://[\d.]+:\d+(?=\s|$)", self.said())
            self.url = found and found.group()
        try:
            return self.url is not None and self.get(self.ready) is not None
        except OSError:
            return False

    def get(self, path):
        with urllib.request.urlopen(self.url + path, timeout=30) as answer:
            return answer.read().decode()

    def stop(self, patience_s=60):
        """Ends the process in good order; the exit code, or None where it had to be killed."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout=patience_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return None

    def cpu_s(self):
        """Seconds of processors that it has used, and how many of them in the system."""
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        user, system = (int(field) / os.sysconf("SC_CLK_TCK") for field in fields[11:13])
        return user + system, system

    def resident_bytes(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status).group(1)) * 1024

    def open_files(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))


def machine_cpu_s():
    """Seconds of processors that this machine was busy, or that its host took from it, since it was started."""
    user, nice, system, _, _, interrupts, soft, stolen = map(int, pathlib.Path("/proc/stat").read_text().split()[1:9])
    return (user + nice + system + interrupts + soft + stolen) / os.sysconf("SC_CLK_TCK")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def quantile(values, share):
    """The least value that at least `share` of all do not exceed; None of none."""
    ordered = sorted(values)
    if not ordered:
        return None
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def metric(page, name, **labels):
    """The sum of a metric's series with these labels on a page of /metrics; None where the page has none."""
    found = None
    for line in page.splitlines():
        head, _, value = line.rpartition(" ")
        series, _, rest = head.partition("{")
        if series == name and all(f'{key}="{wanted}"' in rest for key, wanted in labels.items()):
            found = (found or 0.0) + float(value)
    return found
