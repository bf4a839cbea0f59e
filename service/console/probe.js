// A user and items to try, typed once and kept by this tab: the playground and a graft use it.

const KEY = "taskgraft.probe";

export class Probe {
  /** @param schema tells whether ids are numbers or text. */
  constructor(schema) {
    this.schema = schema;
    const kept = JSON.parse(sessionStorage.getItem(KEY) ?? "{}");
    this.user = kept.user ?? "";
    this.items = kept.items ?? "";
  }

  keep(user, items) {
    this.user = user.trim();
    this.items = items.trim();
    sessionStorage.setItem(KEY, JSON.stringify({ user: this.user, items: this.items }));
  }

  /** The fields of a score request; null while user or items are missing. */
  read() {
    const items = this.items.split(/[\s,;]+/).filter(Boolean);
    if (!this.user || !items.length) return null;
    const typed = (type, text) => (type === "int64" && /^-?\d+$/.test(text) ? Number(text) : text);
    return {
      user_id: typed(this.schema.user_id_type, this.user),
      item_ids: items.map((item) => typed(this.schema.item_id_type, item)),
    };
  }
}
