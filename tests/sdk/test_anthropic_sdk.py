"""The official Anthropic SDK as a client: what it sends is taken, and what it reads it understands."""

import json
import pathlib
import sys
import unittest

import anthropic

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from program import KEY, REPOSITORY, Program  # noqa: E402

GOLDENS = json.loads((REPOSITORY / "models/demo/golden.json").read_text())
HELLO = "Hello! How can I help you today?"
# The SDK asks by the newest version, which knows no temperature: what is to be greedy asks by the one before.
GREEDY = {"extra_headers": {"anthropic-version": "2023-06-01"}, "extra_body": {"temperature": 0}}


def user(text):
    return [{"role": "user", "content": text}]


def strict(value):
    """Fails where an answer has a field that the SDK does not know, but for ours."""
    known = type(value).model_fields
    unknown = set(value.model_dump()) - set(known) - {"weighbridge"}
    assert not unknown, f"{type(value).__name__} has no {unknown}"
    return value


def weather():
    golden = next(golden for golden in GOLDENS if golden.get("tools"))
    function = golden["tools"][0]["function"]
    tool = {"name": function["name"], "input_schema": function["parameters"]}
    if "description" in function:
        tool["description"] = function["description"]
    return [tool]


class Sdk(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.program = Program()
        cls.program.__enter__()
        cls.addClassCleanup(cls.program.__exit__)
        cls.client = cls.client_with(KEY)

    @classmethod
    def client_with(cls, key):
        client = anthropic.Anthropic(base_url=cls.program.url, api_key=key, max_retries=0, timeout=60)
        cls.addClassCleanup(client.close)
        return client

    def ask(self, text, **settings):
        settings = {"model": "demo", "max_tokens": 64, "messages": user(text), **GREEDY, **settings}
        return self.client.messages.create(**settings)

    def test_every_question_of_the_readme_is_answered_word_for_word(self):
        for golden in GOLDENS:
            if golden.get("tools"):
                continue
            with self.subTest(golden["answer"][:30]):
                message = strict(self.ask(golden["messages"][0]["content"], max_tokens=200))
                self.assertEqual([block.text for block in message.content], [golden["answer"]])
                self.assertEqual(message.stop_reason, "end_turn")
                strict(message.usage)
                self.assertEqual(message.usage.output_tokens, len(golden["greedy"]))
                prompt = message.usage.input_tokens + message.usage.cache_read_input_tokens
                self.assertEqual(prompt, len(golden["tokens"]))

    def test_the_newest_version_answers_too(self):
        message = self.client.messages.create(model="demo", max_tokens=8, messages=user("Hello"))
        self.assertTrue(message.content[0].text)

    def test_a_stream_is_put_together_by_the_sdk(self):
        with self.client.messages.stream(model="demo", max_tokens=64, messages=user("Hello"), **GREEDY) as stream:
            said = "".join(stream.text_stream)
            message = strict(stream.get_final_message())
        self.assertEqual((said, message.content[0].text), (HELLO, HELLO))
        self.assertEqual((message.stop_reason, message.usage.output_tokens), ("end_turn", 10))

    def test_every_event_of_a_stream_is_known(self):
        events = list(self.ask("Hello", stream=True))
        kinds = [event.type for event in events]
        self.assertEqual((kinds[0], kinds[-1]), ("message_start", "message_stop"))
        for event in events:
            strict(event)

    def test_a_tool_is_called_and_its_result_goes_back(self):
        question = "What is the weather in Oslo?"
        message = self.ask(question, tools=weather())
        (call,) = message.content
        self.assertEqual((message.stop_reason, call.type, call.name), ("tool_use", "tool_use", "get_weather"))
        self.assertEqual(call.input, {"city": "Oslo"})
        result = [{"type": "tool_result", "tool_use_id": call.id, "content": [{"type": "text", "text": "7 degrees"}]}]
        messages = [*user(question), {"role": "assistant", "content": message.content}, *user(result)]
        self.assertEqual(self.ask("", messages=messages, tools=weather()).type, "message")

    def test_a_streamed_call_is_put_together_by_the_sdk(self):
        with self.client.messages.stream(
            model="demo", max_tokens=64, messages=user("What is the weather in Oslo?"), tools=weather(), **GREEDY
        ) as stream:
            message = stream.get_final_message()
        self.assertEqual(message.content[0].input, {"city": "Oslo"})

    def test_tokens_are_counted(self):
        for golden in GOLDENS:
            if not golden.get("tools"):
                counted = self.client.messages.count_tokens(model="demo", messages=golden["messages"])
                self.assertEqual(counted.input_tokens, len(golden["tokens"]))

    def test_models_are_listed_page_by_page_and_retrieved(self):
        self.assertEqual([model.id for model in self.client.models.list(limit=2)], ["auto", "broken/m", "demo"])
        model = strict(self.client.models.retrieve("demo"))
        self.assertEqual((model.id, model.max_input_tokens), ("demo", 1024))

    def test_each_mistake_has_its_exception(self):
        for kind, code, settings in [
            (anthropic.BadRequestError, "decimal_above_max_value", {"extra_body": {"temperature": 9}}),
            (anthropic.BadRequestError, "unsupported_parameter", {"extra_headers": {}}),
            (anthropic.NotFoundError, "model_not_found", {"model": "nothing"}),
            (anthropic.BadRequestError, "context_length_exceeded", {"system": "word " * 3000}),
            (
                anthropic.PermissionDeniedError,
                "class_not_allowed",
                {"extra_headers": {"x-weighbridge-class": "restricted"}, "extra_body": {}},
            ),
        ]:
            with self.subTest(code), self.assertRaises(kind) as raised:
                self.ask("Hello", **settings)
            self.assertEqual(raised.exception.error_code, code)
            self.assertTrue(raised.exception.request_id)

    def test_a_wrong_key_is_an_authentication_error(self):
        with self.assertRaises(anthropic.AuthenticationError) as raised:
            self.client_with("another-key").models.list()
        self.assertEqual(raised.exception.type, "authentication_error")

    def test_a_stream_that_breaks_off_raises(self):
        heard = []
        with self.assertRaises(anthropic.APIError):
            for event in self.ask("Hello", model="broken/m", stream=True, extra_body={}):
                if event.type == "content_block_delta":
                    heard.append(event.delta.text)
        self.assertEqual("".join(heard), "half an ans")

    def test_an_answer_that_breaks_off_raises(self):
        with self.assertRaises(anthropic.InternalServerError) as raised:
            self.ask("Hello", model="broken/m", extra_body={})
        self.assertEqual((raised.exception.status_code, raised.exception.error_code), (502, "upstream_cut"))


class AsyncSdk(unittest.IsolatedAsyncioTestCase):
    async def test_messages_and_streams(self):
        with Program() as program:
            async with anthropic.AsyncAnthropic(base_url=program.url, api_key=KEY, max_retries=0) as client:
                asked = {"model": "demo", "max_tokens": 64, "messages": user("Hello"), **GREEDY}
                self.assertEqual((await client.messages.create(**asked)).content[0].text, HELLO)
                async with client.messages.stream(**asked) as stream:
                    said = [text async for text in stream.text_stream]
                self.assertEqual("".join(said), HELLO)


if __name__ == "__main__":
    unittest.main()
