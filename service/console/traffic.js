// The service at a glance: how much, how fast, how well, and what was changed last.

import { sparkline } from "./chart.js";
import { badge, card, facts, flush, h, refusal } from "./dom.js";
import { milliseconds, moment, percent, rate, whole } from "./figures.js";
import { degraded, total } from "./live.js";
import { table } from "./table.js";

const TIERS = {
  none: "stored history",
  near_cache: "near copy",
  stale: "stale copy",
  client_history: "the caller's history",
  no_history: "no history",
};
const answered = (look) => total(look.tiers);
const asked = (look) => total(look.requests);
const refused = (look) => total(look.refusals);

function tile(title, unit) {
  const value = document.createTextNode("–");
  const note = h("p", { className: "note" });
  const chart = h("div", { className: "chart-place" });
  const element = h(
    "section",
    { className: "card tile" },
    h("h3", {}, title),
    h("p", { className: "figure" }, value, h("small", {}, unit)),
    note,
    chart,
  );
  return {
    element,
    tell(text, said, drawing) {
      value.data = text;
      note.textContent = said;
      chart.replaceChildren(drawing);
    },
  };
}

export function trafficView({ api, live }) {
  const tiles = [
    tile("Requests", "per second"),
    tile("Latency p50", "ms"),
    tile("Degraded answers", "%"),
    tile("Refusals", "per second"),
  ];
  const changes = table(
    [
      { title: "When (UTC)", text: (c) => moment(c.at) },
      { title: "Who", text: (c) => c.who },
      { title: "Did", same: (c) => c.action, node: (c) => badge(c.action) },
      { title: "Task", text: (c) => c.task || "backbone" },
      { title: "Version", num: true, text: (c) => c.version ?? "–" },
      { title: "Generation", num: true, text: (c) => whole(c.generation) },
      { title: "Detail", text: (c) => c.detail ?? "" },
    ],
    (c) => `${c.generation} ${c.task} ${c.action}`,
    "Nothing was changed yet. Graft a task, and it is on record here.",
  );
  const failed = h("div");
  const log = flush("Last changes", null, failed, changes.element);
  const causes = card("Answers and refusals");
  const reached = card("Generation reached");
  const element = h(
    "div",
    { className: "stack" },
    h(
      "div",
      { className: "tiles" },
      tiles.map((t) => t.element),
    ),
    h("div", { className: "aside" }, log, h("div", { className: "stack" }, causes, reached)),
  );

  function look() {
    if (!live.last) return;
    const [requests, latency, tier, refusals] = tiles;
    const last = live.last;
    requests.tell(
      rate(live.rate(asked)),
      `${whole(last.in_flight)} in flight · ${whole(asked(last))} in all`,
      sparkline(live.rates(asked), [], "Requests per second over three minutes"),
    );
    latency.tell(
      milliseconds(live.quantile(0.5)),
      `p99 ${milliseconds(live.quantile(0.99))} ms`,
      sparkline(live.quantiles(0.5), live.quantiles(0.99), "p50, and p99 dashed"),
    );
    const parts = live.rates(degraded);
    const wholes = live.rates(answered);
    tier.tell(
      percent(live.share(degraded, answered)),
      `${whole(degraded(last))} of ${whole(answered(last))} since the start`,
      sparkline(
        parts.map((part, at) => (wholes[at] ? part / wholes[at] : 0)),
        [],
        "Share of degraded answers",
      ),
    );
    refusals.tell(
      rate(live.rate(refused)),
      `${whole(refused(last))} in all`,
      sparkline(live.rates(refused), [], "Refusals per second"),
    );
    const told = [
      ["Answered with", last.tiers],
      ["Refused as", last.refusals],
      ["Store fault", last.store_faults],
    ].flatMap(([what, counts]) =>
      Object.entries(counts).map(([name, n]) => [`${what} ${TIERS[name] ?? name}`, whole(n)]),
    );
    causes.lastChild.replaceChildren(
      told.length ? facts(told) : h("p", { className: "soft" }, "No request yet."),
    );
    reached.lastChild.replaceChildren(facts(live.workers.map((w) => [w.id, whole(w.generation)])));
  }

  async function refresh() {
    try {
      const { audit } = await api.get("/v1/audit?limit=12");
      changes.update(audit.reverse());
      failed.replaceChildren();
    } catch (error) {
      failed.replaceChildren(refusal(error));
    }
  }

  return {
    title: "Overview",
    note: () => {
      const count = live.last?.workers;
      if (!count) return "";
      return `${whole(count)} ${count === 1 ? "worker answers" : "workers answer"} on this host`;
    },
    element,
    look,
    refresh,
  };
}
