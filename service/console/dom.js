// Builds elements. Text goes in as text nodes alone: no name of a task can become markup.

const SVG = "http://www.w3.org/2000/svg";

/** An element. Properties that start with "on" are listeners, `aria-` and `data-` attributes. */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element && !name.includes("-")) element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(
    ...children.flat().filter((child) => child !== null && child !== undefined && child !== false),
  );
  return element;
}

export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

export function card(title, ...children) {
  return h(
    "section",
    { className: "card" },
    h("header", {}, h("h2", {}, title)),
    h("div", { className: "stack" }, ...children),
  );
}

/** A card whose content reaches its edges, like a table; what is said goes beside the title. */
export function flush(title, said, ...children) {
  const header = h("header", {}, h("h2", {}, title), said && h("small", {}, said));
  return h("section", { className: "card flush" }, header, ...children);
}

export function badge(text, kind = "") {
  return h("span", { className: `badge ${kind}` }, text);
}

export function field(title, input) {
  return h("label", { className: "field" }, h("span", {}, title), input);
}

export function facts(pairs) {
  const list = h("dl", { className: "facts" });
  for (const [name, value] of pairs) list.append(h("dt", {}, name), h("dd", {}, value));
  return list;
}

/** What the service refused, with all that it said for machines. */
export function refusal(error) {
  const told = [error.reason && `reason: ${error.reason}`, error.where && `where: ${error.where}`];
  if (Object.keys(error.details ?? {}).length) told.push(JSON.stringify(error.details, null, 2));
  if (error.requestId) told.push(`request ${error.requestId}`);
  const title = `${error.status ? `${error.status} ` : ""}${error.code ?? "failed"}`;
  return h(
    "div",
    { className: "notice bad", role: "alert" },
    h("strong", {}, title),
    " ",
    error.message,
    h("pre", {}, told.filter(Boolean).join("\n")),
  );
}

/** Asks before what cannot be missed; true if it shall be done. */
export function ask(title, text, action) {
  return new Promise((resolve) => {
    const done = (answer) => {
      dialog.remove();
      resolve(answer);
    };
    const dialog = h(
      "dialog",
      { "aria-label": title, oncancel: () => done(false) },
      h("h2", {}, title),
      h("p", { className: "soft" }, text),
      h(
        "div",
        { className: "row" },
        h("button", { onclick: () => done(false) }, "Leave it"),
        h("button", { className: "primary", onclick: () => done(true) }, action),
      ),
    );
    document.body.append(dialog);
    dialog.showModal();
  });
}
