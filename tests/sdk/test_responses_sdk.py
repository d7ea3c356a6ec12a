"""Responses by the official OpenAI SDK, and by agents that speak them: every body and event has the SDK's own shape."""

import asyncio
import json
import pathlib
import sys
import threading
import time
import unittest
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import openai
import pydantic
from openai.types.responses import Response

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from program import KEY, REPOSITORY, Program  # noqa: E402
from shapes import check  # noqa: E402

GOLDENS = json.loads((REPOSITORY / "models/demo/golden.json").read_text())
HELLO = "Hello! How can I help you today?"
WEATHER = "What is the weather in Oslo?"
TOOLS = [
    {"type": "function", "strict": False, **tool["function"]}
    for golden in GOLDENS
    for tool in golden.get("tools") or []
]


class Upstream(BaseHTTPRequestHandler):
    """A provider that speaks chat completions and says what the question names."""

    TOKEN = {"token": "Yes", "logprob": -0.5, "bytes": [89, 101, 115]}
    SAYS = {
        "json": [{"content": '{"name": "Anna", '}, {"content": '"age": 31}'}],
        "think": [{"reasoning_content": "h"}, {"reasoning_content": "m"}, {"content": "Yes"}],
        "refuse": [{"refusal": "I cannot "}, {"refusal": "do that."}],
        "slow": [{"content": "one"}, {"content": " two"}, {"content": " three"}],
        "custom": [
            {"tool_calls": [{"index": 0, "id": "call_1", "type": "custom", "custom": {"name": "sh", "input": ""}}]},
            {"tool_calls": [{"index": 0, "custom": {"input": "ls"}}]},
        ],
    }

    def do_POST(self):  # The name is http.server's.
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        question = body["messages"][-1]["content"]
        for delta in [*self.SAYS[question], {}]:
            choice = {"index": 0, "delta": delta, "finish_reason": None if delta else "stop"}
            if "content" in delta and body.get("logprobs"):
                choice["logprobs"] = {"content": [{**self.TOKEN, "top_logprobs": [self.TOKEN]}], "refusal": None}
            chunk = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
            if question == "slow":
                time.sleep(0.3)
            try:
                self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
            except OSError:
                return  # It was cancelled.
        self.wfile.write(b"data: [DONE]\n\n")

    def log_message(self, *arguments):
        pass


class WithProvider(Program):
    """The program with that provider beside what it has already."""

    def __enter__(self):
        self.provider = ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
        threading.Thread(target=self.provider.serve_forever, daemon=True).start()
        return super().__enter__()

    def __exit__(self, *exception):
        super().__exit__(*exception)
        self.provider.shutdown()
        self.provider.server_close()

    def config(self) -> str:
        config = super().config().replace('"broken/*"]', '"broken/*", "up/*"]').replace('"broken/m"]', '"broken/m", "up/m"]')
        return f"""{config}
[[providers]]
name = "up"
kind = "openai"
base_url = "http://127.0.0.1:{self.provider.server_port}/v1"
clearance = "internal"
models = [{{ name = "m", input_usd_per_mtok = 1.0, output_usd_per_mtok = 1.0 }}]
"""


class Person(pydantic.BaseModel):
    name: str
    age: int


