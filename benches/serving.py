#!/usr/bin/env python3
"""Our gateway against llama-server on the same file and threads, over HTTP and in turns.

    benches/serving.py MODEL.gguf --llama-server PATH/llama-server [--precision fast] [--works …] [--record]
    benches/serving.py MODEL.gguf --llama-server … --minutes 30     # later the same again: goes on where it stopped

Each measurement starts a server of its own with its own seeded prompts, alike for both sides in one round, so that no
prefix is known but where that is what is measured. All ask `/v1/chat/completions` for streams at temperature 0, and
count tokens as the servers' usage says. Models of random weights hardly ever stop by themselves; answers that do are
counted by the tokens that they have. llama-server has 16 slots, a context that holds all of them, and flash attention on
and off, of which the better counts. Every measurement is kept in a file of lines (--results), so that a run that was cut
short goes on where it stopped; medians over the rounds count. What was measured while others used the machine is kept
and does not count. The table is Markdown, with the bars that the work is held
against; --record keeps it in benches/record/.

Works: clients16 is 16 clients with prompts of 100 to 2,000 tokens and answers of 64 to 256, --asks of each one after the
other; long is 8 running answers beside which a prompt of 4,096 tokens arrives; prefix is a prompt of 2,000 tokens and
after it one that shares them and has at most 50 of its own.
"""
import argparse
import asyncio
import datetime
import json
import pathlib
import random
import re
import statistics
import sys
import tempfile
import time

from compare import HERE, Results, processor
from streams import Broken, Server, Stream, free_port, machine_cpu_s, quantile

WORKS = "clients16,long,prefix"
CLIENTS, PROMPT_TOKENS, ANSWER_TOKENS = 16, (100, 2000), (64, 256)
RUNNING, RUNNING_PROMPT_TOKENS, LONG_TOKENS = 8, 64, 4096
# Tokens of each running answer that settle it, and over which it is timed before the long prompt comes.
SETTLING, BEFORE = 8, 32
SHARED_TOKENS, OWN_TOKENS, SHARED_PROMPTS = 2000, 40, 3
SLOTS = 16
# Tokens of the context of a slot. The running answers of `long` last as long as its prompt takes.
CONTEXT = {"clients16": 2304, "long": 6144, "prefix": 2304}
COUNTING = {"ours": {"stream_options": {"include_usage": True, "continuous_usage_stats": True}},
            "llama.cpp": {"timings_per_token": True}}
# What others may take in a measurement that is under way is reckoned as if it lasted so long at least.
LEAST_S = 60
# Words that are a token each behind a space, in every vocabulary of some size.
VOCABULARY = """time year people way day man thing woman life child world school state family student group country problem
hand part place case week company system program question work government number night point home water room mother area
money story fact month lot right study book eye job word business issue side kind head house service friend father power
hour game line end member law car city community name president team minute idea body information back parent face others
level office door health person art war history party result change morning reason research girl guy moment air teacher
force education foot boy age policy music market sense nation plan college interest death experience effect use class
control care field development role effort rate heart drug show leader light voice wife police mind price report decision
son view town road form difference value building action season society tax director position player record paper space
ground event official matter center couple site project base activity star table need court oil half situation cost
industry figure street image phone data picture practice piece land product doctor wall news test movie north love step""".split()


def words(generator, count):
    return " ".join(generator.choice(VOCABULARY) for _ in range(count))


def spread(generator, bounds, count):
    """So many numbers evenly from the first bound to the last, shuffled: every round has the same sum."""
    first, last = bounds
    numbers = [round(first + (last - first) * at / (count - 1)) for at in range(count)]
    generator.shuffle(numbers)
    return numbers


def gaps(stream, after, before):
    """Seconds between neighbouring tokens that lie, at least in part, between two moments. Tokens that make a character
    only together come as one piece; by the server's count they are so many gaps of the same length."""
    found = []
    pieces = list(zip(stream.times, stream.tokens))
    for (early, so_far), (late, then) in zip(pieces, pieces[1:]):
        tokens = max(then - so_far, 1)
        if late > after and early < before:
            found.extend([(late - early) / tokens] * tokens)
    return found


