"""The official OpenAI SDK as a client: what it sends is taken, and what it reads it understands."""

import asyncio
import json
import pathlib
import sys
import unittest

import openai

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from program import KEY, REPOSITORY, Program  # noqa: E402

GOLDENS = json.loads((REPOSITORY / "models/demo/golden.json").read_text())
HELLO = "Hello! How can I help you today?"


def user(text):
    return [{"role": "user", "content": text}]


class Sdk(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.program = Program()
        cls.program.__enter__()
        cls.addClassCleanup(cls.program.__exit__)
        cls.client = cls.client_with(KEY)

    @classmethod
    def client_with(cls, key):
        client = openai.OpenAI(base_url=f"{cls.program.url}/v1", api_key=key, max_retries=0, timeout=60)
        cls.addClassCleanup(client.close)
        return client

    def ask(self, text, **settings):
        settings = {"model": "demo", "temperature": 0, **settings}
        return self.client.chat.completions.create(messages=user(text), **settings)

    def test_every_question_of_the_readme_is_answered_word_for_word(self):
        for golden in GOLDENS:
            if golden.get("tools"):
                continue
            with self.subTest(golden["answer"][:30]):
                completion = self.ask(golden["messages"][0]["content"])
                self.assertEqual(completion.choices[0].message.content, golden["answer"])
                self.assertEqual(completion.choices[0].finish_reason, "stop")
                self.assertEqual(completion.usage.prompt_tokens, len(golden["tokens"]))
                self.assertEqual(completion.usage.completion_tokens, len(golden["greedy"]))

    def test_a_stream_says_the_same(self):
        for golden in GOLDENS:
            if golden.get("tools"):
                continue
            with self.subTest(golden["answer"][:30]):
                chunks = list(self.ask(golden["messages"][0]["content"], stream=True))
                text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
                self.assertEqual(text, golden["answer"])
                self.assertEqual(chunks[-1].choices[0].finish_reason, "stop")
                self.assertEqual(chunks[-1].model_extra["weighbridge"]["backend"], "demo")

    def test_usage_ends_a_stream_that_asks_for_it(self):
        chunks = list(self.ask("Hello", stream=True, stream_options={"include_usage": True}))
        self.assertEqual(chunks[-1].choices, [])
        self.assertEqual((chunks[-1].usage.prompt_tokens, chunks[-1].usage.completion_tokens), (9, 10))
        self.assertTrue(all(chunk.usage is None for chunk in chunks[:-1]))

    def test_several_answers_come_where_several_are_asked_for(self):
        completion = self.ask("Hello", n=3)
        self.assertEqual([choice.message.content for choice in completion.choices], [HELLO] * 3)
        self.assertEqual([choice.index for choice in completion.choices], [0, 1, 2])

    def test_a_stop_text_ends_an_answer(self):
        completion = self.ask("What is the capital of Japan?", stop=[" is"])
        self.assertEqual(completion.choices[0].message.content, "The capital of Japan")

    def test_an_answer_is_no_longer_than_it_may_be(self):
        completion = self.ask("Repeat: river moon stone", max_completion_tokens=2)
        self.assertEqual(completion.choices[0].message.content, "river moon")
        self.assertEqual(completion.choices[0].finish_reason, "length")

    def test_a_tool_is_called(self):
        golden = next(golden for golden in GOLDENS if golden.get("tools"))
        completion = self.ask("What is the weather in Oslo?", tools=golden["tools"])
        (call,) = completion.choices[0].message.tool_calls
        self.assertEqual(completion.choices[0].finish_reason, "tool_calls")
        self.assertEqual((call.type, call.function.name), ("function", "get_weather"))
        self.assertEqual(json.loads(call.function.arguments), {"city": "Oslo"})

    def test_a_streamed_call_is_put_together_by_the_sdk(self):
        golden = next(golden for golden in GOLDENS if golden.get("tools"))
        with self.client.chat.completions.stream(
            model="demo", temperature=0, messages=user("What is the weather in Oslo?"), tools=golden["tools"]
        ) as stream:
            message = stream.get_final_completion().choices[0].message
        self.assertEqual(message.tool_calls[0].function.name, "get_weather")
        self.assertEqual(json.loads(message.tool_calls[0].function.arguments), {"city": "Oslo"})

    def test_the_result_of_a_call_goes_back_to_the_model(self):
        golden = next(golden for golden in GOLDENS if golden.get("tools"))
        messages = user("What is the weather in Oslo?")
        first = self.client.chat.completions.create(
            model="demo", temperature=0, messages=messages, tools=golden["tools"]
        )
        message = first.choices[0].message
        result = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": '{"degrees": 7}'}
        messages += [message.model_dump(exclude_none=True), result]
        second = self.client.chat.completions.create(
            model="demo", temperature=0, messages=messages, tools=golden["tools"]
        )
        self.assertTrue(second.choices[0].message.content)

    def test_models_are_listed_and_retrieved(self):
        self.assertEqual([model.id for model in self.client.models.list()], ["auto", "broken/m", "demo"])
        self.assertEqual(self.client.models.retrieve("demo").id, "demo")
        self.assertEqual(self.client.models.retrieve("broken/m").owned_by, "broken")
        with self.assertRaises(openai.NotFoundError):
            self.client.models.retrieve("nothing")

    def test_bare_prompts_are_gone_on_with(self):
        if "prompt" not in self.client.models.retrieve("demo").weighbridge["capabilities"]:
            self.skipTest("this engine takes no bare prompts")
        asked = {"model": "demo", "prompt": ["Once upon", "The capital"], "n": 2, "seed": 7, "max_tokens": 4}
        completion = self.client.completions.create(**asked, logprobs=2)
        self.assertEqual([choice.index for choice in completion.choices], [0, 1, 2, 3])
        for choice in completion.choices:
            self.assertEqual(len(choice.logprobs.tokens), len(choice.logprobs.text_offset))
            self.assertEqual(len(choice.logprobs.tokens), len(choice.logprobs.token_logprobs))
        texts = ["", "", "", ""]
        for chunk in self.client.completions.create(**asked, stream=True):
            for choice in chunk.choices:
                texts[choice.index] += choice.text
        self.assertEqual(texts, [choice.text for choice in completion.choices])

    def test_a_bare_prompt_is_refused_where_nobody_takes_it(self):
        with self.assertRaises(openai.BadRequestError) as raised:
            self.client.completions.create(model="broken/m", prompt="Once")
        self.assertEqual((raised.exception.code, raised.exception.param), ("unsupported_parameter", "prompt"))

    def test_headers_say_where_a_request_went(self):
        raw = self.client.chat.completions.with_raw_response.create(model="auto", messages=user("Hello"), temperature=0)
        self.assertEqual(raw.headers["x-weighbridge-backend"], "demo")
        self.assertEqual(raw.headers["x-weighbridge-route"], "main")
        self.assertEqual(raw.headers["x-weighbridge-class"], "internal")
        self.assertEqual(float(raw.headers["x-weighbridge-cost-usd"]), 0.0)
        completion = raw.parse()
        self.assertEqual(completion.choices[0].message.content, HELLO)
        self.assertEqual(completion._request_id, raw.headers["x-weighbridge-decision"])

    def test_each_mistake_has_its_exception(self):
        for kind, code, settings in [
            (openai.BadRequestError, "decimal_above_max_value", {"temperature": 9}),
            (openai.BadRequestError, "unsupported_parameter", {"verbosity": "low"}),
            (openai.BadRequestError, "unknown_parameter", {"extra_body": {"brand_new": 1}}),
            (openai.NotFoundError, "model_not_found", {"model": "nothing"}),
            (openai.BadRequestError, "context_length_exceeded", {"max_tokens": 5000}),
            (openai.PermissionDeniedError, "class_not_allowed", {"extra_headers": {"x-weighbridge-class": "restricted"}}),
        ]:
            with self.subTest(code), self.assertRaises(kind) as raised:
                self.ask("Hello", **settings)
            self.assertEqual(raised.exception.code, code)
            self.assertTrue(raised.exception.request_id)

    def test_a_wrong_key_is_an_authentication_error(self):
        with self.assertRaises(openai.AuthenticationError) as raised:
            self.client_with("another-key").models.list()
        self.assertEqual(raised.exception.code, "invalid_api_key")

    def test_a_stream_that_breaks_off_raises(self):
        heard = []
        with self.assertRaises(openai.APIError) as raised:
            for chunk in self.ask("Hello", model="broken/m", stream=True):
                heard.append(chunk.choices[0].delta.content or "")
        self.assertEqual("".join(heard), "half an ans")
        self.assertEqual(raised.exception.code, "upstream_cut")

    def test_an_answer_that_breaks_off_raises(self):
        with self.assertRaises(openai.InternalServerError) as raised:
            self.ask("Hello", model="broken/m")
        self.assertEqual((raised.exception.status_code, raised.exception.code), (502, "upstream_cut"))


class AsyncSdk(unittest.IsolatedAsyncioTestCase):
    def setUp(self):
        self.program = Program()
        self.program.__enter__()
        self.addCleanup(self.program.__exit__)

    async def test_many_streams_at_once_are_told_apart(self):
        async with openai.AsyncOpenAI(base_url=f"{self.program.url}/v1", api_key=KEY, max_retries=0) as client:

            async def ask(golden):
                stream = await client.chat.completions.create(
                    model="demo", temperature=0, messages=golden["messages"], stream=True
                )
                text = [chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices]
                self.assertEqual("".join(text), golden["answer"])

            await asyncio.gather(*(ask(golden) for golden in GOLDENS * 3 if not golden.get("tools")))


if __name__ == "__main__":
    unittest.main()
