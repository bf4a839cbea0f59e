// Signing in: a token, kept by this tab until it is closed.

import { Api } from "./api.js";
import { field, h } from "./dom.js";

const KEY = "taskgraft.token";

export function keptToken() {
  return sessionStorage.getItem(KEY);
}

export function forgetToken() {
  sessionStorage.removeItem(KEY);
}

/** The sign-in page; calls `enter(api, who)` with a token that may read. */
export function signIn(enter, said = "") {
  const input = h("input", {
    type: "password",
    name: "token",
    autocomplete: "off",
    required: true,
    spellcheck: false,
    placeholder: "tg_…",
  });
  const told = h("p", { className: "notice bad", role: "alert", hidden: !said }, said);
  const button = h("button", { className: "primary", type: "submit" }, "Sign in");
  const submit = async (event) => {
    event.preventDefault();
    button.disabled = true;
    try {
      const token = input.value.trim();
      const { api, who } = await open(token);
      sessionStorage.setItem(KEY, token);
      await enter(api, who);
    } catch (error) {
      told.textContent = error.message;
      told.hidden = false;
      input.select();
    } finally {
      button.disabled = false;
    }
  };
  const form = h(
    "form",
    { className: "card", onsubmit: submit },
    h("div", { className: "brand" }, h("img", { src: "/console/icon.svg", alt: "" }), "taskgraft"),
    h(
      "p",
      { className: "soft" },
      "Sign in with a token of the admin port. This tab forgets it when it is closed.",
    ),
    told,
    field("Token", input),
    button,
    h(
      "small",
      {},
      "No token yet? ",
      h("code", {}, "taskgraft tokens new NAME --scope read --scope graft"),
    ),
  );
  document.body.replaceChildren(h("div", { className: "signin" }, form));
  input.focus();
}

/** Who the token is; throws if it may not read. */
export async function open(token) {
  const api = new Api(token);
  return { api, who: await api.get("/v1/token") };
}
