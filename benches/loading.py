#!/usr/bin/env python3
"""What a running answer notices of another model that is loaded beside it, and what an unload gives back; or how three
models do in room for two.

    benches/loading.py ANSWERING LOADED [--weighbridge target/release/weighbridge] [--rounds 3]
    benches/loading.py A B C [--weighbridge target/release/weighbridge] [--seconds 120] [--callers 2]

With two models it starts the program with both under one budget, streams an answer of the first, loads and unloads the
second, and prints the times between two tokens before, beside the load and beside the unload, how long the load took
alone and beside, and resident memory against what is planned.

With three (files of 0.4 to 0.6 GB, say) the budget is what the two largest take together. So many callers of each ask one
short question after the other; a table says how many answers each model gave, how long the first token and the answer
took, how often it was loaded, and what that took; then the most memory that was planned and resident, of how much. The
exit code is 1 where a request failed, or the budget did not hold.
"""
import argparse
import http.client
import json
import pathlib
import re
import statistics
import subprocess
import sys
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
load_wait_ms = {load_wait}
"""
MODEL = """
[[models]]
name = "{name}"
path = "{path}"
context = 4096
page_memory_mib = {pages}
pinned = {pinned}
"""
LOAD_WAIT_MS = 120_000


def model(name, path, pages, pinned=False):
    return MODEL.format(name=name, path=path, pages=pages, pinned=str(pinned).lower())


class Program:
    def __init__(self, binary, models, budget):
        self.folder = tempfile.TemporaryDirectory()
        folder = pathlib.Path(self.folder.name)
        config = folder / "w.toml"
        config.write_text(CONFIG.format(folder=folder, budget=budget, load_wait=LOAD_WAIT_MS) + "".join(models))
        self.log = folder / "log"
        log = open(self.log, "w")
        command = [binary, "serve", "--config", str(config)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        said = ""
        for line in self.process.stdout:
            said += line
            if found := re.search(r"curl http://([0-9.]+):(\d+)", line):
                self.host, self.port = found[1], int(found[2])
                return
        raise SystemExit(f"it did not start:\n{said}{self.log.read_text()}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()

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

    def status(self):
        return json.loads(self.ask("GET", "/admin/models").read())

    def planned_mib(self):
        return {model["id"]: -(-model["memory_bytes"] >> 20) for model in self.status()["data"]}

    def load_seconds(self):
        """What each load took, by model, as the log tells."""
        return loads_in(self.log.read_text())

    def stream(self, arrivals, over):
        body = {"model": "answering", "stream": True, "seed": 1, "max_tokens": 4000, "temperature": 1.0,
                "messages": [{"role": "user", "content": "Tell a long story about a fox and a lamp."}]}
        while not over.is_set():
            answer = self.ask("POST", "/v1/chat/completions", body)
            arrivals.append([])
            while (line := answer.readline()) and b"[DONE]" not in line and not over.is_set():
                if line.startswith(b"data:"):
                    arrivals[-1].append(time.monotonic())


def loads_in(log):
    took = {}
    for name, seconds in re.findall(r'loaded model="([^"]*)" seconds=([0-9.]+)', log):
        took.setdefault(name, []).append(float(seconds))
    return took


def figures(what, arrivals, begin, end):
    gaps = sorted(b - a for times in arrivals for a, b in zip(times, times[1:]) if begin <= b <= end)
    if not gaps:
        print(f"{what}: no tokens")
        return
    at = lambda share: 1000 * gaps[min(len(gaps) - 1, int(share * len(gaps)))]
    print(f"{what}: {len(gaps)} gaps, median {at(.5):.1f} ms, p90 {at(.9):.1f}, p99 {at(.99):.1f}, most {at(1):.1f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="MODEL", help="two, or three")
    parser.add_argument("--weighbridge", default=HERE.parent / "target/release/weighbridge")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--budget-mib", type=int, default=16384, help="of two models")
    parser.add_argument("--seconds", type=float, default=120, help="for how long three are asked")
    parser.add_argument("--callers", type=int, default=2, help="of each of three")
    options = parser.parse_args()
    paths = [pathlib.Path(path).resolve() for path in options.models]
    if len(paths) == 2:
        answering, loaded = paths
        models = [model("answering", answering, 1024, pinned=True), model("loaded", loaded, 1024)]
        with Program(options.weighbridge, models, options.budget_mib) as program:
            measure(program, options.rounds)
    elif len(paths) == 3:
        sys.exit(0 if take_turns(options, paths) else 1)
    else:
        parser.error("two models, or three")


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


class Caller(threading.Thread):
    """Asks one model again and again; what it heard of each answer is (seconds to the first token, seconds)."""

    def __init__(self, program, name, end):
        super().__init__()
        self.program, self.name_of_model, self.end = program, name, end
        self.heard, self.failed = [], []

    def run(self):
        while time.monotonic() < self.end:
            began, first = time.monotonic(), None
            body = {"model": self.name_of_model, "stream": True, "max_tokens": 16, "seed": len(self.heard),
                    "messages": [{"role": "user", "content": "Tell a story about a fox and a lamp."}]}
            answer = self.program.ask("POST", "/v1/chat/completions", body)
            whole = b""
            while line := answer.readline():
                whole += line
                if first is None and line.startswith(b"data:"):
                    first = time.monotonic() - began
            if answer.status != 200 or b"[DONE]" not in whole:
                self.failed.append(whole.decode(errors="replace")[-500:])
            else:
                self.heard.append((first, time.monotonic() - began))
            time.sleep(0.05)


def take_turns(options, paths):
    """Three models in room for two. Whether all were answered, within the budget."""
    names = ["a", "b", "c"]
    models = [model(name, path, 256) for name, path in zip(names, paths)]
    with Program(options.weighbridge, models, 1 << 20) as program:
        planned = program.planned_mib()
    budget = sum(sorted(planned.values())[1:])
    with Program(options.weighbridge, models, budget) as program:
        empty, end = program.resident_mib(), time.monotonic() + options.seconds
        callers = [Caller(program, name, end) for name in names for _ in range(options.callers)]
        for caller in callers:
            caller.start()
        held, resident = 0, 0
        while any(caller.is_alive() for caller in callers):
            held = max(held, program.status()["memory_held_bytes"] >> 20)
            resident = max(resident, program.resident_mib() - empty)
            time.sleep(0.1)
        print(turns_table(names, planned, callers, program.load_seconds()))
        print(f"\nplanned at most {held} and resident {resident} of {budget} MiB ({empty} MiB before any was there)")
    failed = [why for caller in callers for why in caller.failed]
    for why in failed[:10]:
        print(f"failed: {why}")
    return not failed and held <= budget and resident <= budget


def turns_table(names, planned, callers, loads):
    rows = ["| model | planned, MiB | answers | first token, median and most | answer, most | loads | a load, most |",
            "|---|---|---|---|---|---|---|"]
    for name in names:
        heard = [it for caller in callers if caller.name_of_model == name for it in caller.heard]
        firsts, wholes = [first for first, _ in heard] or [0], [whole for _, whole in heard] or [0]
        took = loads.get(name, [0])
        rows.append(f"| {name} | {planned[name]} | {len(heard)} | {statistics.median(firsts):.2f} and {max(firsts):.2f} s "
                    f"| {max(wholes):.2f} s | {len(loads.get(name, []))} | {max(took):.2f} s |")
    return "\n".join(rows)


if __name__ == "__main__":
    main()