class Client:
    """Asks one server."""

    def __init__(self, address, counting):
        self.address = address
        # What makes the server say in every chunk how many tokens there are.
        self.counting = counting
        self.template_tokens = 0

    async def warm_up(self):
        """Learns what the chat template adds to a prompt, and lets the server touch what it needs once."""
        stream = await self.ask("hello", 4)
        self.template_tokens = (await stream.read()).usage["prompt_tokens"] - 1

    async def ask(self, content, max_tokens):
        body = {"model": "model", "messages": [{"role": "user", "content": content}], "max_tokens": max_tokens,
                "temperature": 0, **self.counting}
        return await Stream.ask(self.address, body)

    def prompt(self, generator, tokens):
        """A prompt that has so many tokens with the template around it."""
        return words(generator, tokens - self.template_tokens)


async def clients16(client, generator, args):
    count = CLIENTS * args.asks
    asks = list(zip(spread(generator, PROMPT_TOKENS, count), spread(generator, ANSWER_TOKENS, count)))
    prompts = [(client.prompt(generator, tokens), answer) for tokens, answer in asks]

    async def one_client(own):
        return [await (await client.ask(prompt, answer)).read() for prompt, answer in own]

    started = time.perf_counter()
    done = await asyncio.gather(*(one_client(prompts[at::CLIENTS]) for at in range(CLIENTS)))
    seconds = time.perf_counter() - started
    streams = [stream for own in done for stream in own]
    first = [stream.first_token_s() for stream in streams]
    answered = sum(stream.usage["completion_tokens"] for stream in streams)
    return {"value": answered / seconds, "first_p50_s": quantile(first, 0.5), "first_p95_s": quantile(first, 0.95),
            "seconds": seconds, "answer_tokens": answered,
            "prompt_tokens": sum(stream.usage["prompt_tokens"] for stream in streams),
            "pieces": sum(len(stream.times) for stream in streams)}


async def long(client, generator, args):
    prompts = [client.prompt(generator, RUNNING_PROMPT_TOKENS) for _ in range(RUNNING)]
    long_prompt = client.prompt(generator, LONG_TOKENS)
    running = [await client.ask(prompt, CONTEXT["long"] - 2 * RUNNING_PROMPT_TOKENS) for prompt in prompts]
    readers = [asyncio.create_task(stream.read()) for stream in running]

    async def all_have(pieces):
        while min(len(stream.times) for stream in running) < pieces:
            for reader in readers:
                if reader.done():
                    raise Broken(f"an answer ended before it was timed: {reader.exception()}")
            await asyncio.sleep(0.01)

    await all_have(SETTLING)
    settled = time.perf_counter()
    await all_have(max(len(stream.times) for stream in running) + BEFORE)
    asked = time.perf_counter()
    late = await client.ask(long_prompt, 8)
    await late.read()
    ended = sum(reader.done() for reader in readers)
    for stream, reader in zip(running, readers):
        reader.cancel()
        stream.close()
    first = late.times[0]
    before = [gap for stream in running for gap in gaps(stream, settled, asked) if gap < asked - settled]
    during = [gap for stream in running for gap in gaps(stream, asked, first)]
    pieces = sum(asked < at <= first for stream in running for at in stream.times)
    return {"value": quantile(during, 0.99), "before_median_s": statistics.median(before),
            "before_p99_s": quantile(before, 0.99), "during_median_s": statistics.median(during),
            "during_most_s": max(during), "first_s": late.first_token_s(),
            "during_tokens_per_s": pieces / (first - asked), "prompt_tokens": late.usage["prompt_tokens"],
            "ended_before": ended}


async def prefix(client, generator, args):
    seen = []
    for _ in range(SHARED_PROMPTS):
        shared = client.prompt(generator, SHARED_TOKENS)
        pair = []
        for _ in range(2):
            pair.append(await (await client.ask(f"{shared} {words(generator, OWN_TOKENS)}", 4)).read())
        seen.append(pair)
    first, second = ([pair[at].first_token_s() for pair in seen] for at in (0, 1))
    shares = [late / early for early, late in zip(first, second)]
    cached = (seen[-1][1].usage.get("prompt_tokens_details") or {}).get("cached_tokens")
    return {"value": statistics.median(shares), "first_s": statistics.median(first),
            "second_s": statistics.median(second), "cached_tokens": cached,
            "prompt_tokens": seen[-1][1].usage["prompt_tokens"]}


