"""What serving.py, soak.py, loading.py and streams.py reckon, without a server: python3 -m unittest discover benches"""
import argparse
import asyncio
import json
import pathlib
import random
import tempfile
import unittest

import loading
import serving
import soak
from compare import Results
from streams import Broken, Stream, metric, quantile


def stream_of(*chunks):
    """A stream that receives these chunks of a connection."""
    reader = asyncio.StreamReader()
    reader.feed_data(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    for chunk in chunks:
        reader.feed_data(b"%x\r\n%s\r\n" % (len(chunk), chunk))
    reader.feed_eof()
    return Stream(reader, None)


def event(text, choice=0, finish=None, usage=None):
    delta = {"index": choice, "delta": {"content": text}, "finish_reason": finish}
    return b"data: " + json.dumps({"choices": [delta], "usage": usage}).encode() + b"\n\n"


async def drained(stream):
    while await stream.next():
        pass
    stream.hold_whole()
    return stream


class Streams(unittest.IsolatedAsyncioTestCase):
    async def test_events_are_found_however_the_connection_cuts_them(self):
        usage = {"prompt_tokens": 3, "completion_tokens": 2}
        sent = event("a") + b": keep-alive\n\n" + event("b", 1) + event("c", 0, "stop", usage) + b"data: [DONE]\n\n"
        for size in (1, 7, len(sent)):
            chunks = [sent[at:at + size] for at in range(0, len(sent), size)]
            stream = await drained(stream_of(*chunks, b""))
            self.assertEqual((stream.text, stream.usage, len(stream.times)), ({0: ["a", "c"], 1: ["b"]}, usage, 3))

    async def test_what_does_not_come_whole_is_broken(self):
        for chunks in ([event("a")], [event("a"), b""], [b'data: {"error": {"message": "no"}}\n\n', b""]):
            with self.assertRaises(Broken):
                await drained(stream_of(*chunks))


class Arithmetic(unittest.TestCase):
    def test_a_quantile_is_a_value_that_was_seen(self):
        values = list(range(1, 101))
        self.assertEqual([quantile(values, share) for share in (0.0, 0.5, 0.95, 0.99, 1.0)], [1, 50, 95, 99, 100])
        self.assertEqual((quantile([3, 1, 2], 0.5), quantile([5], 0.99), quantile([], 0.5)), (2, 5, None))

    def test_metrics_are_summed_by_name_and_labels(self):
        page = '# TYPE a gauge\na{x="1",y="p"} 2\na{x="2",y="p"} 3\nab 4.5\n# EOF\n'
        self.assertEqual((metric(page, "a"), metric(page, "a", x="2"), metric(page, "ab"), metric(page, "b")),
                         (5, 3, 4.5, None))

    def test_every_round_asks_for_as_many_tokens(self):
        rounds = [serving.spread(random.Random(seed), (100, 2000), 16) for seed in range(3)]
        self.assertTrue(all(sorted(numbers) == sorted(rounds[0]) for numbers in rounds))
        self.assertEqual((min(rounds[0]), max(rounds[0])), (100, 2000))

    def test_what_is_left_of_the_machine_was_used_by_others(self):
        costs = serving.shares((0.0, 1.0, 10.0, 2.0, 100.0), (10.0, 2.0, 25.0, 3.0, 118.0))
        self.assertEqual(costs, {"took_s": 10.0, "client_cpu": 0.1, "server_cpu": 1.5, "system_cpu": 0.1, "others_cpu": 0.2})

    def test_gaps_that_reach_into_a_window_belong_to_it(self):
        stream = argparse.Namespace(times=[0.0, 1.0, 2.0, 5.0, 6.0], tokens=[1, 2, 3, 4, 5])
        self.assertEqual(serving.gaps(stream, 2.5, 4.0), [3.0])
        self.assertEqual(serving.gaps(stream, 1.5, 5.5), [1.0, 3.0, 1.0])
        self.assertEqual(serving.gaps(stream, 6.0, 9.0), [])

    def test_tokens_that_come_as_one_piece_have_a_gap_each(self):
        stream = argparse.Namespace(times=[0.0, 1.0, 3.0, 3.0], tokens=[1, 2, 4, 5])
        self.assertEqual(serving.gaps(stream, 0.0, 4.0), [1.0, 1.0, 1.0, 0.0])


class Table(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.args = argparse.Namespace(model=[pathlib.Path("m.gguf")], precision="fast", threads=2, asks=1, settings="",
                                       llama_server="x")
        self.results = Results(pathlib.Path(folder.name) / "lines.jsonl")

    def add(self, work, who, **measured):
        measured = {"disturbed": False, **measured}
        side = next(side for side in serving.sides(self.args) if who in (side["who"], side["flash_attn"]))
        self.results.add(serving.key_of(self.args, self.args.model[0], work, side), measured)

    def found(self, work):
        return {row["figure"]: row for row in serving.rows(self.args, [work], self.results)}

    def test_the_better_setting_of_the_peer_counts(self):
        for setting, rate in (("on", 20.0), ("off", 30.0)):
            self.add("clients16", setting, value=rate, first_p95_s=60.0, first_p50_s=30.0)
        self.add("clients16", "ours", value=80.0, first_p95_s=50.0, first_p50_s=10.0)
        rows = self.found("clients16")
        rate = rows["answer tokens/s"]
        self.assertEqual((rate["peer"], rate["flash_attn"], rate["ratio"], rate["met"]), (30.0, "off", 2.667, True))
        self.assertTrue(rows["p95 time to first token, s"]["met"])

    def test_what_others_disturbed_does_not_count(self):
        self.add("prefix", "ours", value=0.2, first_s=10.0, second_s=2.0, disturbed=True)
        self.add("prefix", "ours", value=0.05, first_s=10.0, second_s=0.5)
        row = self.found("prefix")["second time to first token, % of the first"]
        self.assertEqual((row["ours"], row["rounds"], row["met"]), (5.0, 1, True))

    def test_a_long_prompt_is_held_to_both_its_bars(self):
        self.add("long", "on", value=20.0, before_median_s=0.2, during_tokens_per_s=1.0, first_s=40.0)
        self.add("long", "ours", value=0.7, before_median_s=0.2, during_tokens_per_s=20.0, first_s=50.0)
        rows = self.found("long")
        self.assertTrue(rows["p99 between tokens beside the prompt, ms"]["met"])
        multiple = rows["that p99 as a multiple of that median"]
        self.assertAlmostEqual(multiple["ours"], 3.5)
        self.assertFalse(multiple["met"])

    def test_what_was_not_measured_is_neither_met_nor_missed(self):
        rows = list(serving.rows(self.args, ["prefix"], self.results))
        self.assertTrue(all(row["met"] is None for row in rows))
        self.assertTrue(any("not measured here" in line for line in serving.markdown(rows)))


class Soak(unittest.TestCase):
    def test_a_tenth_reads_slowly_and_a_tenth_hangs_up(self):
        kinds = [soak.kind_of(place) for place in range(1000)]
        self.assertEqual([kinds.count(kind) for kind in soak.KINDS], [800, 100, 100])

    def test_pages_are_told_by_state_where_there_are_any(self):
        page = 'weighbridge_pages{backend="demo",state="used"} 0\nweighbridge_pages{backend="demo",state="free"} 7\n'
        self.assertEqual(soak.pages_of(page), {"used": 0.0, "free": 7.0})
        self.assertEqual(soak.pages_of("weighbridge_queue_running 0\n"), {})


class Loading(unittest.TestCase):
    LOG = ('INFO loading model="a"\nINFO loaded model="a" seconds=0.5\nINFO loaded model="b" seconds=2\n'
           'INFO unloaded model="a"\nINFO loaded model="a" seconds=1.25\n')

    def test_loads_are_read_from_the_log(self):
        self.assertEqual(loading.loads_in(self.LOG), {"a": [0.5, 1.25], "b": [2.0]})

    def test_three_models_make_a_table(self):
        caller = loading.Caller(None, "a", 0)
        caller.heard = [(0.5, 1.0), (1.5, 4.0)]
        first, *_ = loading.turns_table(["a", "b"], {"a": 10, "b": 20}, [caller], loading.loads_in(self.LOG)).splitlines()[2:]
        self.assertEqual(first, "| a | 10 | 2 | 1.00 and 1.50 s | 4.00 s | 2 | 1.25 s |")


if __name__ == "__main__":
    unittest.main()
