#!/usr/bin/env python3
"""What a running answer notices of another model that is loaded beside it, and what an unload gives back.

    benches/loading.py ANSWERING LOADED [--weighbridge target/release/weighbridge] [--rounds 3]

Starts the program with two models under one budget, streams an answer of the first, loads and unloads the second, and
prints the times between two tokens before, beside the load and beside the unload, how long the load took alone and
beside, and resident memory against what is planned.
"""
import argparse
import http.client
import json
import pathlib
import re
import subprocess
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
CONFIG = """
[server]
listen = "127.0.0.1:0"
[ledger]
path = "{folder}/ledger.sqlite"
[engine]
memory_budget_mib = {budget}
[[models]]
name = "answering"
path = "{answering}"
pinned = true
context = 4096
page_memory_mib = 1024
[[models]]
name = "loaded"
path = "{loaded}"
context = 4096
page_memory_mib = 1024
"""


class Program:
    def __init__(self, binary, answering, loaded, budget):
        self.folder = tempfile.TemporaryDirectory()
        folder = pathlib.Path(self.folder.name)
        config = folder / "w.toml"
        config.write_text(CONFIG.format(folder=folder, answering=answering, loaded=loaded, budget=budget))
        log = open(folder / "log", "w")
        command = [binary, "serve", "--config", str(config)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        said = ""
        for line in self.process.stdout:
            said += line
            if found := re.search(r"curl http://([0-9.]+):(\d+)", line):
                self.host, self.port = found[1], int(found[2])
                return
        raise SystemExit(f"it did not start:\n{said}{(folder / 'log').read_text()}")

    def ask(self, method, path, body=None):
        connection = http.client.HTTPConnection(self.host, self.port)
        headers = {"content-type": "application/json"} if body else {}
        connection.request(method, path, json.dumps(body) if body else None, headers)
        return connection.getresponse()

    def change(self, what):
        began = time.monotonic()
        answer = self.ask("POST", f"/admin/models/loaded/{what}")
        told = json.loads(answer.read())
        if answer.status != 200:
            raise SystemExit(f"{what}: {told}")
        return time.monotonic() - began

    def resident_mib(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) // 1024

    def planned_mib(self):
        models = json.loads(self.ask("GET", "/admin/models").read())["data"]
        return {model["id"]: model["memory_bytes"] >> 20 for model in models}

    def stream(self, arrivals, over):
        body = {"model": "answering", "stream": True, "seed": 1, "max_tokens": 4000, "temperature": 1.0,
                "messages": [{"role": "user", "content": "Tell a long story about a fox and a lamp."}]}
        while not over.is_set():
            answer = self.ask("POST", "/v1/chat/completions", body)
            arrivals.append([])
            while (line := answer.readline()) and b"[DONE]" not in line and not over.is_set():
                if line.startswith(b"data:"):
                    arrivals[-1].append(time.monotonic())


def figures(what, arrivals, begin, end):
    gaps = sorted(b - a for times in arrivals for a, b in zip(times, times[1:]) if begin <= b <= end)
    if not gaps:
        print(f"{what}: no tokens")
        return
    at = lambda share: 1000 * gaps[min(len(gaps) - 1, int(share * len(gaps)))]
    print(f"{what}: {len(gaps)} gaps, median {at(.5):.1f} ms, p90 {at(.9):.1f}, p99 {at(.99):.1f}, most {at(1):.1f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("answering")
    parser.add_argument("loaded")
    parser.add_argument("--weighbridge", default=HERE.parent / "target/release/weighbridge")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--budget-mib", type=int, default=16384)
    options = parser.parse_args()
    paths = [pathlib.Path(path).resolve() for path in (options.answering, options.loaded)]
    program = Program(options.weighbridge, *paths, options.budget_mib)
    try:
        measure(program, options.rounds)
    finally:
        program.process.terminate()
        program.process.wait()


def measure(program, rounds):
    before = program.resident_mib()
    program.change("load")
    print(f"planned {program.planned_mib()} MiB, 1024 of each for pages")
    print(f"resident: {before} MiB before the load, {program.resident_mib()} after", end="")
    program.change("unload")
    print(f", {program.resident_mib()} after the unload")
    for _ in range(rounds):
        print(f"load alone: {program.change('load'):.2f} s")
        program.change("unload")
        arrivals, over = [], threading.Event()
        thread = threading.Thread(target=program.stream, args=(arrivals, over))
        thread.start()
        time.sleep(2)
        begin = time.monotonic()
        time.sleep(8)
        figures("between tokens before", arrivals, begin, time.monotonic())
        begin = time.monotonic()
        took = program.change("load")
        figures(f"beside a load of {took:.2f} s", arrivals, begin, time.monotonic())
        begin = time.monotonic()
        program.change("unload")
        time.sleep(2)
        figures("beside the unload", arrivals, begin, time.monotonic())
        over.set()
        thread.join()


if __name__ == "__main__":
    main()
