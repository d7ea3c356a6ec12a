#!/usr/bin/env python3
"""Our engine against llama.cpp on the same files and threads, in turns.

    pip install llama-cpp-python==0.3.36 numpy     # builds llama.cpp for this CPU
    benches/compare.py MODEL.gguf… --peer PATH/bench_llama_cpp.py [--precision fast,exact] [--works …] [--record]
    benches/compare.py --models DIR --peer … --minutes 30      # later the same again: goes on where it stopped

The peer's script stands beside the references. In each round every work is measured once on each side, one after the
other; the median over the rounds counts. Every measurement is kept in a file of lines (--results), so that a run that
was cut short goes on where it stopped. The table is Markdown, with the bars that the work is held against; --record
keeps it in benches/record/.

Works: ppN is a prompt of N tokens, tgN@D an answer of N tokens after D, streamsN answers of N sequences in the same
steps, load the time until a model can compute (headers, weights, vocabulary), busy an answer beside a process that takes
one of the processors, against our own quiet speed.
"""
import argparse
import collections
import datetime
import json
import os
import pathlib
import platform
import re
import statistics
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
WORKS = "load,pp512,pp4096,tg64@0,tg64@4096,tg64@8192,streams4,streams16,busy"
TYPES = ["Q4_K_M", "Q8_0", "BF16"]
# Least ratios to llama.cpp, in the order of TYPES; of load the most of its time; of busy the least of our own speed.
BARS = {
    "fast": {
        "pp512": [2.2, 3.0, 1.25], "pp4096": [3.0, 3.0, 1.5], "tg64@0": [1.1, 1.1, 1.0],
        "tg64@4096": [1.7, 1.5, 1.15], "tg64@8192": [2.3, 2.0, 1.6], "streams4": [2.5, 2.8, 1.6],
        "streams16": [3.3, 5.0, 2.0], "load": [1.0, 2.0, 2.0], "busy": [0.45, 0.45, 0.45],
    },
    "exact": {
        "pp512": [1.25, 1.7, None], "tg64@0": [1.1, 1.1, None], "streams4": [2.4, 2.4, None],
        "streams16": [2.6, 2.6, None],
    },
}
MIXTURE_BARS = collections.defaultdict(lambda: 1.3, {"tg64@0": 1.05, "load": 2.0, "busy": 0.45})
SMOLLM2_BARS = {"pp512": 4.0, "tg64@0": 1.8}


