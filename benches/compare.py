#!/usr/bin/env python3
"""Our engine against llama.cpp on the same file and threads, in turns.

    pip install llama-cpp-python==0.3.36 numpy     # builds llama.cpp for this CPU
    benches/compare.py MODEL.gguf --peer PATH/bench_llama_cpp.py [--rounds 3] [--precision fast] [--record]

The peer's script stands beside the references. Each round runs the peer (with and without its flash attention at
depth) and us once; medians and their ratio are printed, and with --record kept in benches/record/.
"""
import argparse
import collections
import datetime
import json
import pathlib
import platform
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent


def lines(command):
    """The JSON objects that a command prints."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def peer(args):
    base = [args.python, args.peer, args.model, "--threads", str(args.threads), "--repeat", "1"]
    found = []
    if args.pp or args.tg:
        for attention in ["auto", "off"] if "@" in args.tg and any(int(p.split("@")[1]) > 0 for p in args.tg.split(",")) else ["auto"]:
            found += lines([*base, "--pp", args.pp, "--tg", args.tg, "--flash-attn", attention])
    if args.streams:
        found += lines([*base, "--pp", "", "--tg", "", "--streams", args.streams])
    return found


def ours(args):
    command = [args.weighbridge, "bench", args.model, "--threads", str(args.threads), "--repeat", "1", "--json",
               "--precision", args.precision, "--pp", args.pp, "--tg", args.tg]
    return lines(command + (["--streams", args.streams] if args.streams else []))


def processor():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--peer", required=True, help="bench_llama_cpp.py")
    parser.add_argument("--python", default=sys.executable, help="the Python that has llama_cpp")
    parser.add_argument("--weighbridge", default=str(HERE.parent / "target/release/weighbridge"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--pp", default="512")
    parser.add_argument("--tg", default="64@0")
    parser.add_argument("--streams", default="4,16")
    parser.add_argument("--precision", default="fast")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--record", action="store_true")
    args = parser.parse_args()

    rates = {"peer": collections.defaultdict(list), "ours": collections.defaultdict(list)}
    shares = collections.defaultdict(list)
    for _ in range(args.rounds):
        for who, measure in [("peer", peer), ("ours", ours)]:
            best = {}
            for line in measure(args):
                if "tokens_per_s" in line:
                    best[line["work"]] = max(best.get(line["work"], 0), line["median"])
                if "share" in line:
                    shares[line["work"]].append(line["share"])
            for work, rate in best.items():
                rates[who][work].append(rate)
    results = []
    for work, theirs in rates["peer"].items():
        mine = rates["ours"].get(work)
        if mine:
            share = round(statistics.median(shares[work]), 3) if shares[work] else None
            results.append({"work": work, "peer": statistics.median(theirs), "ours": statistics.median(mine),
                            "ratio": round(statistics.median(mine) / statistics.median(theirs), 2), "share": share})
    for it in results:
        print(f"{it['work']:14} llama.cpp {it['peer']:8.2f}  ours {it['ours']:8.2f}  ratio {it['ratio']:5.2f}  share {it['share']}")
    if args.record:
        day = datetime.date.today().isoformat()
        model = pathlib.Path(args.model).stem
        place = HERE / "record" / f"{day}-{processor().replace(' ', '-').lower()}-{model}-{args.precision}.json"
        place.parent.mkdir(exist_ok=True)
        place.write_text(json.dumps({"cpu": processor(), "date": day, "threads": args.threads, "model": model,
                                     "precision": args.precision, "rounds": args.rounds, "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
