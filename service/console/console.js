// The page: signs in, then shows one view at a time and tells it of every look and every change.

import { Api } from "./api.js";
import { h } from "./dom.js";
import { percent, whole } from "./figures.js";
import { graftView } from "./graft.js";
import { degraded, Live, total } from "./live.js";
import { playgroundView } from "./playground.js";
import { Probe } from "./probe.js";
import { forgetToken, keptToken, open, signIn } from "./session.js";
import { taskView } from "./task.js";
import { tasksView } from "./tasks.js";
import { followTheme, toggleTheme } from "./theme.js";
import { trafficView } from "./traffic.js";
import { workersView } from "./workers.js";

const PLACES = [
  ["overview", "Overview"],
  ["tasks", "Tasks"],
  ["workers", "Workers"],
  ["graft", "Graft"],
  ["playground", "Playground"],
];

/** All tasks, read again whenever the generation has moved. */
class Tasks {
  constructor(api) {
    this.api = api;
    this.all = [];
    this.generation = null;
  }

  async read() {
    const told = await this.api.get("/v1/tasks");
    this.all = told.tasks;
    this.generation = told.generation;
  }

  get scoring() {
    return this.all.filter((task) => task.version !== null);
  }

  of(name) {
    return this.all.find((task) => task.name === name);
  }
}

class Page {
  constructor(api, who, model, schema) {
    this.live = new Live(api);
    this.tasks = new Tasks(api);
    const context = {
      api,
      live: this.live,
      tasks: this.tasks,
      probe: new Probe(schema),
      may: { graft: who.scopes.includes("graft") },
      changed: (said) => this.changed(said),
    };
    this.views = {
      overview: trafficView(context),
      tasks: tasksView(context),
      task: taskView(context),
      workers: workersView(context),
      graft: graftView(context),
      playground: playgroundView(context),
    };
    this.build(who, model);
    this.live.addEventListener("look", () => (this.looked = this.look()));
    this.onHash = () => this.show();
    window.addEventListener("hashchange", this.onHash);
  }

  build(who, model) {
    this.links = new Map(
      PLACES.map(([key, title]) => [
        key,
        h("a", { href: `#${key}` }, title, h("span", { className: "count" })),
      ]),
    );
    this.state = h("p", { className: "state" }, "reading…");
    this.toast = h("p", {
      className: "toast",
      role: "status",
      onclick: () => this.toast.replaceChildren(),
    });
    this.title = h("h1");
    this.note = h("small");
    this.notices = h("div", { "aria-live": "polite" });
    this.place = h("div");
    this.generation = h("span", { className: "mono" });
    const side = h(
      "aside",
      { className: "side" },
      h(
        "div",
        { className: "brand" },
        h("img", { src: "/console/icon.svg", alt: "" }),
        "taskgraft",
      ),
      h("nav", { "aria-label": "Console" }, [...this.links.values()]),
      h(
        "footer",
        {},
        this.state,
        h(
          "span",
          { className: "soft" },
          "Model ",
          h("span", { className: "mono", title: model.fingerprint }, model.model),
        ),
        h("span", { className: "soft" }, "Generation ", this.generation),
        h("span", { className: "soft" }, who.name, ` (${who.scopes.join(", ")})`),
        h(
          "div",
          { className: "row" },
          h("button", { onclick: toggleTheme }, "Theme"),
          h("button", { onclick: () => leave() }, "Sign out"),
        ),
      ),
    );
    this.main = h(
      "main",
      { id: "main", tabIndex: -1 },
      h("div", { className: "heading" }, this.title, this.note),
      this.notices,
      this.place,
    );
    const skip = h(
      "a",
      {
        className: "skip",
        href: "#main",
        onclick: (event) => {
          event.preventDefault();
          this.main.focus();
        },
      },
      "Skip to content",
    );
    document.body.replaceChildren(
      skip,
      h("div", { className: "shell" }, side, this.main),
      this.toast,
    );
  }

