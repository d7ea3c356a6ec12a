"""Every body and every event off the wire against the official SDKs' types, strictly: nothing missing, nothing more than
docs/endpoint.md declares ours, no word that a type does not have."""

import json
import pathlib
import sys
import unittest
import urllib.error
import urllib.request

import pydantic
from anthropic.types import Message, MessageTokensCount, ModelInfo, RawMessageStreamEvent
from anthropic.types.shared import ErrorResponse
from openai.types import Completion, Model
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.shared import ErrorObject

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from program import KEY, REPOSITORY  # noqa: E402
from shapes import check_wire  # noqa: E402
from test_responses_sdk import WithProvider  # noqa: E402

GOLDENS = json.loads((REPOSITORY / "models/demo/golden.json").read_text())
WEATHER = "What is the weather in Oslo?"
TOOLS = next(golden["tools"] for golden in GOLDENS if golden.get("tools"))
CUSTOM = [{"type": "custom", "custom": {"name": "sh"}}]
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}
FORMAT = {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}}

# What is asked, by which model, with which settings.
CHATS = [
    ("Hello", "demo", {}),
    ("Hello", "demo", {"n": 2, "seed": 7, "temperature": 1, "max_tokens": 5}),
    ("Hello", "demo", {"logprobs": True, "top_logprobs": 2}),
    ("Hello", "demo", {"response_format": FORMAT, "max_tokens": 40, "logprobs": True}),
    (WEATHER, "demo", {"tools": TOOLS}),
    (WEATHER, "demo", {"tools": TOOLS, "tool_choice": "required", "logprobs": True}),
    ("think", "up/m", {}),
    ("refuse", "up/m", {}),
    ("json", "up/m", {"logprobs": True, "top_logprobs": 1}),
    ("custom", "up/m", {"tools": CUSTOM}),
]
COMPLETIONS = [
    {"prompt": "Once upon"},
    {"prompt": ["Once upon", "The capital"], "n": 2, "seed": 7},
    {"prompt": "Once upon", "logprobs": 2},
    {"prompt": "Once upon", "echo": True, "logprobs": 1},
]
MESSAGES = [
    ("Hello", "demo", {}),
    ("Repeat: river moon stone", "demo", {"max_tokens": 2}),
    ("What is the capital of Japan?", "demo", {"stop_sequences": [" is"]}),
    (WEATHER, "demo", {"tools": [{"name": "get_weather", "input_schema": TOOLS[0]["function"]["parameters"]}]}),
    ("think", "up/m", {}),
    ("think", "up/m", {"thinking": {"type": "adaptive", "display": "omitted"}}),
    ("refuse", "up/m", {}),
]