class Served(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.program = WithProvider()
        cls.program.__enter__()
        cls.addClassCleanup(cls.program.__exit__)
        cls.url = f"{cls.program.url}/v1"
        cls.client = openai.OpenAI(base_url=cls.url, api_key=KEY, max_retries=0, timeout=60)
        cls.addClassCleanup(cls.client.close)


class Responses(Served):
    def ask(self, input, **settings):
        settings = {"model": "demo", "temperature": 0, **settings}
        return self.client.responses.create(input=input, **settings)

    def test_every_question_of_the_readme_is_answered_word_for_word(self):
        for golden in GOLDENS:
            if golden.get("tools"):
                continue
            with self.subTest(golden["answer"][:30]):
                response = check(self.ask(golden["messages"]))
                self.assertEqual((response.output_text, response.status), (golden["answer"], "completed"))
                self.assertEqual(response.usage.input_tokens, len(golden["tokens"]))
                self.assertEqual(response.usage.output_tokens, len(golden["greedy"]))

    def test_every_event_of_a_stream_has_its_shape(self):
        events = [check(event) for event in self.ask("Hello", stream=True)]
        self.assertEqual([event.sequence_number for event in events], list(range(len(events))))
        said = "".join(event.delta for event in events if event.type == "response.output_text.delta")
        self.assertEqual((said, events[-1].type), (HELLO, "response.completed"))
        self.assertEqual(events[-1].response.output_text, HELLO)

    def test_the_sdk_gathers_a_stream(self):
        with self.client.responses.stream(model="demo", input="Hello", temperature=0) as stream:
            for event in stream:
                self.assertTrue(event.type)
            self.assertEqual(stream.get_final_response().output_text, HELLO)

    def test_an_answer_that_is_cut_short_is_incomplete(self):
        response = check(self.ask("Repeat: river moon stone", max_output_tokens=2))
        self.assertEqual((response.status, response.incomplete_details.reason), ("incomplete", "max_output_tokens"))
        events = [check(event) for event in self.ask("Repeat: river moon stone", max_output_tokens=2, stream=True)]
        self.assertEqual(events[-1].type, "response.incomplete")

    def test_a_function_is_called_and_gets_its_result_back(self):
        first = check(self.ask(WEATHER, tools=TOOLS))
        (call,) = first.output
        self.assertEqual((call.type, call.name, json.loads(call.arguments)), ("function_call", "get_weather", {"city": "Oslo"}))
        events = [check(event) for event in self.ask(WEATHER, tools=TOOLS, stream=True)]
        done = next(event for event in events if event.type == "response.function_call_arguments.done")
        self.assertEqual(json.loads(done.arguments), {"city": "Oslo"})
        result = {"type": "function_call_output", "call_id": call.call_id, "output": '{"degrees": 7}'}
        by_reference = check(self.ask([result], tools=TOOLS, previous_response_id=first.id))
        by_value = check(self.ask([{"role": "user", "content": WEATHER}, *first.output, result], tools=TOOLS))
        self.assertTrue(by_value.output_text)
        self.assertEqual(by_reference.output_text, by_value.output_text)

    def test_a_response_is_retrieved_listed_and_deleted(self):
        first = self.ask("Hello", metadata={"job": "7"})
        second = self.ask("What is a gateway?", previous_response_id=first.id)
        retrieved = check(self.client.responses.retrieve(first.id))
        self.assertEqual((retrieved.output_text, retrieved.metadata), (HELLO, {"job": "7"}))
        items = list(self.client.responses.input_items.list(second.id, order="asc", limit=1))
        self.assertEqual([item.type for item in map(check, items)], ["message"] * 3)
        self.assertEqual(items[1].id, first.output[0].id)
        self.client.responses.delete(first.id)
        with self.assertRaises(openai.NotFoundError):
            self.client.responses.retrieve(first.id)
        with self.assertRaises(openai.BadRequestError) as raised:
            self.ask("And?", previous_response_id=first.id)
        self.assertEqual(raised.exception.code, "previous_response_not_found")
        with self.assertRaises(openai.BadRequestError):
            self.client.responses.cancel(second.id)

    def test_tokens_are_counted(self):
        counted = check(self.client.responses.input_tokens.count(model="demo", input="Hello"))
        self.assertEqual(counted.input_tokens, 9)

    def test_a_stream_that_breaks_off_is_a_failed_response(self):
        events = [check(event) for event in self.ask("Hello", model="broken/m", stream=True)]
        failed = events[-1]
        self.assertEqual((failed.type, failed.response.status, failed.response.output_text), ("response.failed", "failed", "half an ans"))
        self.assertEqual(failed.model_extra["weighbridge"]["code"], "upstream_cut")
        with self.assertRaises(openai.InternalServerError):
            self.ask("Hello", model="broken/m")

    def events(self, input, **settings):
        events = [check(event) for event in self.ask(input, model="up/m", stream=True, **settings)]
        whole = check(self.ask(input, model="up/m", **settings))
        ended = events[-1].response
        self.assertEqual([item.type for item in whole.output], [item.type for item in ended.output])
        return [event.type for event in events], ended

    def test_thoughts_have_their_events_and_log_probabilities_their_shape(self):
        settings = {"include": ["message.output_text.logprobs"], "top_logprobs": 1}
        kinds, response = self.events("think", **settings)
        self.assertEqual(kinds.count("response.reasoning_text.delta"), 2)
        self.assertEqual(response.output[0].content[0].text, "hm")
        self.assertEqual(response.output[1].content[0].logprobs[0].bytes, [89, 101, 115])
        kinds, response = self.events("think", reasoning={"summary": "auto"})
        self.assertEqual(kinds.count("response.reasoning_summary_text.delta"), 2)
        self.assertEqual(response.output[0].summary[0].text, "hm")

    def test_a_custom_tool_and_a_refusal_have_their_shape(self):
        kinds, response = self.events("custom", tools=[{"type": "custom", "name": "sh"}])
        self.assertIn("response.custom_tool_call_input.done", kinds)
        self.assertEqual((response.output[0].name, response.output[0].input), ("sh", "ls"))
        kinds, response = self.events("refuse")
        self.assertIn("response.refusal.done", kinds)
        self.assertEqual(response.output[0].content[0].refusal, "I cannot do that.")

    def test_the_sdk_parses_what_a_provider_was_bound_to(self):
        parsed = self.client.responses.parse(model="up/m", input="json", text_format=Person).output_parsed
        self.assertEqual(parsed, Person(name="Anna", age=31))
        with self.client.responses.stream(model="up/m", input="json", text_format=Person) as stream:
            self.assertEqual(stream.get_final_response().output_parsed, parsed)

    def once_over(self, response):
        deadline = time.monotonic() + 60
        while response.status in ("queued", "in_progress"):
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.05)
            response = check(self.client.responses.retrieve(response.id))
        return response

    def test_a_response_in_the_background_is_retrieved_until_it_is_done(self):
        queued = check(self.ask("Hello", background=True))
        self.assertEqual((queued.status, queued.background, queued.output), ("queued", True, []))
        done = self.once_over(queued)
        self.assertEqual((done.status, done.output_text, done.id), ("completed", HELLO, queued.id))
        self.assertEqual(check(self.client.responses.cancel(queued.id)).status, "completed")
        after = self.ask("What is a gateway?", previous_response_id=queued.id, background=True)
        self.assertEqual(self.once_over(after).status, "completed")

    def test_a_response_in_the_background_is_cancelled(self):
        queued = self.ask("slow", model="up/m", background=True)
        with self.assertRaises(openai.BadRequestError) as raised:
            self.ask("And?", previous_response_id=queued.id)
        self.assertEqual(raised.exception.param, "previous_response_id")
        for _ in range(2):
            cancelled = check(self.client.responses.cancel(queued.id))
            self.assertEqual((cancelled.status, cancelled.id), ("cancelled", queued.id))
        self.assertEqual(self.client.responses.retrieve(queued.id).status, "cancelled")

    def test_a_stream_in_the_background_goes_on_where_it_was_left(self):
        events = []
        with self.ask("slow", model="up/m", background=True, stream=True) as stream:
            for event in stream:
                events.append(check(event))
                if event.type == "response.output_text.delta":
                    break
        response = events[0].response
        self.assertEqual([event.type for event in events[:3]], ["response.created", "response.queued", "response.in_progress"])
        after = events[-1].sequence_number
        with self.client.responses.retrieve(response.id, stream=True, starting_after=after) as stream:
            events += [check(event) for event in stream]
        self.assertEqual([event.sequence_number for event in events], list(range(len(events))))
        self.assertEqual((events[-1].type, events[-1].response.output_text), ("response.completed", "one two three"))
        # The SDK gathers what it reads from the first event on.
        with self.client.responses.stream(response_id=response.id, starting_after=after) as stream:
            self.assertEqual(next(iter(stream)).sequence_number, after + 1)
            self.assertEqual(stream.get_final_response().output_text, "one two three")

    def test_a_response_in_the_background_that_fails_says_why(self):
        failed = self.once_over(check(self.ask("Hello", model="broken/m", background=True)))
        self.assertEqual((failed.status, failed.error.code), ("failed", "server_error"))
        events = [check(event) for event in self.ask("Hello", model="broken/m", background=True, stream=True)]
        self.assertEqual(events[-1].type, "response.failed")

    def test_a_shape_that_is_wrong_is_told(self):
        good = self.ask("Hello").to_dict()
        for wrong in [{"new": 1}, {"usage": {"input_tokens": 1}}, {"status": "done"}, {"output": [{**good["output"][0], "role": "user"}]}]:
            with self.subTest(wrong), self.assertRaises(AssertionError):
                check(Response.construct(**{**good, **wrong}))

    def test_each_mistake_has_its_exception(self):
        for kind, code, settings in [
            (openai.BadRequestError, "decimal_above_max_value", {"temperature": 9}),
            (openai.BadRequestError, "invalid_value", {"background": True, "store": False}),
            (openai.BadRequestError, "context_length_exceeded", {"max_output_tokens": 5000, "truncation": "auto"}),
            (openai.BadRequestError, "unknown_parameter", {"extra_body": {"brand_new": 1}}),
            (openai.NotFoundError, "model_not_found", {"model": "nothing"}),
            (openai.BadRequestError, "context_length_exceeded", {"max_output_tokens": 5000}),
        ]:
            with self.subTest(code), self.assertRaises(kind) as raised:
                self.ask("Hello", **settings)
            self.assertEqual(raised.exception.code, code)


