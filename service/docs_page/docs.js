// Shows /openapi.json: every operation, what it takes and answers, and a form to try it.
// Text goes in as text nodes alone: no name in the document can become markup.

const DEPTH = 6;

function h(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children.filter((child) => child !== null));
  return element;
}

function resolve(api, schema) {
  const name = schema.$ref?.split("/").pop();
  return name ? api.components.schemas[name] : schema;
}

/** A value of the schema, as short as it may be. */
function example(api, schema, depth = 0) {
  const found = resolve(api, schema ?? {}) ?? {};
  if (depth > DEPTH) return null;
  if ("const" in found) return found.const;
  if (found.enum) return found.enum[0];
  const branch = found.anyOf ?? found.oneOf ?? found.allOf;
  if (branch) return example(api, branch[0], depth + 1);
  if (found.type === "array") return [example(api, found.items, depth + 1)];
  if (found.type === "object" || found.properties) {
    const fields = Object.entries(found.properties ?? {});
    const wanted = fields.filter(([name]) => found.required?.includes(name));
    return Object.fromEntries(wanted.map(([name, of]) => [name, example(api, of, depth + 1)]));
  }
  if (found.type === "string") return "text";
  if (found.type === "boolean") return true;
  return found.type === "null" ? null : Math.max(found.minimum ?? 1, 1);
}

/** The schema with its references put in. */
function spelt(api, schema, depth = 0) {
  if (Array.isArray(schema)) return schema.map((one) => spelt(api, one, depth));
  if (schema === null || typeof schema !== "object" || depth > DEPTH) return schema;
  const found = resolve(api, schema);
  return Object.fromEntries(
    Object.entries(found).map(([key, value]) => [key, spelt(api, value, depth + 1)]),
  );
}

function json(value) {
  return h("pre", {}, JSON.stringify(value, null, 2));
}

function fold(title, ...children) {
  return h("details", {}, h("summary", {}, title), ...children);
}

function answers(api, responses) {
  return Object.entries(responses).map(([status, { description, content }]) => {
    const schema = content?.["application/json"]?.schema;
    const title = `${status} ${description ?? ""}`;
    return schema ? fold(title, json(spelt(api, schema))) : h("div", {}, title);
  });
}

function parameterRow(parameter, inputs) {
  const input = h("input", { ariaLabel: parameter.name, placeholder: parameter.in });
  inputs.push([parameter, input]);
  const text = parameter.description ?? parameter.schema?.description ?? "";
  return h("tr", {}, h("td", {}, parameter.name), h("td", {}, text), h("td", {}, input));
}

async function send(method, path, inputs, body) {
  const query = new URLSearchParams();
  const headers = {};
  let address = path;
  for (const [{ name, in: place }, { value }] of inputs) {
    if (place === "path") address = address.replace(`{${name}}`, encodeURIComponent(value));
    else if (value && place === "query") query.set(name, value);
    else if (value && place === "header") headers[name] = value;
  }
  if (body !== null) headers["Content-Type"] = "application/json";
  const given = query.size ? `?${query}` : "";
  const answer = await fetch(address + given, { method, headers, body });
  const text = await answer.text();
  const isJson = answer.headers.get("content-type")?.startsWith("application/json");
  return `${answer.status}\n${isJson ? JSON.stringify(JSON.parse(text), null, 2) : text}`;
}

function operation(api, path, method, told) {
  const inputs = [];
  const schema = told.requestBody?.content?.["application/json"]?.schema;
  const body = schema ? JSON.stringify(example(api, schema), null, 2) : null;
  const area = schema ? h("textarea", { value: body, ariaLabel: "body", spellcheck: false }) : null;
  const answer = h("pre", { hidden: true, ariaLive: "polite" });
  const button = h("button", { type: "button" }, "Send");
  button.addEventListener("click", async () => {
    answer.hidden = false;
    answer.textContent = "…";
    try {
      answer.textContent = await send(method, path, inputs, area?.value ?? null);
    } catch (error) {
      answer.textContent = String(error);
    }
  });
  const rows = (told.parameters ?? []).map((one) => parameterRow(one, inputs));
  return h(
    "details",
    { className: "operation" },
    h(
      "summary",
      {},
      h("span", { className: "method" }, method),
      h("span", { className: "path" }, path),
      h("span", { className: "summary" }, told.summary ?? ""),
    ),
    h(
      "div",
      {},
      told.description ? h("p", {}, told.description) : null,
      rows.length ? h("table", {}, h("tbody", {}, ...rows)) : null,
      schema ? h("h3", {}, "Body") : null,
      schema ? fold("Schema", json(spelt(api, schema))) : null,
      area,
      button,
      answer,
      h("h3", {}, "Answers"),
      ...answers(api, told.responses ?? {}),
    ),
  );
}

function show(api) {
  document.title = api.info.title;
  document.getElementById("title").textContent = api.info.title;
  const groups = new Map();
  for (const [path, operations] of Object.entries(api.paths)) {
    for (const [method, told] of Object.entries(operations)) {
      const tag = told.tags?.[0] ?? "other";
      const shown = operation(api, path, method.toUpperCase(), told);
      groups.set(tag, [...(groups.get(tag) ?? [h("h2", {}, tag)]), shown]);
    }
  }
  document.getElementById("operations").replaceChildren(...[...groups.values()].flat());
}

try {
  show(await (await fetch("/openapi.json")).json());
} catch (error) {
  document.getElementById("operations").textContent = `openapi.json cannot be shown: ${error}`;
}
