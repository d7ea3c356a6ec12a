#!/usr/bin/env python3
"""A thousand streams at once on the demo model, some of whose readers are slow and some of whom hang up.

    benches/soak.py                      # ten minutes
    benches/soak.py --minutes 60         # the hour that the figures in docs/performance.md are of

Each client asks again as soon as its answer is over. A tenth of them read slowly, an answer of several choices, with as
little kept for them by the system as it lets them ask for; a tenth hang up at a random moment, from before the first
token on, half of these with a reset. It holds that

- every other stream comes whole: to the last character what models/demo/golden.json says, and the usage right;
- nothing is left behind: at the end no answer runs or waits, all pages are free where the metrics show pages, and no
  connection stays open;
- the memory that the program holds at the end is within 5 % of what it held after a minute;
- the ledger has one receipt for each request that was not hung up on, and its tokens are those that were heard.

The exit code is 0 if all of it holds.
"""
import argparse
import asyncio
import collections
import json
import pathlib
import random
import resource
import sqlite3
import statistics
import sys
import tempfile
import time

from streams import Broken, Server, Stream, metric, quantile

ROOT = pathlib.Path(__file__).resolve().parent.parent
# After so long the program has what it needs; memory is held against this moment.
SETTLED_S = 60
MEMORY_SHARE = 0.05
# What a slow reader lets the system take for it, and how long it waits before it takes the next piece.
SLOW_BYTES, SLOW_WAIT_S = 2304, 0.2
# Choices of the answer that a slow reader asks for: more than the system keeps on both sides.
SLOW_CHOICES = 4
# The longest that one waits for a first token who hangs up before it.
HANGS_UP_S = 3.0
# How long the last answers may take once nobody asks any more.
PATIENCE_S = 120
# Files that the client and the program need beside one for each stream.
SPARE_FILES = 256

# How many files more than before the program may hold open when all have gone.
KEPT_FILES = 8

# How often progress is told where nobody watches.
QUIET_S = 30

KINDS = ("steady", "slow", "hangs up")

CONFIG = """
[server]
listen = "127.0.0.1:0"
max_in_flight = {places}

[log]
level = "error"

[[models]]
name = "demo"
path = "builtin:demo"
max_running = {streams}
max_waiting = {places}

[[routes]]
name = "all"
match = {{ models = ["*"] }}
backends = ["demo"]
prefer = "order"
"""


class Golden:
    """A question and what the demo model answers, to the last token."""

    def __init__(self, line):
        self.messages, self.answer = line["messages"], line["answer"]
        self.prompt_tokens, self.completion_tokens = len(line["tokens"]), len(line["greedy"])

    def hold(self, stream, choices):
        """Raises where a stream does not have this answer in all its choices."""
        for choice in range(choices):
            heard = "".join(stream.text.get(choice, ()))
            if heard != self.answer:
                raise Broken(f"heard {heard!r} instead of {self.answer!r}")
        usage = stream.usage["prompt_tokens"], stream.usage["completion_tokens"]
        right = self.prompt_tokens, choices * self.completion_tokens
        if usage != right:
            raise Broken(f"usage {usage} instead of {right}")


def goldens():
    lines = json.loads((ROOT / "models/demo/golden.json").read_text())
    return [Golden(line) for line in lines if not line.get("tools")]


class Tally:
    """What became of the streams."""

    def __init__(self):
        self.ends = {kind: collections.Counter() for kind in KINDS}
        # The latest of each kind: an hour has millions, and these tell as much.
        self.first_s = {kind: collections.deque(maxlen=20_000) for kind in KINDS}
        self.losses = []
        self.open = self.tokens = 0

    def whole(self, kind, stream):
        self.ends[kind]["whole"] += 1
        self.tokens += stream.usage["completion_tokens"]
        self.first_s[kind].append(stream.first_token_s())

    def lost(self, kind, error):
        self.ends[kind]["lost"] += 1
        if len(self.losses) < 10:
            self.losses.append(f"{kind}: {type(error).__name__}: {error}")

    def count(self, end):
        return sum(ends[end] for ends in self.ends.values())


def kind_of(place):
    """A tenth of the clients read slowly and a tenth hang up."""
    return {0: "slow", 5: "hangs up"}.get(place % 10, "steady")


async def client(place, address, questions, tally, until, seed):
    """Asks one question after the other until the time is over."""
    kind, generator = kind_of(place), random.Random(f"{seed} {place}")
    ask = {"steady": steady, "slow": slow, "hangs up": hangs_up}[kind]
    # Not all in the same instant: how many connections may wait to be accepted is the system's to say.
    await asyncio.sleep(generator.uniform(0, 5))
    while time.monotonic() < until:
        tally.open += 1
        try:
            await ask(address, questions, tally, generator)
        except (Broken, OSError) as error:
            tally.lost(kind, error)
            # Where everything fails, not as fast as it can.
            await asyncio.sleep(1)
        finally:
            tally.open -= 1