def available(name):
    try:
        __import__(name)
    except ImportError:
        return False
    return True


@unittest.skipUnless(available("agents"), "the OpenAI Agents SDK is not installed")
class Agents(Served):
    def run_agent(self, api, streamed):
        import agents

        agents.set_tracing_disabled(True)
        asked = []

        @agents.function_tool(strict_mode=False)
        def get_weather(city: str) -> str:
            """Current weather in a city"""
            asked.append(city)
            return '{"degrees": 7}'

        async def run():
            async with openai.AsyncOpenAI(base_url=self.url, api_key=KEY, max_retries=0) as client:
                model = api(model="demo", openai_client=client)
                agent = agents.Agent(
                    name="Helper", model=model, tools=[get_weather], model_settings=agents.ModelSettings(temperature=0)
                )
                if not streamed:
                    return await agents.Runner.run(agent, WEATHER, max_turns=3)
                result = agents.Runner.run_streamed(agent, WEATHER, max_turns=3)
                async for _ in result.stream_events():
                    pass
                return result

        result = asyncio.run(run())
        self.assertEqual(asked, ["Oslo"])
        self.assertTrue(result.final_output)
        return result.final_output

    def test_an_agent_calls_its_tool_through_responses_and_chat_alike(self):
        import agents

        said = {
            self.run_agent(api, streamed)
            for api in (agents.OpenAIResponsesModel, agents.OpenAIChatCompletionsModel)
            for streamed in (False, True)
        }
        self.assertEqual(len(said), 1)


