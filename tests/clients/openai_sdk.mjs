// The openai SDK for JavaScript: the same scenarios. Prints what it saw as one line of JSON.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const job = JSON.parse(readFileSync(0, "utf8"));
const require = createRequire(job.modules);
const { OpenAI } = require("openai");
const { VERSION } = require("openai/version");

const client = new OpenAI({ baseURL: job.url, apiKey: job.key, maxRetries: 0 });
const honest = [{ role: "user", content: job.honest }];
const attack = [{ role: "user", content: job.attack }];
const tools = [job.tool];
const result = "It left our house on Monday.";

const ask = (request, by = client) => by.chat.completions.create(request);
const spoken = ({ choices: [choice] }) => ({ text: choice.message.content ?? "", finish: choice.finish_reason });

async function gathered(request) {
  const said = { text: "", finish: null };
  const call = { id: "", name: "", arguments: "" };
  for await (const chunk of await ask({ ...request, stream: true })) {
    for (const choice of chunk.choices) {
      said.text += choice.delta.content ?? "";
      said.finish = choice.finish_reason ?? said.finish;
      for (const piece of choice.delta.tool_calls ?? []) {
        call.id += piece.id ?? "";
        call.name += piece.function.name ?? "";
        call.arguments += piece.function.arguments ?? "";
      }
    }
    if (chunk.usage) said.tokens = chunk.usage.completion_tokens;
  }
  return call.name ? { ...said, call } : said;
}

const told = (error) => ({
  error: error.constructor.name,
  status: error.status ?? null,
  param: error.param ?? null,
  retry_after: error.headers?.get("retry-after") ?? null,
  ...(error.status ? {} : { message: error.message }),
});

const scenarios = {
  plain: async () => spoken(await ask({ model: "gpt-4o", messages: honest })),
  streamed: () => gathered({ model: "gpt-4o", messages: honest, stream_options: { include_usage: true } }),
  tools: async () => {
    const first = await ask({ model: "tool", messages: honest, tools });
    const message = first.choices[0].message;
    const [call] = message.tool_calls;
    const round = [...honest, message, { role: "tool", tool_call_id: call.id, content: result }];
    const second = await ask({ model: "tool", messages: round, tools });
    return { called: call.function.name, with: JSON.parse(call.function.arguments), ...spoken(second) };
  },
  tools_streamed: async () => {
    const { call } = await gathered({ model: "tool", messages: honest, tools });
    const made = { id: call.id, type: "function", function: { name: call.name, arguments: call.arguments } };
    const round = [
      ...honest,
      { role: "assistant", tool_calls: [made] },
      { role: "tool", tool_call_id: call.id, content: result },
    ];
    const second = await gathered({ model: "tool", messages: round, tools });
    return { called: call.name, with: JSON.parse(call.arguments), ...second };
  },
  refused: async () => spoken(await ask({ model: "gpt-4o", messages: attack })),
  refused_streamed: () => gathered({ model: "gpt-4o", messages: attack }),
  refused_result: async () => {
    const call = { id: "c1", type: "function", function: { name: "find_order", arguments: "{}" } };
    const made = { role: "assistant", content: null, tool_calls: [call] };
    const bad = { role: "tool", tool_call_id: "c1", content: job.attack };
    return spoken(await ask({ model: "tool", messages: [...honest, made, bad], tools }));
  },
  bad: async () => spoken(await ask({ model: "gpt-4o", messages: honest, n: 99 })),
  wrong_key: async () =>
    spoken(await ask({ model: "gpt-4o", messages: honest }, client.withOptions({ apiKey: "qk_wrong" }))),
  no_model: async () => spoken(await ask({ model: "gpt-5", messages: honest })),
  limited: async () => spoken(await ask({ model: "gpt-4o", messages: honest }, client.withOptions({ apiKey: job.spent_key }))),
  down: async () => spoken(await ask({ model: "down", messages: honest })),
  broken: async () => {
    let begun = false;
    try {
      for await (const _ of await ask({ model: "broken", messages: honest, stream: true })) begun = true;
    } catch (error) {
      return { ...told(error), begun };
    }
    return { error: null };
  },
  // The SDK's own tool loop: it calls the function and sends the result by itself.
  runner: async () => {
    const called = [];
    const find = { ...job.tool.function, parse: JSON.parse, function: (given) => (called.push(given), result) };
    const runner = client.chat.completions.runTools({
      model: "tool",
      messages: honest,
      tools: [{ type: "function", function: find }],
    });
    return { text: await runner.finalContent(), with: called[0] };
  },
  models: async () => {
    const names = [];
    for await (const model of client.models.list()) names.push(model.id);
    return names.sort();
  },
  retried: async () => spoken(await ask({ model: "flaky", messages: honest }, client.withOptions({ maxRetries: 1 }))),
  responses: async () => await client.responses.create({ model: "gpt-4o", input: job.honest }),
};

const seen = {};
for (const [name, scenario] of Object.entries(scenarios)) {
  try {
    seen[name] = await scenario();
  } catch (error) {
    seen[name] = told(error);
  }
}
console.log(JSON.stringify({ version: VERSION, sync: seen }));