def gateway(args, model, precision, folder):
    config = pathlib.Path(folder) / "weighbridge.toml"
    config.write_text(f"""
[server]
listen = "127.0.0.1:0"

[log]
level = "warn"

[[models]]
name = "model"
path = {json.dumps(str(model.resolve()))}
compute = "cpu"
precision = "{precision}"
{args.settings.replace(";", chr(10))}

[[routes]]
name = "all"
match = {{ models = ["*"] }}
backends = ["model"]
prefer = "order"
""")
    environment = {"WEIGHBRIDGE_DATA_DIR": folder, "RAYON_NUM_THREADS": str(args.threads)}
    return Server([args.weighbridge, "serve", "--config", str(config)], f"{folder}/log", environment=environment,
                  ready="/ready")


def llama_server(args, model, flash_attn, work, folder):
    port = free_port()
    command = [args.llama_server, "-m", str(model), "--host", "127.0.0.1", "--port", str(port), "-np", str(SLOTS),
               "-c", str(SLOTS * CONTEXT[work]), "--threads", str(args.threads), "--threads-batch", str(args.threads),
               "-fa", flash_attn]
    return Server(command, f"{folder}/log", url=f"http://127.0.0.1:{port}")


def measured(args, model, work, side, round_number):
    """One work on one side. The prompts are the same for all sides of a round."""
    generator = random.Random(f"{args.seed} {work} {round_number}")
    with tempfile.TemporaryDirectory(prefix="serving-") as folder:
        server = (gateway(args, model, side["precision"], folder) if side["who"] == "ours"
                  else llama_server(args, model, side["flash_attn"], work, folder))
        with server:
            return asyncio.run(timed(args, server, side, work, generator))


async def timed(args, server, side, work, generator):
    """One work, given up where others disturb it."""
    client = Client(server.address, COUNTING[side["who"]])
    await client.warm_up()
    before = used(server)
    working = asyncio.create_task({"clients16": clients16, "long": long, "prefix": prefix}[work](client, generator, args))
    while True:
        done, _ = await asyncio.wait([working], timeout=1)
        costs = shares(before, used(server))
        disturbed = costs["others_cpu"] * costs["took_s"] > args.others * max(costs["took_s"], 0 if done else LEAST_S)
        if done or disturbed:
            break
    working.cancel()
    result = working.result() if done else {}
    return {**result, **costs, "disturbed": disturbed, "resident_bytes": server.resident_bytes()}


def used(server):
    """Seconds that have passed, and those of processors: of this client, the server, its part in the system, of all."""
    return time.perf_counter(), time.process_time(), *server.cpu_s(), machine_cpu_s()


def shares(before, after):
    """Who used the processors between two moments, each as a share of one."""
    took, client, server, system, machine = (late - early for early, late in zip(before, after))
    return {"took_s": took, "client_cpu": client / took, "server_cpu": server / took, "system_cpu": system / took,
            "others_cpu": max(0.0, machine - client - server) / took}


def sides(args):
    """Who is measured, in the order of a round."""
    theirs = [{"who": "llama.cpp", "precision": None, "flash_attn": setting} for setting in ("on", "off")]
    ours = [{"who": "ours", "precision": precision, "flash_attn": None} for precision in args.precision.split(",")]
    return (theirs if args.llama_server else []) + ours


def key_of(args, model, work, side):
    settings = args.settings if side["who"] == "ours" else ""
    return {"model": model.name, "work": work, "threads": args.threads, "asks": args.asks, "disturbed": False,
            "settings": settings, **side}


