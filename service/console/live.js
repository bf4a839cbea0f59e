// Looks every two seconds, while the page is seen, and turns counters into rates.

const EVERY_MS = 2000;
const KEPT = 90; // looks: three minutes
const WINDOW = 15; // looks: what percentiles and shares are taken over

export class Live extends EventTarget {
  constructor(api) {
    super();
    this.api = api;
    this.looks = [];
    this.workers = [];
    this.error = null;
    this.timer = null;
  }

  start() {
    this.seen = () => (document.hidden ? clearTimeout(this.timer) : this.look());
    document.addEventListener("visibilitychange", this.seen);
    return this.look();
  }

  stop() {
    clearTimeout(this.timer);
    document.removeEventListener("visibilitychange", this.seen);
    this.stopped = true;
  }

  async look() {
    clearTimeout(this.timer);
    try {
      const [now, workers] = await Promise.all([
        this.api.get("/v1/live"),
        this.api.get("/v1/workers"),
      ]);
      if (this.last && now.at < this.last.at) this.looks = []; // another host, or a restart
      this.looks = [...this.looks, now].slice(-KEPT);
      this.workers = workers.workers;
      this.error = null;
    } catch (error) {
      this.error = error;
    }
    if (this.stopped) return;
    this.dispatchEvent(new Event("look"));
    clearTimeout(this.timer);
    if (!document.hidden) this.timer = setTimeout(() => this.look(), EVERY_MS);
  }

  get last() {
    return this.looks.at(-1);
  }

  /** What was counted over the last looks, per second; null before the second look. */
  rate(count) {
    return this.looks.length < 2 ? null : perSecond(count, ...this.ends());
  }

  /** The rate between each look and the one before. */
  rates(count) {
    return this.looks.slice(1).map((now, at) => perSecond(count, this.looks[at], now));
  }

  /** Seconds below which this share of the last requests stayed; null without requests. */
  quantile(share) {
    return this.looks.length < 2 ? null : quantile(share, ...this.ends());
  }

  quantiles(share) {
    return this.looks.slice(1).map((now, at) => quantile(share, this.looks[at], now));
  }

  /** The part of the last answers that `part` counts; null without answers. */
  share(part, whole) {
    const all = this.rate(whole);
    return all ? this.rate(part) / all : null;
  }

  ends() {
    return [this.looks.at(-1 - Math.min(WINDOW, this.looks.length - 1)), this.last];
  }
}

export function total(counts) {
  return Object.values(counts).reduce((sum, count) => sum + count, 0);
}

/** Answers that were given without the feature store. */
export function degraded(look) {
  return total(look.tiers) - (look.tiers.none ?? 0);
}

function perSecond(count, before, now) {
  return Math.max(count(now) - count(before), 0) / Math.max(now.at - before.at, 1e-3);
}

/** Even within a class, as Prometheus takes it. */
function quantile(share, before, now) {
  const counts = now.latency.map((n, at) => Math.max(n - (before.latency[at] ?? 0), 0));
  const all = counts.reduce((sum, n) => sum + n, 0);
  if (!all) return null;
  let left = share * all;
  for (let at = 0; at < counts.length; at += 1) {
    if (counts[at] && left <= counts[at]) {
      const low = at ? now.bounds[at - 1] : 0;
      const high = now.bounds[at] ?? low;
      return low + (high - low) * (left / counts[at]);
    }
    left -= counts[at];
  }
  return now.bounds.at(-1);
}
