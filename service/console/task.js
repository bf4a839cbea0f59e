// One task: its figures, its versions, where they come from, its routing and its history.

import { taskPath } from "./api.js";
import { histogram } from "./chart.js";
import { ask, badge, card, facts, flush, h, refusal } from "./dom.js";
import { figure, moment, percent, whole } from "./figures.js";
import { total } from "./live.js";
import { routingPart } from "./routing.js";
import { table } from "./table.js";

export function taskView(context) {
  const { api, live, tasks, may, changed } = context;
  let name = null;
  const own = h("div", { className: "stack" });
  const said = h("div");
  const spread = card("Scores");
  const routing = routingPart(context);
  const versions = versionTable(() => tasks.of(name), rollBack, may);
  const versionCard = flush("Versions", null, versions.element);
  const history = historyTable();
  const historyCard = flush("History", null, history.element);
  const remove = h(
    "button",
    { className: "danger", disabled: !may.graft, onclick: removeTask },
    "Remove task",
  );
  const element = h(
    "div",
    { className: "stack" },
    said,
    h(
      "div",
      { className: "aside" },
      h("div", { className: "stack" }, routing.element, versionCard, historyCard),
      h("div", { className: "stack" }, own, spread),
    ),
  );

  async function change(title, text, action, call, done) {
    if (!(await ask(title, text, action))) return;
    try {
      await call();
      said.replaceChildren();
      await changed(done);
    } catch (error) {
      said.replaceChildren(refusal(error));
    }
  }

  function rollBack(version) {
    return change(
      `Let version ${version} of ${name} score?`,
      `Version ${version} will score for everybody, in every worker. A canary or shadow ends.`,
      `Score with v${version}`,
      () => api.post(`${taskPath(name)}/rollback`, { version }),
      `${name} scores with version ${version}.`,
    );
  }

  function removeTask() {
    const text = "No request will be scored for it any more. Its history stays.";
    return change(
      `Remove ${name}?`,
      text,
      "Remove",
      () => api.remove(taskPath(name)),
      `${name} was removed.`,
    );
  }

  function showFacts(task) {
    const pairs = [
      ["Kind", task.kind === "head" ? "in the bundle" : "grafted"],
      ["Version", String(task.version ?? "dormant")],
      ["Parameters", whole(task.parameters)],
    ];
    const [metrics, provenance] = [told(task.metrics), told(task.provenance)];
    own.replaceChildren(
      card("Task", facts(pairs), h("div", { className: "row" }, task.kind === "prompt" && remove)),
      card(
        "Held-out figures",
        metrics.length ? facts(metrics) : h("p", { className: "soft" }, "None came with it."),
      ),
      card(
        "Provenance",
        provenance.length ? facts(provenance) : h("p", { className: "soft" }, "None came with it."),
      ),
    );
  }

  function look() {
    if (!live.last || !tasks.of(name)) return;
    spread.lastChild.replaceChildren(...spreads(live.last, name));
    routing.follow();
  }

  async function show(wanted) {
    name = wanted;
    const task = tasks.of(name);
    said.replaceChildren();
    for (const part of [own, spread, routing.element, versionCard, historyCard])
      part.hidden = !task;
    if (!task) {
      said.replaceChildren(
        h(
          "p",
          { className: "card empty" },
          "This task is not live. ",
          h("a", { href: "#tasks" }, "All tasks"),
        ),
      );
      return;
    }
    showFacts(task);
    versionCard.hidden = task.kind === "head";
    versions.update([...task.versions].reverse());
    look();
    try {
      await routing.open(task);
      history.update((await api.get(`${taskPath(name)}/history?limit=50`)).history.reverse());
    } catch (error) {
      said.replaceChildren(refusal(error));
    }
  }

  return {
    get title() {
      return name ?? "Task";
    },
    note: () => {
      const count = live.last?.tasks[name];
      return count
        ? `${whole(total(count.requests))} requests, ${whole(count.rows)} rows since the start`
        : "";
    },
    element,
    show,
    look,
    refresh: () => show(name),
  };
}

function told(values) {
  return Object.entries(values)
    .filter(([, value]) => value !== "" && value !== null)
    .map(([key, value]) => [
      key,
      typeof value === "object" ? JSON.stringify(value) : figure(value),
    ]);
}

function versionTable(task, rollBack, may) {
  const state = (v) => (v.version === task()?.version ? "scores" : "");
  return table(
    [
      {
        title: "Version",
        same: (v) => `${v.version} ${state(v)}`,
        node: (v) =>
          h("span", { className: "row" }, `v${v.version}`, state(v) && badge("scores", "on")),
      },
      {
        title: "Grafted (UTC)",
        same: (v) => v.created_at,
        node: (v) => h("span", { className: "nowrap" }, moment(v.created_at)),
      },
      {
        title: "File",
        same: (v) => v.sha256,
        node: (v) => h("code", { title: v.sha256 }, v.sha256.slice(0, 12)),
      },
      { title: "Signed by", text: (v) => v.signer || "–" },
      {
        title: "Provenance",
        same: (v) => v.sha256,
        node: (v) => h("details", {}, h("summary", {}, "show"), facts(told(v.note))),
      },
      {
        title: "",
        same: (v) => state(v),
        node: (v) =>
          h(
            "button",
            { hidden: Boolean(state(v)), disabled: !may.graft, onclick: () => rollBack(v.version) },
            `Use v${v.version}`,
          ),
      },
    ],
    (v) => v.version,
    "No versions.",
  );
}

function historyTable() {
  return table(
    [
      { title: "When (UTC)", text: (c) => moment(c.at) },
      { title: "Who", text: (c) => c.who },
      { title: "Did", same: (c) => c.action, node: (c) => badge(c.action) },
      { title: "Version", num: true, text: (c) => c.version ?? "–" },
      { title: "Generation", num: true, text: (c) => whole(c.generation) },
      { title: "Detail", text: (c) => c.detail ?? "" },
    ],
    (c) => `${c.generation} ${c.action}`,
    "A task of the bundle has no history: it never changes.",
  );
}

function spreads(look, name) {
  const found = Object.entries(look.spread[name] ?? {});
  if (!found.length)
    return [
      h(
        "p",
        { className: "soft" },
        "No score was seen yet. A few requests a second are looked at.",
      ),
    ];
  const bounds = look.spread_bounds;
  return found.map(([version, counts]) =>
    h(
      "figure",
      { className: "bin" },
      h(
        "h3",
        {},
        version === "0" ? "of the bundle" : `version ${version}`,
        ` · ${whole(counts.reduce((a, b) => a + b, 0))} rows`,
      ),
      histogram(counts, { label: `Scores of version ${version}` }),
      h(
        "div",
        { className: "scale" },
        h("span", {}, `${percent(bounds[0])}%`),
        h("span", {}, "50%"),
        h("span", {}, `${percent(bounds.at(-1))}%`),
      ),
    ),
  );
}