def body(golden, **more):
    return {"model": "demo", "messages": golden.messages, "temperature": 0, **more}


async def steady(address, questions, tally, generator):
    golden = generator.choice(questions)
    stream = await Stream.ask(address, body(golden))
    try:
        await stream.read()
        golden.hold(stream, 1)
    finally:
        stream.close()
    tally.whole("steady", stream)


async def slow(address, questions, tally, generator):
    golden = questions[0]
    stream = await Stream.ask(address, body(golden, n=SLOW_CHOICES), receive_bytes=SLOW_BYTES)
    try:
        while await stream.next():
            await asyncio.sleep(SLOW_WAIT_S)
        stream.hold_whole()
        golden.hold(stream, SLOW_CHOICES)
    finally:
        stream.close()
    tally.whole("slow", stream)


async def hangs_up(address, questions, tally, generator):
    """Reads some of a story, which may be nothing at all, and goes. It asks by another name, by which the ledger knows
    it: whether its answer was over by then is a race."""
    golden = questions[0]
    pieces = generator.randrange(golden.completion_tokens)
    stream = await Stream.ask(address, body(golden, model="hangs-up"))
    try:
        if pieces == 0:
            await asyncio.sleep(generator.uniform(0, HANGS_UP_S))
        while len(stream.times) < pieces and await stream.next():
            pass
    finally:
        stream.close(abruptly=generator.random() < 0.5)
    if stream.times:
        tally.first_s["hangs up"].append(stream.first_token_s())
    tally.ends["hangs up"]["hung up"] += 1


class Watch:
    """The program's memory and its progress, once a second."""

    def __init__(self, server, tally, seconds):
        self.server, self.tally, self.seconds = server, tally, seconds
        self.samples = []

    async def run(self):
        started, done = time.monotonic(), 0
        while True:
            await asyncio.sleep(1)
            elapsed, whole = time.monotonic() - started, self.tally.count("whole")
            self.samples.append((elapsed, self.server.resident_bytes()))
            self.show(elapsed, whole - done)
            done = whole

    def show(self, elapsed, rate):
        # Into a file a line now and then says as much.
        watched = sys.stderr.isatty()
        if not watched and len(self.samples) % QUIET_S:
            return
        bar = "#" * round(30 * min(1.0, elapsed / self.seconds))
        said = (f"[{bar:<30}] {clock(elapsed)} of {clock(self.seconds)}  {self.tally.open} open, {rate} whole/s, "
                f"{self.tally.count('lost')} lost, {self.samples[-1][1] / 2**20:.0f} MiB")
        print(f"\r{said}  " if watched else said, end="" if watched else "\n", file=sys.stderr, flush=True)

    def memory(self, first, last):
        """The median between two moments, in bytes; None where nothing was seen."""
        seen = [size for at, size in self.samples if first <= at <= last]
        return statistics.median(seen) if seen else None


def clock(seconds):
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


def pages_of(page):
    """Pages of keys and values by their state, as far as the metrics show them: used by a sequence, kept for a prefix
    and to be had, or free."""
    counts = {state: metric(page, "weighbridge_pages", state=state) for state in ("used", "cached", "free")}
    return {state: count for state, count in counts.items() if count is not None}


