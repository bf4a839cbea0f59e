// Scores of one user's items, their ranking under weights, and what a change of the tasks moved.

import { comparison, scoreAll } from "./compare.js";
import { badge, card, field, flush, h, refusal } from "./dom.js";
import { fixed } from "./figures.js";
import { table } from "./table.js";

const SHOWN = 5; // tasks that are chosen at first

/** Indices of the items, best first; equal sums keep the order of the request. */
export function ranking(scores, weights) {
  const names = Object.keys(weights);
  const count = names.length ? scores[names[0]].length : 0;
  const sums = Array.from({ length: count }, (_, at) =>
    names.reduce((sum, name) => sum + weights[name] * scores[name][at], 0),
  );
  return sums
    .map((sum, index) => ({ index, sum }))
    .sort((a, b) => b.sum - a.sum || a.index - b.index);
}

function rankTable(names, scores) {
  return table(
    [
      { title: "Rank", num: true, text: (row) => row.rank },
      {
        title: "Moved",
        num: true,
        same: (row) => row.moved,
        node: (row) =>
          h(
            "span",
            { className: row.moved > 0 ? "up" : "down" },
            row.moved ? `${row.moved > 0 ? "↑" : "↓"}${Math.abs(row.moved)}` : "",
          ),
      },
      { title: "Item", text: (row) => row.item },
      { title: "Weighted sum", num: true, text: (row) => fixed(row.sum) },
      ...names.map((name) => ({
        title: name,
        num: true,
        text: (row) => fixed(scores[name][row.index]),
      })),
    ],
    (row) => row.index,
    "Choose a task.",
  );
}

export function playgroundView({ api, tasks, live, probe }) {
  const weights = new Map();
  let answer = null;
  let asked = null;
  let first = [];
  const user = h("input", {
    name: "user",
    required: true,
    spellcheck: false,
    autocomplete: "off",
    value: probe.user,
  });
  const items = h("textarea", {
    name: "items",
    rows: 3,
    required: true,
    spellcheck: false,
    value: probe.items,
  });
  const sliders = h("div", { className: "weights" });
  const said = h("div");
  const ranked = h(
    "section",
    { className: "card flush" },
    h(
      "p",
      { className: "empty" },
      "Pick a user and some items, then score them. Move a weight and the ranking follows.",
    ),
  );
  const moved = h("div", { hidden: true });
  const filter = h("input", {
    type: "search",
    placeholder: "Filter",
    "aria-label": "Filter weights",
    oninput: showSliders,
  });
  const button = h("button", { className: "primary", type: "submit" }, "Score");
  const form = h(
    "form",
    { className: "stack", novalidate: true, onsubmit: submit },
    field("User", user),
    field("Items, at most 200", items),
    h("div", { className: "row" }, button, said),
  );
  const element = h(
    "div",
    { className: "stack" },
    h(
      "div",
      { className: "aside" },
      ranked,
      h(
        "div",
        { className: "stack" },
        card("Who and what", form),
        card("Weights", filter, sliders),
      ),
    ),
    moved,
  );

  function showSliders() {
    const wanted = filter.value.trim().toLowerCase();
    const { scoring } = tasks;
    if (!weights.size) scoring.slice(0, SHOWN).forEach((t) => weights.set(t.name, 1));
    for (const name of weights.keys()) if (!tasks.of(name)) weights.delete(name);
    sliders.replaceChildren(
      ...scoring.filter((t) => t.name.includes(wanted)).map((t) => slider(t.name)),
    );
  }

  function slider(name) {
    const value = h("span", { className: "num" }, (weights.get(name) ?? 0).toFixed(2));
    const range = h("input", {
      type: "range",
      min: -1,
      max: 1,
      step: 0.05,
      "aria-label": `Weight of ${name}`,
      disabled: !weights.has(name),
      oninput: () => {
        weights.set(name, Number(range.value));
        value.textContent = Number(range.value).toFixed(2);
        showRanking();
      },
    });
    range.value = weights.get(name) ?? 0;
    const chosen = h("input", {
      type: "checkbox",
      checked: weights.has(name),
      "aria-label": `Show ${name}`,
      onchange: () => {
        if (chosen.checked) weights.set(name, 1);
        else weights.delete(name);
        range.disabled = !chosen.checked;
        range.value = weights.get(name) ?? 0;
        value.textContent = Number(range.value).toFixed(2);
        showRanking();
      },
    });
    return h(
      "label",
      {},
      chosen,
      h("span", { className: "name", title: name }, name),
      range,
      value,
    );
  }

  const shownTable = { key: null };

  function showRanking() {
    if (!answer) return;
    const names = [...weights.keys()].filter((name) => name in answer.scores);
    const key = JSON.stringify([names, answer.generation, asked]);
    if (shownTable.key !== key) {
      Object.assign(shownTable, { key, part: rankTable(names, answer.scores) });
      const degraded = answer.degraded !== "none" && badge(`degraded: ${answer.degraded}`, "warn");
      ranked.replaceChildren(
        h(
          "header",
          {},
          h("h2", {}, "Ranking"),
          h("small", {}, `generation ${answer.generation}`),
          degraded || "",
        ),
        shownTable.part.element,
      );
    }
    const order = ranking(
      answer.scores,
      Object.fromEntries(names.map((name) => [name, weights.get(name)])),
    );
    if (!first.length) first = order.map((row) => row.index);
    shownTable.part.update(
      order.map((row, at) => ({
        ...row,
        rank: at + 1,
        item: asked.item_ids[row.index],
        moved: first.indexOf(row.index) - at,
      })),
    );
  }

  async function submit(event) {
    event.preventDefault();
    probe.keep(user.value, items.value);
    const now = probe.read();
    if (!now) {
      said.replaceChildren(h("small", {}, "Give a user and at least one item."));
      return;
    }
    await score({ ...now, item_ids: now.item_ids.slice(0, 200) });
  }

  async function score(request) {
    button.disabled = true;
    try {
      const names = tasks.scoring.map((t) => t.name);
      answer = await scoreAll(api, request, names);
      asked = request;
      first = [];
      said.replaceChildren();
      showRanking();
    } catch (error) {
      said.replaceChildren(refusal(error));
    } finally {
      button.disabled = false;
    }
  }

  /** After a change of the tasks: the same request again, beside what it gave before. */
  async function refresh() {
    const before = answer;
    showSliders();
    if (!before || before.generation === live.last?.generation) return;
    for (const task of tasks.scoring) {
      if (!(task.name in before.scores) && weights.size < SHOWN) weights.set(task.name, 1);
    }
    showSliders();
    await score(asked);
    if (answer === before) return; // refused, as the form says
    moved.replaceChildren(
      flush(
        "What the last change moved",
        `generation ${before.generation} → ${answer.generation}`,
        comparison(before, answer, asked.item_ids),
      ),
    );
    moved.hidden = false;
  }

  showSliders();
  return {
    title: "Playground",
    note: () => "Scores by the same models as live traffic",
    element,
    refresh,
  };
}