class Wire(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.program = WithProvider()
        cls.program.__enter__()
        cls.addClassCleanup(cls.program.__exit__)

    def send(self, path, body=None, **headers):
        """The status and the text of an answer. A body is sent as JSON unless it is bytes already."""
        named = {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"}
        named |= {name.replace("_", "-"): value for name, value in headers.items()}
        data = json.dumps(body).encode() if isinstance(body, dict) else body
        request = urllib.request.Request(self.program.url + path, data, named)
        try:
            with urllib.request.urlopen(request, timeout=60) as reply:
                return reply.status, reply.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def whole(self, path, body, **headers):
        status, text = self.send(path, body, **headers)
        self.assertEqual(status, 200, text)
        return text

    def events(self, path, body, **headers):
        """The data of each event of a stream, and its name where it has one."""
        text = self.whole(path, {**body, "stream": True}, **headers)
        events = []
        for event in text.split("\n\n")[:-1]:
            lines = [line for line in event.split("\n") if not line.startswith(":")]
            self.assertIn(len(lines), (1, 2), event)
            self.assertTrue(lines[-1].startswith("data: "), event)
            name = lines[0].removeprefix("event: ") if len(lines) == 2 else None
            events.append((name, lines[-1].removeprefix("data: ")))
        return events

    def chunks(self, kind, path, body):
        """The chunks of a stream of OpenAI's, each checked."""
        *events, (name, last) = self.events(path, body)
        self.assertEqual((name, last), (None, "[DONE]"))
        self.assertTrue(all(name is None for name, _ in events))
        chunks = [check_wire(kind, data) for _, data in events]
        self.assertEqual(len({(chunk["id"], chunk["created"], chunk["model"]) for chunk in chunks}), 1)
        self.assertEqual(["weighbridge" in chunk for chunk in chunks], [False] * (len(chunks) - 1) + [True])
        return chunks

    def test_chat_completions(self):
        for text, model, settings in CHATS:
            body = {"model": model, "temperature": 0, "messages": [{"role": "user", "content": text}], **settings}
            with self.subTest(text, **settings):
                answer = check_wire(ChatCompletion, self.whole("/v1/chat/completions", body))
                chunks = self.chunks(ChatCompletionChunk, "/v1/chat/completions", body)
                self.assertFalse(any("usage" in chunk for chunk in chunks))
                counted = {**body, "stream_options": {"include_usage": True}}
                chunks = self.chunks(ChatCompletionChunk, "/v1/chat/completions", counted)
                self.assertEqual(chunks[-1]["choices"], [])
                self.assertEqual([chunk["usage"] is None for chunk in chunks], [True] * (len(chunks) - 1) + [False])
                for choice in answer["choices"]:
                    said = [c for chunk in chunks for c in chunk["choices"] if c["index"] == choice["index"]]
                    self.assertEqual(said[0]["delta"], {"role": "assistant", "content": "", "refusal": None})
                    self.assertEqual(
                        [c["finish_reason"] for c in said], [None] * (len(said) - 1) + [choice["finish_reason"]]
                    )
                    content = "".join(c["delta"].get("content", "") for c in said)
                    self.assertEqual(content, choice["message"]["content"] or "")

    def test_text_completions(self):
        for settings in COMPLETIONS:
            body = {"model": "demo", "temperature": 0, "max_tokens": 4, **settings}
            with self.subTest(**settings):
                answer = check_wire(Completion, self.whole("/v1/completions", body))
                chunks = self.chunks(Completion, "/v1/completions", body)
                self.assertFalse(any("usage" in chunk for chunk in chunks))
                counted = {**body, "stream_options": {"include_usage": True}}
                chunks = self.chunks(Completion, "/v1/completions", counted)
                self.assertEqual([chunk["usage"] is None for chunk in chunks], [True] * (len(chunks) - 1) + [False])
                for choice in answer["choices"]:
                    said = [c for chunk in chunks for c in chunk["choices"] if c["index"] == choice["index"]]
                    self.assertEqual("".join(c["text"] for c in said), choice["text"])
                    self.assertEqual(said[-1]["finish_reason"], choice["finish_reason"])
                    self.assertTrue(all(c["finish_reason"] is None for c in said[:-1]))

    def test_messages(self):
        version = {"anthropic_version": "2023-06-01"}
        for text, model, settings in MESSAGES:
            asked = [{"role": "user", "content": text}]
            body = {"model": model, "max_tokens": 64, "temperature": 0, "messages": asked, **settings}
            with self.subTest(text, **settings):
                message = check_wire(Message, self.whole("/v1/messages", body, **version))
                events = self.events("/v1/messages", body, **version)
                for name, data in events:
                    self.assertEqual(json.loads(data)["type"], name)
                    if name == "ping":
                        self.assertEqual(json.loads(data), {"type": "ping"})
                    else:
                        check_wire(RawMessageStreamEvent, data)
                end = json.loads(events[-2][1])
                self.assertEqual(end["delta"]["stop_reason"], message["stop_reason"])
                self.assertEqual(events[-1], ("message_stop", '{"type":"message_stop"}'))
        counted = {"model": "demo", "messages": [{"role": "user", "content": "Hello"}]}
        check_wire(MessageTokensCount, self.whole("/v1/messages/count_tokens", counted))

    def test_models(self):
        listed = json.loads(self.whole("/v1/models", None))
        self.assertEqual((set(listed), listed["object"]), ({"object", "data"}, "list"))
        for model in listed["data"]:
            check_wire(Model, json.dumps(model))
            check_wire(Model, self.whole(f"/v1/models/{model['id']}", None))
        page = json.loads(self.whole("/v1/models", None, anthropic_version="2023-06-01"))
        self.assertEqual(set(page), {"data", "has_more", "first_id", "last_id"})
        for model in page["data"]:
            check_wire(ModelInfo, json.dumps(model))
            check_wire(ModelInfo, self.whole(f"/v1/models/{model['id']}", None, anthropic_version="2023-06-01"))

    def assert_openai_error(self, status, expected, text):
        self.assertEqual(status, expected, text)
        body = json.loads(text)
        self.assertEqual(set(body), {"error"})
        return check_wire(ErrorObject, json.dumps(body["error"]))

    def test_errors_of_openais(self):
        hello = {"model": "demo", "messages": [{"role": "user", "content": "Hello"}]}
        for status, path, body, headers in [
            (400, "/v1/chat/completions", {}, {}),
            (400, "/v1/chat/completions", {**hello, "new": 1}, {}),
            (400, "/v1/completions", {"model": "demo", "prompt": 5}, {}),
            (400, "/v1/responses", {"model": "demo", "input": 5}, {}),
            (400, "/tokenize", {"model": "demo"}, {}),
            (401, "/v1/chat/completions", hello, {"Authorization": "Bearer another-key"}),
            (403, "/v1/chat/completions", hello, {"x_weighbridge_class": "restricted"}),
            (404, "/v1/chat/completions", {**hello, "model": "nothing"}, {}),
            (404, "/v1/nothing", None, {}),
            (404, "/v1/embeddings", {}, {}),
            (404, "/v1/chat/completions", None, {}),
            (405, "/v1/completions", None, {}),
            (413, "/v1/chat/completions", b" " * (19 << 20), {}),
            (415, "/v1/chat/completions", b"x", {"Content_Type": "text/plain"}),
            (502, "/v1/chat/completions", {**hello, "model": "broken/m"}, {}),
        ]:
            with self.subTest(status, path=path):
                told, text = self.send(path, body, **headers)
                self.assert_openai_error(told, status, text)

    def test_a_stream_that_breaks_off(self):
        hello = {"model": "broken/m", "messages": [{"role": "user", "content": "Hello"}]}
        *events, (name, last) = self.events("/v1/chat/completions", hello)
        self.assertIsNone(name)
        for _, data in events:
            check_wire(ChatCompletionChunk, data)
        self.assert_openai_error(200, 200, last)
        *events, (name, last) = self.events("/v1/messages", {**hello, "max_tokens": 9})
        self.assertEqual(name, "error")
        for name, data in events:
            if name != "ping":
                check_wire(RawMessageStreamEvent, data)
        check_wire(ErrorResponse, last)

    def test_errors_of_anthropics(self):
        hello = {"model": "demo", "max_tokens": 9, "messages": [{"role": "user", "content": "Hello"}]}
        for status, path, body, headers in [
            (400, "/v1/messages", {}, {}),
            (400, "/v1/messages", hello, {"anthropic_version": "2022-01-01"}),
            (400, "/v1/messages", hello, {"x_request_id": "two words"}),
            (401, "/v1/messages", hello, {"Authorization": "Bearer another-key"}),
            (403, "/v1/messages", hello, {"x_weighbridge_class": "restricted"}),
            (404, "/v1/messages", {**hello, "model": "nothing"}, {}),
            (404, "/v1/messages/batches", {}, {}),
            (405, "/v1/messages", None, {}),
            (415, "/v1/messages", b"x", {"Content_Type": "text/plain"}),
            (502, "/v1/messages", {**hello, "model": "broken/m"}, {}),
            (404, "/v1/models/nothing", None, {"anthropic_version": "2023-06-01"}),
        ]:
            with self.subTest(status, path=path):
                told, text = self.send(path, body, **headers)
                self.assertEqual(told, status, text)
                self.assertTrue(check_wire(ErrorResponse, text)["request_id"])
        # The type that Anthropic documents for it is not among the SDK's.
        status, text = self.send("/v1/messages", b" " * (19 << 20))
        body = json.loads(text)
        self.assertEqual((status, body["type"], body["error"]["type"]), (413, "error", "request_too_large"))
        self.assertEqual(set(body), {"type", "error", "request_id"})

    def test_a_shape_that_is_wrong_is_told(self):
        choice = {"index": 0, "delta": {"content": "a"}, "logprobs": None, "finish_reason": None}
        chunk = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
        end = {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": {"output_tokens": 1}}
        for kind, good, wrongs in [
            (
                ChatCompletionChunk,
                chunk,
                [
                    {"new": 1},
                    {"created": "1"},
                    {"object": "chunk"},
                    {"choices": [{**choice, "delta": {"new": 1}}]},
                    {"choices": [{**choice, "finish_reason": "done"}]},
                    {"choices": [{"index": 0, "delta": {}}]},
                ],
            ),
            (RawMessageStreamEvent, end, [{"type": "end"}, {"usage": {"output_tokens": 1, "service_tier": "standard"}}]),
        ]:
            check_wire(kind, json.dumps(good))
            for wrong in wrongs:
                with self.subTest(**wrong), self.assertRaises((AssertionError, pydantic.ValidationError)):
                    check_wire(kind, json.dumps({**good, **wrong}))


if __name__ == "__main__":
    unittest.main()