def measure(args, works, results):
    """Measures what is not there yet, as long as there is time."""
    deadline = time.monotonic() + 60 * args.minutes if args.minutes else float("inf")
    for done in range(args.rounds):
        for model in args.model:
            for work in works:
                for side in sides(args):
                    key = key_of(args, model, work, side)
                    if len(results.of(key)) > done:
                        continue
                    if time.monotonic() > deadline:
                        print("the time is over; the same command goes on from here", file=sys.stderr)
                        return
                    setting = side["precision"] or f"-fa {side['flash_attn']}"
                    print(f"round {done + 1}: {model.name} {work} {side['who']} {setting}", file=sys.stderr)
                    try:
                        line = measured(args, model, work, side, done)
                    except (Broken, OSError) as error:
                        raise SystemExit(f"{work} on {side['who']} failed: {error}") from error
                    results.add(key, line)
                    if line["disturbed"]:
                        print(f"does not count: others took {line['others_cpu']:.2f} processors; the same command "
                              "measures it again", file=sys.stderr)


# Of each work: what is shown (its name in a line, what to multiply it by, its unit) and the bar on our figure, where
# there is one: by what it is compared and the most or least that it may be.
FIGURES = {
    "clients16": [
        ("value", 1, "answer tokens/s", ("ratio", ">=", 2.5)),
        ("first_p95_s", 1, "p95 time to first token, s", ("ratio", "<", 1.0)),
        ("first_p50_s", 1, "p50 time to first token, s", None),
    ],
    "long": [
        ("value", 1000, "p99 between tokens beside the prompt, ms", ("ratio", "<", 0.5)),
        ("before_median_s", 1000, "median between tokens before, ms", None),
        ("during_tokens_per_s", 1, "answer tokens/s beside the prompt", None),
        ("first_s", 1, "time to first token of the prompt, s", None),
    ],
    "prefix": [
        ("value", 100, "second time to first token, % of the first", ("own", "<=", 10.0)),
        ("first_s", 1, "first time to first token, s", None),
        ("second_s", 1, "second time to first token, s", None),
    ],
}
# Whether the better flash-attention setting has the greater value of a work.
GREATER_IS_BETTER = {"clients16": True, "long": False, "prefix": False}


def better_setting(args, model, work, results):
    """llama-server's key of the setting with the better value, or None where nothing was measured."""
    theirs = [key_of(args, model, work, side) for side in sides(args) if side["who"] == "llama.cpp"]
    theirs = [key for key in theirs if results.median(key) is not None]
    choose = max if GREATER_IS_BETTER[work] else min
    return choose(theirs, key=results.median, default=None)


def is_met(comparison, value, bound):
    return {">=": value >= bound, "<=": value <= bound, "<": value < bound}[comparison]


def rows(args, works, results):
    """A row for each figure, in the units that it is shown in."""
    for model in args.model:
        for precision in args.precision.split(","):
            for work in works:
                own = key_of(args, model, work, {"who": "ours", "precision": precision, "flash_attn": None})
                peer = better_setting(args, model, work, results)
                common = {"model": model.stem, "precision": precision, "work": work, "rounds": len(results.of(own)),
                          "flash_attn": peer and peer["flash_attn"]}
                for name, factor, unit, bar in FIGURES[work]:
                    mine = results.median(own, name)
                    theirs = results.median(peer, name) if peer else None
                    yield row(common, unit, mine and mine * factor, theirs and theirs * factor, bar)
                if work == "long":
                    mine, before = results.median(own), results.median(own, "before_median_s")
                    theirs, theirs_before = (results.median(peer, name) if peer else None
                                             for name in ("value", "before_median_s"))
                    yield row(common, "that p99 as a multiple of that median", mine and mine / before,
                              theirs and theirs / theirs_before, ("own", "<", 3.0))


def row(common, unit, mine, theirs, bar):
    ratio = mine / theirs if mine is not None and theirs else None
    wanted = met = None
    if bar:
        of, comparison, bound = bar
        held = ratio if of == "ratio" else mine
        wanted, met = f"{of} {comparison} {bound}", None if held is None else is_met(comparison, held, bound)
    return {**common, "figure": unit, "peer": theirs, "ours": mine, "ratio": ratio and round(ratio, 3), "bar": wanted,
            "met": met}