async def until_idle(server):
    """Waits until no answer runs or waits and nobody is inside; the metrics then, or those at the end of patience."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        page = await asyncio.to_thread(server.get, "/metrics")
        if not any(inside(page).values()) or time.monotonic() > deadline:
            return page
        await asyncio.sleep(0.5)


def inside(page):
    names = ("weighbridge_queue_running", "weighbridge_queue_waiting", "weighbridge_requests_in_flight")
    return {name: metric(page, name) for name in names}


async def soak(args, server, tally):
    """Lets the crowd in until the time is over, and waits until the last has gone."""
    questions, seconds = goldens(), 60 * args.minutes
    files = server.open_files()
    watch = Watch(server, tally, seconds)
    watching = asyncio.create_task(watch.run())
    until = time.monotonic() + seconds
    clients = [asyncio.create_task(client(place, server.address, questions, tally, until, args.seed))
               for place in range(args.streams)]
    used = -server.cpu_s()[0], -time.process_time()
    await asyncio.sleep(seconds)
    shares = (used[0] + server.cpu_s()[0]) / seconds, (used[1] + time.process_time()) / seconds
    done, late = await asyncio.wait(clients, timeout=PATIENCE_S)
    for task in late:
        task.cancel()
        tally.lost("steady", Broken(f"not over {PATIENCE_S} s after the end"))
    for task in done:
        task.result()
    watching.cancel()
    print(file=sys.stderr)
    page = await until_idle(server)
    # Connections that were hung up on are closed a moment after their answers.
    await asyncio.sleep(2)
    return {"watch": watch, "files": server.open_files() - files, "page": page, "shares": shares,
            "pages": pages_of(server.get("/metrics"))}


def ledger_of(folder):
    """Receipts of those who stayed: how many, how many of them complete, and their tokens."""
    with sqlite3.connect(f"file:{folder}/ledger.sqlite?mode=ro", uri=True) as ledger:
        return ledger.execute("SELECT count(*), sum(outcome = 'completed'), sum(completion_tokens) FROM receipts "
                              "WHERE model = 'demo'").fetchone()


def findings(args, tally, left, receipts, exit_code):
    """What is held, with its figures: (claim, figures, whether it holds)."""
    whole, lost = tally.count("whole"), tally.count("lost")
    yield "every stream that was not hung up on came whole", f"{whole} whole, {lost} lost", whole > 0 and lost == 0
    yield ("no answer is left", ", ".join(f"{name.removeprefix('weighbridge_')} {value:.0f}"
           for name, value in inside(left["page"]).items()), not any(inside(left["page"]).values()))
    said = ", ".join(f"{count:.0f} {state}" for state, count in left["pages"].items()) or "the metrics show none"
    yield "all pages are free or kept for a prefix", said, not left["pages"].get("used")
    yield "no connection is left", f"{left['files']} files more than before", left["files"] <= KEPT_FILES
    end = 60 * args.minutes
    early = left["watch"].memory(SETTLED_S - 5, SETTLED_S + 5)
    late = left["watch"].memory(end - 10, end)
    if early is None or end <= 2 * SETTLED_S:
        yield "memory stays", "not held: shorter than two minutes", True
    else:
        yield ("memory stays within 5 % of after a minute", f"{early / 2**20:.1f} MiB, then {late / 2**20:.1f} MiB: "
               f"{100 * (late / early - 1):+.1f} %", late <= (1 + MEMORY_SHARE) * early)
    count, completed, tokens = receipts
    yield ("receipts add up", f"{count} receipts, {completed} of them completed, {tokens} tokens of {tally.tokens} heard",
           lost > 0 or (count, completed, tokens) == (whole, whole, tally.tokens))
    yield "the program stopped well", f"exit code {exit_code}", exit_code == 0


def streams_table(tally):
    yield "| clients | whole | hung up | lost | p50 to first token, s | p95, s |"
    yield "|---|---|---|---|---|---|"
    for kind in KINDS:
        ends, first = tally.ends[kind], tally.first_s[kind]
        p50, p95 = (f"{quantile(first, share):.2f}" if first else "" for share in (0.5, 0.95))
        yield f"| {kind} | {ends['whole']} | {ends['hung up']} | {ends['lost']} | {p50} | {p95} |"


def report(args, tally, found, shares):
    yield from streams_table(tally)
    yield ""
    yield "| claim | figures | holds |"
    yield "|---|---|---|"
    for claim, figures, holds in found:
        yield f"| {claim} | {figures} | {'yes' if holds else '**no**'} |"
    yield (f"\n{args.streams} streams for {args.minutes:g} minutes: {tally.tokens / 60 / args.minutes:.0f} tokens/s heard "
           f"whole; the program used {shares[0]:.2f} processors, the clients {shares[1]:.2f}")
    yield from (f"lost: {loss}" for loss in tally.losses)


def raise_file_limit(streams):
    """As many open files as the streams need, for this process and the program that it starts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = streams + SPARE_FILES
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise SystemExit(f"{streams} streams need {wanted} open files and the limit is {hard}: see ulimit -Hn")
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weighbridge", default=str(ROOT / "target/release/weighbridge"))
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()
    if args.minutes <= 0 or args.streams < 10:
        parser.error("it takes some time and ten streams at least")
    raise_file_limit(args.streams)

    tally = Tally()
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        config = pathlib.Path(folder) / "weighbridge.toml"
        # Places for every choice, and for those who have hung up and are not noticed yet.
        config.write_text(CONFIG.format(streams=args.streams, places=4 * args.streams))
        command = [args.weighbridge, "serve", "--config", str(config)]
        with Server(command, f"{folder}/log", environment={"WEIGHBRIDGE_DATA_DIR": folder}, ready="/ready") as server:
            left = asyncio.run(soak(args, server, tally))
            exit_code = server.stop()
        found = list(findings(args, tally, left, ledger_of(folder), exit_code))
    print("\n".join(report(args, tally, found, left["shares"])))
    sys.exit(0 if all(holds for *_, holds in found) else 1)


if __name__ == "__main__":
    main()