def lines(command):
    """The JSON objects that a command prints."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))} failed:\n{done.stderr}")
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def options(work):
    """How both programs are asked for one work."""
    pp, tg, streams = "", "", ""
    if work.startswith("pp"):
        pp = work[2:]
    elif work.startswith("tg"):
        tg = work[2:]
    elif work.startswith("streams"):
        streams = work[len("streams"):]
    else:
        tg = "64@0" if work == "busy" else "1@0"
    return ["--pp", pp, "--tg", tg, *(["--streams", streams] if streams else [])]


def found(answers, work):
    """The line of a work: speed of one that is timed, seconds of a load."""
    name = "tg64@0" if work == "busy" else work
    line = next((line for line in answers if line["work"] == name), None)
    if line is None:
        raise SystemExit(f"nothing was measured for {work}")
    return line


def peer(args, model, work):
    """Tokens a second of llama.cpp, at depth with the better of its two settings; seconds of a load."""
    command = [args.python, args.peer, model, "--threads", str(args.threads), "--repeat", "1", *options(work)]
    if work == "load":
        return {"value": found(lines(command), work)["seconds"]}
    is_deep = "@" in work and not work.endswith("@0")
    settings = ["auto", "off"] if is_deep else ["auto"]
    rates = {setting: found(lines([*command, "--flash-attn", setting]), work)["median"] for setting in settings}
    best = max(rates, key=rates.get)
    return {"value": rates[best], "flash_attn": best}


def ours(args, model, work, precision):
    command = [args.weighbridge, "bench", model, "--threads", str(args.threads), "--repeat", "1", "--json",
               "--precision", precision, *(["--tier", args.tier] if args.tier else []), *options(work)]
    answers = lines(command)
    line = found(answers, work)
    if work == "load":
        return {"value": line["seconds"], "resident_bytes": line.get("resident_bytes")}
    return {"value": line["median"], "share": line.get("share"), "limit": line.get("limit")}


def beside_busy(args, model, precision):
    """Our speed beside a process that takes the last of our processors, against that without it."""
    quiet = ours(args, model, "busy", precision)["value"]
    last = max(os.sched_getaffinity(0))
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"], preexec_fn=lambda: os.sched_setaffinity(0, {last}))
    try:
        beside = ours(args, model, "busy", precision)["value"]
    finally:
        busy.kill()
        busy.wait()
    return {"value": beside, "quiet": quiet}


class Results:
    """Measurements in a file of lines, added to as they come."""

    def __init__(self, path):
        self.path = path
        self.all = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def add(self, key, measured):
        line = {**key, **measured, "at": datetime.datetime.now().isoformat(timespec="seconds")}
        self.all.append(line)
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")

    def of(self, key):
        return [line for line in self.all if all(line.get(name) == value for name, value in key.items())]

    def median(self, key, name="value"):
        values = [line[name] for line in self.of(key) if line.get(name) is not None]
        return statistics.median(values) if values else None


def sides(precisions, work):
    """Who measures a work, in the order of a round."""
    theirs = [] if work == "busy" else [("llama.cpp", None)]
    return theirs + [("ours", precision) for precision in precisions]


def measure(args, models, works, precisions, results):
    """Measures what is not there yet, as long as there is time."""
    deadline = time.monotonic() + 60 * args.minutes if args.minutes else float("inf")
    for done in range(args.rounds):
        for model in models:
            for work in works:
                for who, precision in sides(precisions, work):
                    key = {"model": model.name, "work": work, "who": who, "precision": precision, "tier": args.tier,
                           "threads": args.threads}
                    if len(results.of(key)) > done:
                        continue
                    if time.monotonic() > deadline:
                        print("the time is over; the same command goes on from here", file=sys.stderr)
                        return
                    print(f"round {done + 1}: {model.name} {work} {who} {precision or ''}", file=sys.stderr)
                    if who == "llama.cpp":
                        measured = peer(args, model, work)
                    elif work == "busy":
                        measured = beside_busy(args, model, precision)
                    else:
                        measured = ours(args, model, work, precision)
                    results.add(key, measured)


def bar(model, work, precision):
    name = model.stem.lower()
    if "moe" in name:
        return MIXTURE_BARS[work] if precision == "fast" else None
    if "smollm2" in name:
        return SMOLLM2_BARS.get(work) if precision == "fast" else None
    kind = next((index for index, kind in enumerate(TYPES) if kind.lower() in name), None)
    bars = BARS["fast"][work] if work in ("load", "busy") else BARS.get(precision, {}).get(work)
    return bars[kind] if bars and kind is not None else None


def rows(args, models, works, precisions, results):
    for model in models:
        for precision in precisions:
            for work in works:
                common = {"model": model.name, "work": work, "tier": args.tier, "threads": args.threads}
                own = {**common, "who": "ours", "precision": precision}
                mine = results.median(own)
                theirs = results.median(own, "quiet") if work == "busy" else results.median({**common, "who": "llama.cpp"})
                limits = {line.get("limit") for line in results.of(own)} - {None}
                yield {"model": model.stem, "precision": precision, "work": work, "peer": theirs, "ours": mine,
                       "ratio": round(mine / theirs, 2) if mine and theirs else None, "bar": bar(model, work, precision),
                       "share": results.median(own, "share"), "limit": next(iter(limits), None),
                       "resident_bytes": results.median(own, "resident_bytes"), "file_bytes": model.stat().st_size,
                       "rounds": len(results.of(own))}


def markdown(table):
    yield "| model, precision | work | llama.cpp | ours | ratio | bar | share of the limit | rounds |"
    yield "|---|---|---|---|---|---|---|---|"
    for row in table:
        number = lambda value, digits: "not measured here" if value is None else f"{value:.{digits}f}"
        digits = 2 if row["work"] == "load" else 1
        at_most = row["work"] == "load"
        wanted = "" if row["bar"] is None else f"{'≤' if at_most else '≥'} {row['bar']}"
        if row["bar"] is not None and row["ratio"] is not None:
            is_met = row["ratio"] <= row["bar"] if at_most else row["ratio"] >= row["bar"]
            wanted += "" if is_met else ", missed"
        share = "" if row["share"] is None else f"{100 * row['share']:.0f} % of {row['limit']}"
        if row["resident_bytes"]:
            share = f"resident {row['resident_bytes'] / row['file_bytes']:.2f} × the file"
        work = "busy (of our quiet speed)" if row["work"] == "busy" else row["work"]
        yield (f"| {row['model']}, `{row['precision']}` | {work} | {number(row['peer'], digits)} | "
               f"{number(row['ours'], digits)} | {number(row['ratio'], 2)} | {wanted} | {share} | {row['rounds']} |")


def processor():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown"


def record(args, table):
    """Keeps a file for each model and precision."""
    day = datetime.date.today().isoformat()
    for (model, precision), own in grouped(table).items():
        cpu = re.sub(r"\W+", "-", processor().lower()).strip("-")
        place = HERE / "record" / f"{day}-{cpu}-{model}-{precision}{'-' + args.tier if args.tier else ''}.json"
        place.parent.mkdir(exist_ok=True)
        kept = {"cpu": processor(), "date": day, "threads": args.threads, "model": model, "precision": precision,
                "tier": args.tier, "rounds": args.rounds, "results": own}
        place.write_text(json.dumps(kept, indent=1) + "\n")


def grouped(table):
    groups = collections.defaultdict(list)
    for row in table:
        if row["ours"] is not None:
            groups[row["model"], row["precision"]].append(row)
    return groups


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="*", type=pathlib.Path)
    parser.add_argument("--models", type=pathlib.Path, metavar="DIR", help="all .gguf files of this folder")
    parser.add_argument("--peer", required=True, help="bench_llama_cpp.py")
    parser.add_argument("--python", default=sys.executable, help="the Python that has llama_cpp")
    parser.add_argument("--weighbridge", default=str(HERE.parent / "target/release/weighbridge"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--works", default=WORKS, help=f"default: {WORKS}")
    parser.add_argument("--precision", default="fast", help="one or more of f32, exact, fast")
    parser.add_argument("--tier", help="which instructions we use; default: the best")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--minutes", type=float, help="begin no measurement after so many")
    parser.add_argument("--results", type=pathlib.Path, default=pathlib.Path("compare.jsonl"), help="where lines are kept")
    parser.add_argument("--record", action="store_true")
    args = parser.parse_args()
    models = [*args.model, *(sorted(args.models.glob("*.gguf")) if args.models else [])]
    if not models:
        parser.error("name a model, or a folder of them with --models")
    works, precisions = args.works.split(","), args.precision.split(",")
    unknown = [work for work in works if not re.fullmatch(r"load|busy|pp\d+|tg\d+@\d+|streams\d+", work)]
    if unknown:
        parser.error(f"no such work: {', '.join(unknown)}")

    results = Results(args.results)
    measure(args, models, works, precisions, results)
    table = list(rows(args, models, works, precisions, results))
    print("\n".join(markdown(table)))
    if args.record:
        record(args, table)


if __name__ == "__main__":
    main()