@unittest.skipUnless(available("langchain_openai"), "langchain-openai is not installed")
class LangChain(Served):
    def model(self, responses):
        from langchain_openai import ChatOpenAI

        return ChatOpenAI(
            model="demo", base_url=self.url, api_key=KEY, temperature=0, max_retries=0, use_responses_api=responses
        )

    def text(self, message):
        content = message.content
        return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)

    def test_a_chain_is_answered_streamed_and_called_by_either_api(self):
        for responses in (True, False):
            with self.subTest(responses=responses):
                model = self.model(responses)
                self.assertEqual(self.text(model.invoke("Hello")), HELLO)
                self.assertEqual("".join(self.text(chunk) for chunk in model.stream("Hello")), HELLO)
                called = model.bind_tools([{"type": "function", "function": {key: tool[key] for key in ("name", "description", "parameters")}} for tool in TOOLS])
                (call,) = called.invoke(WEATHER).tool_calls
                self.assertEqual((call["name"], call["args"]), ("get_weather", {"city": "Oslo"}))

    def test_a_chain_gets_structured_output_by_either_api(self):
        from langchain_openai import ChatOpenAI

        for responses in (True, False):
            with self.subTest(responses=responses):
                model = ChatOpenAI(model="up/m", base_url=self.url, api_key=KEY, max_retries=0, use_responses_api=responses)
                self.assertEqual(model.with_structured_output(Person).invoke("json"), Person(name="Anna", age=31))


if __name__ == "__main__":
    unittest.main()
