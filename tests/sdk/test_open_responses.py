"""Responses by the types of the Open Responses specification, which require more than OpenAI's: every body and event
has each of its fields."""

import json
import pathlib
import sys
import unittest
import urllib.request

import openai
import pydantic
from openresponses_types import types

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from program import KEY, Program  # noqa: E402

WEATHER = {
    "type": "function",
    "name": "get_weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
QUESTIONS = {
    "a text": {"input": "Hello"},
    "items": {"input": [{"role": "user", "content": "Hello"}], "instructions": "Be brief.", "presence_penalty": 0.5},
    "a call": {"input": "What is the weather in Oslo?", "tools": [WEATHER], "tool_choice": "required"},
    "cut short": {"input": "Repeat: river moon stone", "max_output_tokens": 2},
    "log-probabilities": {"input": "Hello", "top_logprobs": 1},
}


def events():
    """The types of the events, by their names."""
    named = {}
    for name in dir(types):
        kind = getattr(types, name)
        if name.endswith("StreamingEvent") and isinstance(kind, type) and issubclass(kind, pydantic.BaseModel):
            (word,) = kind.model_fields["type"].annotation
            named[word.value] = kind
    return named


class OpenResponses(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.program = Program()
        cls.program.__enter__()
        cls.addClassCleanup(cls.program.__exit__)

    def post(self, path, **body):
        headers = {"content-type": "application/json", "authorization": f"Bearer {KEY}"}
        body = json.dumps({"model": "demo", "temperature": 0, **body}).encode()
        with urllib.request.urlopen(urllib.request.Request(self.program.url + path, body, headers)) as reply:
            return reply.read().decode()

    def test_every_response_has_what_the_specification_requires(self):
        for what, question in QUESTIONS.items():
            with self.subTest(what):
                types.ResponseResource.model_validate_json(self.post("/v1/responses", **question))

    def test_every_event_has_what_the_specification_requires(self):
        kinds = events()
        for what, question in {**QUESTIONS, "broken off": {"model": "broken/m", "input": "Hello"}}.items():
            with self.subTest(what):
                lines = self.post("/v1/responses", stream=True, **question).splitlines()
                *data, done = [line[6:] for line in lines if line.startswith("data: ")]
                self.assertEqual(done, "[DONE]")
                data = [json.loads(event) for event in data]
                for event in data:
                    kinds[event["type"]].model_validate(event)
                self.assertIn(data[-1]["type"].split(".")[1], ("completed", "incomplete", "failed"))

    def test_a_conversation_is_compacted_and_goes_on(self):
        compacted = self.post("/v1/responses/compact", input="Hello")
        types.CompactResource.model_validate_json(compacted)
        output = json.loads(compacted)["output"]
        self.assertEqual(output[-1]["type"], "compaction")
        following = [*output, {"role": "user", "content": "Hello"}]
        types.ResponseResource.model_validate_json(self.post("/v1/responses", input=following))

    def test_the_official_sdk_goes_on_over_a_websocket_with_what_is_not_kept(self):
        with openai.OpenAI(base_url=f"{self.program.url}/v1", api_key=KEY) as client, client.responses.connect() as socket:

            def ask(input, **settings):
                socket.response.create(model="demo", input=input, store=False, temperature=0, **settings)
                return next(event.response for event in socket if event.type == "response.completed")

            first = ask("Hello")
            second = ask("What is a gateway?", previous_response_id=first.id)
        self.assertEqual(first.output_text, "Hello! How can I help you today?")
        self.assertTrue(second.output_text)
        self.assertGreater(second.usage.input_tokens, first.usage.total_tokens)


if __name__ == "__main__":
    unittest.main()