  async start() {
    await this.tasks.read().catch(() => {});
    for (const view of Object.values(this.views)) if (view !== this.views.task) view.refresh?.();
    this.show();
    await this.live.start();
  }

  stop() {
    this.live.stop();
    window.removeEventListener("hashchange", this.onHash);
  }

  get view() {
    const [place, name] = location.hash.slice(1).split("/");
    return place === "tasks" && name ? this.views.task : (this.views[place] ?? this.views.overview);
  }

  show() {
    const [place, name] = location.hash.slice(1).split("/");
    const view = this.view;
    if (view === this.views.task) view.show(decodeURIComponent(name));
    const current = this.links.has(place) ? place : "overview";
    for (const [key, link] of this.links) {
      if (key === current) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    this.place.replaceChildren(view.element);
    this.tell();
    view.look?.();
  }

  tell() {
    this.links.get("tasks").lastChild.textContent = whole(this.tasks.all.length);
    this.title.textContent = this.view.title;
    this.note.textContent = this.view.note();
    document.title = `${this.view.title} · taskgraft`;
  }

  async look() {
    const { last, error } = this.live;
    const warned = this.warn();
    this.state.className = `state ${error ? "bad" : warned ? "warn" : ""}`;
    this.state.textContent = error ? "no answer" : warned ? "degraded" : last.status;
    if (error || !last) return;
    this.generation.textContent = whole(last.generation);
    this.links.get("workers").lastChild.textContent = whole(this.live.workers.length);
    if (this.tasks.generation !== last.generation) await this.reread();
    this.view.look?.();
    this.tell();
  }

  /** Whether there is anything to warn of. What is unchanged stays, to be read out once. */
  warn() {
    const warnings = this.warnings();
    const said = (elements) => [...elements].map((element) => element.textContent).join();
    if (said(warnings) !== said(this.notices.children)) this.notices.replaceChildren(...warnings);
    return warnings.length > 0;
  }

  warnings() {
    const { last, error } = this.live;
    const said = [];
    if (error)
      said.push([
        "bad",
        "No figures. ",
        `${error.message} What is shown is the last that was read.`,
      ]);
    if (last?.behind)
      said.push(["", "Behind. ", `This worker does not follow the wanted tasks: ${last.behind}`]);
    const share = this.live.share(degraded, (look) => total(look.tiers));
    if (share)
      said.push([
        "",
        "Degraded. ",
        `${percent(share)}% of the last answers were given without the feature store.`,
      ]);
    return said.map(([kind, title, text]) =>
      h("p", { className: `notice ${kind}` }, h("strong", {}, title), text),
    );
  }

  async reread() {
    try {
      await this.tasks.read();
      for (const view of Object.values(this.views)) {
        if (view !== this.views.task || view === this.view) await view.refresh?.();
      }
    } catch {
      // The next look tells that nobody answers.
    }
  }

  /** After a change made here: everything is read again at once. */
  async changed(said) {
    this.toast.replaceChildren(said);
    setTimeout(() => this.toast.replaceChildren(), 6000);
    await this.live.look();
    await this.looked;
  }
}

let page = null;

async function enter(token, who) {
  const api = new Api(token, (refused) => leave(refused));
  const [model, schema] = await Promise.all([api.get("/v1/backbone"), api.get("/v1/schema")]);
  page = new Page(api, who, model, schema);
  await page.start();
}

/** @param refused why; a service that does not answer is no reason to forget the token. */
function leave(refused = null) {
  page?.stop();
  page = null;
  if (refused?.code !== "no_answer") forgetToken();
  signIn((api, who) => enter(api.token, who), refused?.message);
}

async function begin() {
  followTheme();
  const token = keptToken();
  if (!token) {
    leave();
    return;
  }
  try {
    const { who } = await open(token);
    await enter(token, who);
  } catch (error) {
    leave(error);
  }
}

begin();
