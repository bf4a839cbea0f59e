// The same request before and after a change: which columns are the same bits, which are new.

import { badge, h } from "./dom.js";
import { fixed } from "./figures.js";

const AT_ONCE = 64; // tasks of one request

/** Scores of all these tasks; as many requests as it takes. */
export async function scoreAll(api, probe, names) {
  const whole = { scores: {}, tasks: {}, degraded: "none", generation: 0 };
  for (let at = 0; at < Math.max(names.length, 1); at += AT_ONCE) {
    const told = await api.post("/v1/playground/score", {
      ...probe,
      tasks: names.slice(at, at + AT_ONCE),
    });
    Object.assign(whole.scores, told.scores);
    Object.assign(whole.tasks, told.tasks);
    Object.assign(whole, { degraded: told.degraded, generation: told.generation });
  }
  return whole;
}

/** The largest difference; a JSON number is the shortest that gives back the same float32. */
export function distance(before, after) {
  return before.reduce((most, score, at) => Math.max(most, Math.abs(score - after[at])), 0);
}

function verdict(before, after) {
  if (!before) return badge("new column", "on");
  if (!after) return badge("gone", "warn");
  const most = distance(before, after);
  return most === 0
    ? badge("bit-identical", "on")
    : badge(`moved by ${most.toExponential(1)}`, "warn");
}

function version(answer, task) {
  return task in answer.scores ? `v${answer.tasks[task].version}` : "–";
}

/** A table: one line per task, with the scores of the first items before and after. */
export function comparison(before, after, items) {
  const names = [...new Set([...Object.keys(after.scores), ...Object.keys(before.scores)])];
  const isNew = (task) => !(task in before.scores);
  names.sort((a, b) => isNew(b) - isNew(a));
  const shown = items.slice(0, 4);
  const cells = (answer, task) =>
    shown.map((_, at) => h("td", { className: "num" }, fixed(answer.scores[task]?.[at], 6)));
  const lines = names.map((task) =>
    h(
      "tr",
      { className: isNew(task) ? "chosen" : "" },
      h("td", {}, task),
      h("td", { className: "nowrap" }, `${version(before, task)} → ${version(after, task)}`),
      h("td", {}, verdict(before.scores[task], after.scores[task])),
      cells(before, task),
      cells(after, task),
    ),
  );
  const titles = (when) =>
    shown.map((item) => h("th", { scope: "col", className: "num" }, `${item} ${when}`));
  return h(
    "div",
    { className: "scroll" },
    h(
      "table",
      { className: "comparison" },
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          ["Task", "Version", "Old scores"].map((t) => h("th", { scope: "col" }, t)),
          titles("before"),
          titles("after"),
        ),
      ),
      h("tbody", {}, lines),
    ),
  );
}
