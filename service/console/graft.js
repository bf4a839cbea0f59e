// Grafting by file: what the file says, what each check of the gate found, and what it changed.

import { comparison, scoreAll } from "./compare.js";
import { card, facts, field, flush, h, refusal } from "./dom.js";
import { figure, whole } from "./figures.js";
import { readPromptHeader } from "./prompt_file.js";

// In the order of the gate, with the reasons for which each refuses.
const CHECKS = [
  ["signature", "Signature", ["unsigned", "unknown_key", "bad_signature"]],
  ["format", "Format", ["malformed", "unsupported_format", "too_large"]],
  ["digest", "Digest", ["digest_mismatch"]],
  ["backbone", "Task and backbone", ["wrong_task_name", "wrong_backbone", "wrong_schema"]],
  ["tensors", "Tensors", ["missing_tensor", "unexpected_tensor", "wrong_shape", "wrong_dtype"]],
  ["finite", "Finite numbers", ["non_finite"]],
  ["golden_rows", "Golden rows replayed", ["golden_mismatch", "too_slow"]],
  ["workers", "Every worker serves it", ["not_converged"]],
];
const MARKS = { passed: "✓", failed: "✕", waiting: "·" };

function line(state, title, told) {
  return h(
    "li",
    { className: state },
    h("span", { className: "mark", "aria-label": state }, MARKS[state]),
    h("span", {}, title),
    h("span", { className: "told" }, told),
  );
}

function passed(report) {
  const { checks, workers, generation } = report;
  const reached = workers.filter((worker) => worker.generation >= generation).length;
  const difference = figure(checks.golden_largest_difference);
  const told = {
    ...checks,
    golden_rows: `${checks.golden_rows} rows, at most ${difference} from PyTorch`,
    workers: `${reached} of ${workers.length} at generation ${generation}`,
  };
  return CHECKS.map(([key, title]) => line("passed", title, String(told[key] ?? "")));
}

function refused(error) {
  const at = CHECKS.findIndex(([, , reasons]) => reasons.includes(error.reason ?? error.code));
  return CHECKS.map(([, title], index) => {
    if (at < 0 || index > at) return line("waiting", title, "not reached");
    return index < at
      ? line("passed", title, "passed")
      : line("failed", title, error.reason ?? error.code);
  });
}

function dropZone(take) {
  const input = h("input", {
    type: "file",
    accept: ".safetensors",
    "aria-label": "Prompt file",
    onchange: () => input.files[0] && take(input.files[0]),
  });
  const zone = h(
    "label",
    { className: "drop" },
    input,
    h("strong", {}, "Drop a prompt file here"),
    h("span", { className: "soft" }, "or choose one: taskgraft export writes it, NAME.safetensors"),
  );
  zone.addEventListener("dragover", (event) => {
    event.preventDefault();
    zone.classList.add("over");
  });
  zone.addEventListener("dragleave", () => zone.classList.remove("over"));
  zone.addEventListener("drop", (event) => {
    event.preventDefault();
    zone.classList.remove("over");
    if (event.dataTransfer.files[0]) take(event.dataTransfer.files[0]);
  });
  return zone;
}

function claims(file, header) {
  if (!header)
    return h(
      "p",
      { className: "soft" },
      `${file.name}, ${whole(file.size)} bytes, has no header of a prompt: it will be refused.`,
    );
  const metrics = Object.entries(header.metrics ?? {}).map(([key, value]) => [key, figure(value)]);
  return facts([
    ["File", `${file.name}, ${whole(file.size)} bytes`],
    ["Task", header.task],
    ["Backbone", h("code", {}, String(header.backbone).slice(0, 12))],
    ["Parameters", whole(header.trained_parameters)],
    ...metrics,
  ]);
}

export function graftView({ api, tasks, may, probe, changed }) {
  let file = null;
  const name = h("input", {
    name: "task",
    pattern: "[a-z0-9][a-z0-9_\\-]{0,63}",
    spellcheck: false,
    autocomplete: "off",
  });
  const dormant = h("input", { type: "checkbox" });
  const wait = h(
    "select",
    {},
    h("option", { value: "all" }, "every worker"),
    h("option", { value: "local" }, "this worker"),
  );
  const signature = h("input", { type: "file", accept: ".minisig" });
  const button = h("button", { className: "primary", type: "submit", disabled: true }, "Graft");
  const said = h("div", { className: "stack" });
  const checks = h("ol", {
    className: "checks",
    "aria-label": "Checks of the gate",
    "aria-live": "polite",
  });
  const outcome = h("div", { className: "stack" });
  const compared = h("div", { hidden: true });
  const form = h(
    "form",
    { className: "stack", novalidate: true, onsubmit: submit },
    h("div", { className: "fields" }, field("Task", name), field("Wait for", wait)),
    field("Signature (.minisig), if asked for", signature),
    h(
      "label",
      { className: "check" },
      dormant,
      "Keep it dormant: hold the version, score with the present one",
    ),
    h(
      "div",
      { className: "row" },
      button,
      !may.graft && h("small", {}, "Needs a token of scope graft."),
    ),
  );
  const element = h(
    "div",
    { className: "stack" },
    h(
      "div",
      { className: "two" },
      h("div", { className: "stack" }, dropZone(take), card("Graft", said, form)),
      card("The gate's checks", checks, outcome),
    ),
    compared,
  );
  checks.replaceChildren(...CHECKS.map(([, title]) => line("waiting", title, "")));

  async function take(chosen) {
    file = chosen;
    const header = await readPromptHeader(file);
    said.replaceChildren(claims(file, header));
    if (typeof header?.task === "string") name.value = header.task;
    button.disabled = !may.graft;
    outcome.replaceChildren();
    checks.replaceChildren(...CHECKS.map(([, title]) => line("waiting", title, "")));
  }

  async function submit(event) {
    event.preventDefault();
    if (!file || !name.value) return;
    button.disabled = true;
    button.textContent = "Grafting…";
    compared.hidden = true;
    try {
      await graft();
    } catch (error) {
      checks.replaceChildren(...refused(error));
      outcome.replaceChildren(refusal(error));
    } finally {
      button.disabled = !may.graft;
      button.textContent = "Graft";
    }
  }

  async function graft() {
    const asked = probe.read();
    const before = asked && (await score(asked));
    const options = {
      activate: !dormant.checked,
      wait: wait.value,
      signature: (await signature.files[0]?.text()) ?? "",
    };
    const report = await api.graft(name.value, file, options);
    checks.replaceChildren(...passed(report));
    const does = dormant.checked ? "is held ready" : "scores";
    const where = wait.value === "all" ? "in every worker" : "in this worker";
    const told = `after ${report.took_ms.toFixed(1)} ms, generation ${report.generation}.`;
    const version = h("strong", {}, `${report.name} version ${report.version}`);
    outcome.replaceChildren(h("p", {}, version, ` ${does} ${where} ${told}`));
    await changed(`${report.name} was grafted.`);
    if (before) show(asked, before, await score(asked));
  }

  /** A probe that cannot be scored stops no graft. */
  function score(asked) {
    return scoreAll(
      api,
      asked,
      tasks.scoring.map((t) => t.name),
    ).catch(() => null);
  }

  function show(asked, before, after) {
    if (!after) return;
    const old = Object.keys(before.scores).length;
    compared.replaceChildren(
      flush(
        "Before and after",
        `user ${asked.user_id}, ${asked.item_ids.length} items, ${old} old tasks`,
        comparison(before, after, asked.item_ids),
      ),
    );
    compared.hidden = false;
  }

  return { title: "Graft", note: () => "A refused file changes nothing", element };
}
