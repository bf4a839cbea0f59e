// The admin port's API: JSON both ways, a bearer token, and refusals as errors.

export class Refused extends Error {
  constructor(status, error, requestId) {
    super(error.message);
    this.status = status;
    this.code = error.code;
    this.reason = error.reason;
    this.where = error.where;
    this.details = error.details;
    this.requestId = requestId;
  }
}

export class Api {
  /** @param onShut told of every answer 401, which ends the session. */
  constructor(token, onShut = () => {}) {
    this.token = token;
    this.onShut = onShut;
  }

  get(path) {
    return this.send("GET", path);
  }

  post(path, body) {
    return this.send("POST", path, JSON.stringify(body), { "Content-Type": "application/json" });
  }

  put(path, body) {
    return this.send("PUT", path, JSON.stringify(body), { "Content-Type": "application/json" });
  }

  remove(path) {
    return this.send("DELETE", path);
  }

  /** @param signature the .minisig file's text, or "". */
  graft(name, file, { activate, wait, signature }) {
    const headers = { "Content-Type": "application/octet-stream" };
    if (signature) {
      const bytes = new TextEncoder().encode(signature);
      headers["X-Prompt-Signature"] = btoa(String.fromCharCode(...bytes));
    }
    const query = new URLSearchParams({ activate, wait });
    return this.send("PUT", `${taskPath(name)}?${query}`, file, headers);
  }

  async send(method, path, body, headers = {}) {
    let answer;
    try {
      answer = await fetch(path, {
        method,
        body,
        headers: { ...headers, Authorization: `Bearer ${this.token}` },
      });
    } catch {
      throw new Refused(0, { code: "no_answer", message: "The service does not answer." });
    }
    const told = await answer.json().catch(() => null);
    if (answer.ok) return told;
    const error = told?.error ?? { code: "failed", message: `status ${answer.status}` };
    const refused = new Refused(answer.status, error, told?.request_id);
    if (answer.status === 401) this.onShut(refused);
    throw refused;
  }
}

export function taskPath(name) {
  return `/v1/tasks/${encodeURIComponent(name)}`;
}
