// A table that keeps its rows and cells, so that live figures never take the focus away.

import { h } from "./dom.js";

/**
 * @param columns {title, text(row) | node(row) with same(row), num} each; a node is made anew only
 *   when what `same` tells has changed.
 * @param key of a row.
 */
export function table(columns, key, empty) {
  const known = new Map();
  const body = h("tbody");
  const none = h("p", { className: "empty" }, empty);
  const head = columns.map((c) =>
    h("th", { scope: "col", className: c.num ? "num" : "" }, c.title),
  );
  const element = h(
    "div",
    { className: "scroll" },
    h("table", {}, h("thead", {}, h("tr", {}, head)), body),
    none,
  );

  function fresh(row) {
    const cells = columns.map((c) => h("td", { className: c.num ? "num" : "" }));
    return { line: h("tr", {}, cells), cells, told: columns.map(() => undefined) };
  }

  function update(rows) {
    const kept = new Set(rows.map(key));
    for (const [name, { line }] of known) {
      if (!kept.has(name)) {
        line.remove();
        known.delete(name);
      }
    }
    rows.forEach((row, at) => {
      const name = key(row);
      if (!known.has(name)) known.set(name, fresh(row));
      const { line, cells, told } = known.get(name);
      columns.forEach((column, index) => {
        const now = column.node ? String(column.same(row)) : String(column.text(row));
        if (now === told[index]) return;
        told[index] = now;
        if (column.node) cells[index].replaceChildren(column.node(row));
        else cells[index].textContent = now;
      });
      if (body.children[at] !== line) body.insertBefore(line, body.children[at] ?? null);
    });
    none.hidden = rows.length > 0;
    element.firstChild.hidden = rows.length === 0;
  }

  update([]);
  return { element, update };
}