def markdown(table):
    yield "| model, precision | work | figure | llama-server | ours | ratio | bar | rounds |"
    yield "|---|---|---|---|---|---|---|---|"
    for row in table:
        number = lambda value: "not measured here" if value is None else f"{value:.2f}" if value < 10 else f"{value:.0f}"
        wanted = (row["bar"] or "").replace("own ", "ours ").replace(">=", "≥").replace("<=", "≤")
        wanted += ", missed" if row["met"] is False else ""
        setting = f" (-fa {row['flash_attn']})" if row["flash_attn"] else ""
        yield (f"| {row['model']}, `{row['precision']}` | {row['work']} | {row['figure']} | {number(row['peer'])}{setting} | "
               f"{number(row['ours'])} | {number(row['ratio'])} | {wanted} | {row['rounds']} |")


def costs(args, works, results):
    """What the client took, since it shares the machine with what it measures, and what the servers used."""
    yield ("\n| work | side | client, % of a processor | server, processors (in the system) | others | resident, MiB | "
           "prompt, answer tokens |")
    yield "|---|---|---|---|---|---|---|"
    for model in args.model:
        for work in works:
            for side in sides(args):
                key = key_of(args, model, work, side)
                if results.median(key) is None:
                    continue
                name = f"ours, {side['precision']}" if side["who"] == "ours" else f"llama-server, -fa {side['flash_attn']}"
                tokens = ", ".join(str(results.median(key, count)) for count in ("prompt_tokens", "answer_tokens")
                                   if results.median(key, count) is not None)
                yield (f"| {work} | {name} | {100 * results.median(key, 'client_cpu'):.1f} | "
                       f"{results.median(key, 'server_cpu'):.2f} ({results.median(key, 'system_cpu'):.2f}) | "
                       f"{results.median(key, 'others_cpu'):.2f} | "
                       f"{results.median(key, 'resident_bytes') / 2**20:.0f} | {tokens} |")


def record(args, table):
    """Keeps a file for each model and precision."""
    day, cpu = datetime.date.today().isoformat(), processor()
    for model, precision in sorted({(row["model"], row["precision"]) for row in table}):
        own = [row for row in table
               if (row["model"], row["precision"]) == (model, precision) and row["ours"] is not None]
        if not own:
            continue
        name = f"{day}-{re.sub(r'[^a-z0-9]+', '-', cpu.lower()).strip('-')}-{model}-{precision}-serving.json"
        place = HERE / "record" / name
        place.parent.mkdir(exist_ok=True)
        kept = {"cpu": cpu, "date": day, "threads": args.threads, "model": model, "precision": precision,
                "asks": args.asks, "settings": args.settings, "results": own}
        place.write_text(json.dumps(kept, indent=1) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="+", type=pathlib.Path)
    parser.add_argument("--llama-server", help="the peer's program; without it we are measured alone")
    parser.add_argument("--weighbridge", default=str(HERE.parent / "target/release/weighbridge"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--works", default=WORKS, help=f"default: {WORKS}")
    parser.add_argument("--precision", default="fast", help="one or more of f32, exact, fast")
    parser.add_argument("--asks", type=int, default=1, help="how often each of the 16 clients asks; default: 1")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--settings", default="", help="more of [[models]] on our side: 'prefill_ms = 200; kv = \"q8_0\"'")
    parser.add_argument("--others", type=float, default=0.15,
                        help="a measurement beside which others took more processors does not count")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--minutes", type=float, help="begin no measurement after so many")
    parser.add_argument("--results", type=pathlib.Path, default=pathlib.Path("serving.jsonl"), help="where lines are kept")
    parser.add_argument("--record", action="store_true")
    args = parser.parse_args()
    works = args.works.split(",")
    unknown = [work for work in works if work not in FIGURES]
    if unknown:
        parser.error(f"no such work: {', '.join(unknown)}")

    results = Results(args.results)
    measure(args, works, results)
    table = list(rows(args, works, results))
    print("\n".join([*markdown(table), *costs(args, works, results)]))
    if args.record:
        record(args, table)


if __name__ == "__main__":
    main()
