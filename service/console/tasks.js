// All live tasks, and what each one does now.

import { histogram } from "./chart.js";
import { badge, h } from "./dom.js";
import { figure, fixed, rate, whole } from "./figures.js";
import { total } from "./live.js";
import { table } from "./table.js";

/** Of all versions that answer; what is not live any more is left out by the service. */
export function spreadOf(look, name) {
  const versions = Object.values(look?.spread[name] ?? {});
  return versions.reduce((sum, counts) => sum?.map((n, at) => n + counts[at]) ?? counts, null);
}

export function tasksView({ live, tasks }) {
  const count = (name, of) => (look) => (look.tasks[name] ? of(look.tasks[name]) : 0);
  const metric = (task) => Object.entries(task.metrics)[0];
  const lines = table(
    [
      {
        title: "Task",
        same: (t) => t.name,
        node: (t) => h("a", { href: `#tasks/${encodeURIComponent(t.name)}` }, t.name),
      },
      {
        title: "Kind",
        same: (t) => t.kind,
        node: (t) => badge(t.kind === "head" ? "bundle" : "grafted", t.kind === "head" ? "" : "on"),
      },
      {
        title: "Version",
        num: true,
        same: (t) => JSON.stringify([t.version, t.canary]),
        node: ({ version, canary }) =>
          h(
            "span",
            {},
            canary && badge(`canary ${canary.version} at ${canary.percent} %`, "warn"),
            ` ${version ?? "dormant"}`,
          ),
      },
      { title: "Versions", num: true, text: (t) => t.versions.length || "–" },
      {
        title: "Held-out figure",
        text: (t) => (metric(t) ? `${metric(t)[0]} ${fixed(metric(t)[1])}` : "–"),
      },
      { title: "Parameters", num: true, text: (t) => whole(t.parameters) },
      {
        title: "Requests/s",
        num: true,
        text: (t) => rate(live.rate(count(t.name, (c) => total(c.requests)))),
      },
      { title: "Rows/s", num: true, text: (t) => rate(live.rate(count(t.name, (c) => c.rows))) },
      {
        title: "Scores",
        same: (t) => JSON.stringify(spreadOf(live.last, t.name)),
        node: (t) => {
          const counts = spreadOf(live.last, t.name);
          if (!counts) return h("small", {}, "none yet");
          return histogram(counts, { small: true, label: `Spread of the scores of ${t.name}` });
        },
      },
    ],
    (t) => t.name,
    "No task of this name.",
  );
  const search = h("input", {
    type: "search",
    placeholder: "Filter by name",
    "aria-label": "Filter tasks",
    oninput: look,
  });
  const element = h(
    "div",
    { className: "stack" },
    h("div", { className: "row" }, search),
    h("section", { className: "card flush" }, lines.element),
  );

  function look() {
    const wanted = search.value.trim().toLowerCase();
    lines.update(tasks.all.filter((t) => t.name.includes(wanted)));
  }

  return {
    title: "Tasks",
    note: () => {
      const grafted = tasks.all.filter((t) => t.kind === "prompt").length;
      return `${whole(tasks.all.length - grafted)} of the bundle, ${figure(grafted)} grafted`;
    },
    element,
    look,
    refresh: look,
  };
}
