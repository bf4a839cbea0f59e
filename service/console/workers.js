// The workers of all replicas, and the generation each has reached.

import { badge, h } from "./dom.js";
import { whole } from "./figures.js";
import { table } from "./table.js";

export function workersView({ live }) {
  const lines = table(
    [
      { title: "Worker", text: (w) => w.id },
      {
        title: "State",
        same: (w) => w.state,
        node: (w) => badge(w.state, w.state === "serving" ? "on" : "warn"),
      },
      { title: "Generation", num: true, text: (w) => whole(w.generation) },
      {
        title: "Behind by",
        num: true,
        text: (w) => whole(Math.max(live.last.generation - w.generation, 0)),
      },
      { title: "Reason", text: (w) => w.reason },
    ],
    (w) => w.id,
    "No worker has told how far it is.",
  );
  const element = h("section", { className: "card flush" }, lines.element);
  return {
    title: "Workers",
    note: () => `${live.workers.length} alive, in all replicas`,
    element,
    look: () => live.last && lines.update(live.workers),
  };
}
