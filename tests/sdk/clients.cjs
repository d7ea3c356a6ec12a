// The official SDKs for Node against a running program: node clients.cjs URL KEY.
"use strict";

const assert = require("node:assert");
const test = require("node:test");
const { default: OpenAI } = require("openai");
const { default: Anthropic } = require("@anthropic-ai/sdk");

const [url, apiKey] = process.argv.slice(2);
const openai = new OpenAI({ baseURL: `${url}/v1`, apiKey, maxRetries: 0 });
const anthropic = new Anthropic({ baseURL: url, apiKey, maxRetries: 0 });

const HELLO = "Hello! How can I help you today?";
const messages = [{ role: "user", content: "Hello" }];
const chat = { model: "demo", temperature: 0, messages };
// The SDK asks by the newest version, which knows no temperature.
const greedy = { headers: { "anthropic-version": "2023-06-01" } };
const message = { model: "demo", max_tokens: 64, temperature: 0, messages };
const city = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
const weather = [{ role: "user", content: "What is the weather in Oslo?" }];

test("openai: an answer, whole and streamed", async () => {
  const completion = await openai.chat.completions.create(chat);
  assert.equal(completion.choices[0].message.content, HELLO);
  let said = "";
  for await (const chunk of await openai.chat.completions.create({ ...chat, stream: true })) {
    said += chunk.choices[0]?.delta?.content ?? "";
  }
  assert.equal(said, HELLO);
});

test("openai: a tool is called", async () => {
  const tools = [{ type: "function", function: { name: "get_weather", parameters: city } }];
  const completion = await openai.chat.completions.create({ ...chat, messages: weather, tools });
  const call = completion.choices[0].message.tool_calls[0];
  assert.equal(call.function.name, "get_weather");
  assert.deepEqual(JSON.parse(call.function.arguments), { city: "Oslo" });
});

test("openai: models and mistakes", async () => {
  const ids = [];
  for await (const model of openai.models.list()) ids.push(model.id);
  assert.deepEqual(ids, ["auto", "broken/m", "demo"]);
  await assert.rejects(openai.chat.completions.create({ ...chat, temperature: 9 }), OpenAI.BadRequestError);
  await assert.rejects(openai.chat.completions.create({ ...chat, model: "nothing" }), OpenAI.NotFoundError);
});

test("openai: a stream that breaks off", async () => {
  const stream = await openai.chat.completions.create({ ...chat, model: "broken/m", stream: true });
  let said = "";
  await assert.rejects(async () => {
    for await (const chunk of stream) said += chunk.choices[0]?.delta?.content ?? "";
  }, OpenAI.APIError);
  assert.equal(said, "half an ans");
});

test("anthropic: an answer, whole and streamed", async () => {
  const answer = await anthropic.messages.create(message, greedy);
  assert.equal(answer.content[0].text, HELLO);
  assert.equal(answer.stop_reason, "end_turn");
  const stream = anthropic.messages.stream(message, greedy);
  assert.equal(await stream.finalText(), HELLO);
  assert.equal((await stream.finalMessage()).usage.output_tokens, 10);
});

test("anthropic: a tool is called in a stream", async () => {
  const tools = [{ name: "get_weather", input_schema: city }];
  const stream = anthropic.messages.stream({ ...message, messages: weather, tools }, greedy);
  const answer = await stream.finalMessage();
  assert.equal(answer.stop_reason, "tool_use");
  assert.deepEqual(answer.content[0].input, { city: "Oslo" });
});

test("anthropic: counts, models and mistakes", async () => {
  assert.equal((await anthropic.messages.countTokens({ model: "demo", messages })).input_tokens, 9);
  const ids = [];
  for await (const model of anthropic.models.list({ limit: 2 })) ids.push(model.id);
  assert.deepEqual(ids, ["auto", "broken/m", "demo"]);
  await assert.rejects(anthropic.messages.create({ ...message, model: "nothing" }, greedy), Anthropic.NotFoundError);
  await assert.rejects(anthropic.messages.create(message), Anthropic.BadRequestError);
});

test("anthropic: a stream that breaks off", async () => {
  const stream = await anthropic.messages.create({ ...message, model: "broken/m", stream: true }, greedy);
  let said = "";
  await assert.rejects(async () => {
    for await (const event of stream) if (event.type === "content_block_delta") said += event.delta.text;
  }, Anthropic.APIError);
  assert.equal(said, "half an ans");
});
