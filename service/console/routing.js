// Which versions of a task see traffic: stable, canary, shadow, the guard, and their drift.

import { taskPath } from "./api.js";
import { badge, card, field, h, refusal } from "./dom.js";
import { fixed, whole } from "./figures.js";
import { table } from "./table.js";

const number = (name, properties) => h("input", { type: "number", name, ...properties });
const given = (input) => (input.value === "" ? null : Number(input.value));

function versions(name, none) {
  return h("select", { name }, none && h("option", { value: "" }, none));
}

function offer(select, found) {
  const kept = [...select.options].filter((option) => option.value === "");
  const options = found.map((v) => h("option", { value: String(v.version) }, `v${v.version}`));
  select.replaceChildren(...kept, ...options);
}

function form(submit) {
  const inputs = {
    stable: versions("stable"),
    canary: versions("canary", "none"),
    shadow: versions("shadow", "none"),
    percent: number("percent", { min: 0, max: 100, step: "any", value: "5" }),
    maxPsi: number("max_psi", { min: 0, step: "any", placeholder: "0.25" }),
    minOverlap: number("min_overlap", { min: 0, max: 1, step: "any", placeholder: "0.7" }),
    minRows: number("min_rows", { min: 1, step: 1, value: "1000" }),
  };
  const element = h(
    "form",
    { className: "stack", onsubmit: submit, novalidate: true },
    h(
      "div",
      { className: "fields" },
      field("Stable", inputs.stable),
      field("Canary", inputs.canary),
      field("Canary, % of users", inputs.percent),
      field("Shadow", inputs.shadow),
    ),
    h(
      "div",
      { className: "fields" },
      field("Guard: most psi", inputs.maxPsi),
      field("Guard: least overlap", inputs.minOverlap),
      field("Guard: after rows", inputs.minRows),
    ),
  );
  return { inputs, element };
}

function show(inputs, routing) {
  inputs.stable.value = routing.stable ?? "";
  inputs.canary.value = routing.canary?.version ?? "";
  inputs.percent.value = routing.canary?.percent ?? 5;
  inputs.shadow.value = routing.shadow ?? "";
  inputs.maxPsi.value = routing.guard?.max_psi ?? "";
  inputs.minOverlap.value = routing.guard?.min_overlap ?? "";
  inputs.minRows.value = routing.guard?.min_rows ?? 1000;
}

function wanted(inputs) {
  const canary = given(inputs.canary);
  const limits = [given(inputs.maxPsi), given(inputs.minOverlap)];
  const guarded = canary !== null && limits.some((limit) => limit !== null);
  return {
    stable: given(inputs.stable),
    canary: canary === null ? null : { version: canary, percent: given(inputs.percent) ?? 0 },
    shadow: given(inputs.shadow),
    guard: guarded
      ? { max_psi: limits[0], min_overlap: limits[1], min_rows: given(inputs.minRows) ?? 1000 }
      : null,
  };
}

function driftTable(guard) {
  const over = (v) => guard()?.max_psi && v.psi > guard().max_psi;
  const under = (v) => guard()?.min_overlap && v.overlap < guard().min_overlap;
  return table(
    [
      { title: "Version", text: (v) => `v${v.version}` },
      {
        title: "Role",
        same: (v) => v.roles.join(),
        node: (v) =>
          h(
            "span",
            { className: "row" },
            v.roles.map((role) => badge(role, "on")),
          ),
      },
      { title: "Rows", num: true, text: (v) => whole(v.rows) },
      {
        title: "psi",
        num: true,
        same: (v) => `${v.psi} ${over(v)}`,
        node: (v) => h("span", { className: over(v) ? "down" : "" }, fixed(v.psi, 3)),
      },
      {
        title: "Overlap of the best",
        num: true,
        same: (v) => `${v.overlap} ${under(v)}`,
        node: (v) => h("span", { className: under(v) ? "down" : "" }, fixed(v.overlap, 3)),
      },
    ],
    (v) => v.version,
    "Nothing is compared: choose a canary or a shadow.",
  );
}

/** The part of a task's page that routes it; shows itself anew whenever `follow` is called. */
export function routingPart({ api, may, changed }) {
  let name = null;
  let guard = null;
  let shown = null;
  const drift = driftTable(() => guard);
  const said = h("div");
  const { inputs, element: fields } = form((event) => {
    event.preventDefault();
    apply();
  });
  const button = h("button", { className: "primary", disabled: !may.graft }, "Apply routing");
  fields.append(
    h(
      "div",
      { className: "row" },
      button,
      !may.graft && h("small", {}, "Needs a token of scope graft."),
    ),
    said,
  );
  const element = card(
    "Routing",
    fields,
    h("h3", {}, "Drift from the stable version"),
    drift.element,
  );

  async function apply() {
    button.disabled = true;
    try {
      await api.put(`${taskPath(name)}/routing`, wanted(inputs));
      said.replaceChildren();
      await changed(`Routing of ${name} changed in every worker.`);
    } catch (error) {
      said.replaceChildren(refusal(error));
    } finally {
      button.disabled = !may.graft;
    }
  }

  async function follow() {
    const of = name;
    const told = await api.get(`${taskPath(of)}/drift`).catch(() => null);
    if (told && of === name) drift.update(told.versions);
  }

  async function open(task) {
    name = task.name;
    element.hidden = task.kind === "head";
    if (element.hidden) return;
    const routing = await api.get(`${taskPath(name)}/routing`);
    const now = JSON.stringify([
      routing.name,
      { ...routing, generation: 0 },
      task.versions.map((v) => v.version),
    ]);
    if (now !== shown) {
      // else what somebody is typing stays
      for (const select of [inputs.stable, inputs.canary, inputs.shadow])
        offer(select, task.versions);
      show(inputs, routing);
      said.replaceChildren();
    }
    shown = now;
    guard = routing.guard;
    await follow();
  }

  return { element, open, follow: () => name !== null && !element.hidden && follow() };
}
