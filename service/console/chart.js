// Small charts: a line over time, and how scores are spread.

import { svg } from "./dom.js";

const HEIGHT = 40;

/** One or two lines over the same time, the newest at the right of `room` points; null is zero. */
export function sparkline(values, second = [], label = "", room = 89) {
  const width = room - 1;
  const left = room - values.length;
  const top = Math.max(...values, ...second, 1e-9);
  const place = (value, at) =>
    `${left + at},${(HEIGHT - (HEIGHT - 4) * ((value ?? 0) / top)).toFixed(2)}`;
  const line = (series) => series.map(place).join(" ");
  const chart = svg("svg", {
    class: "chart",
    viewBox: `0 0 ${width} ${HEIGHT}`,
    height: HEIGHT,
    preserveAspectRatio: "none",
    role: "img",
    "aria-label": label,
  });
  chart.append(svg("line", { class: "axis", x1: 0, x2: width, y1: HEIGHT, y2: HEIGHT }));
  if (values.length > 1) {
    chart.append(
      svg("polygon", {
        class: "area",
        points: `${left},${HEIGHT} ${line(values)} ${width},${HEIGHT}`,
      }),
    );
    if (second.length > 1) {
      chart.append(svg("polyline", { class: "line second", points: line(second) }));
    }
    chart.append(svg("polyline", { class: "line", points: line(values) }));
  }
  return chart;
}

/** Rows per bin; `small` fits a line of a table. */
export function histogram(counts, { small = false, label = "" } = {}) {
  const top = Math.max(...counts, 1);
  const height = small ? 22 : 90;
  const chart = svg("svg", {
    class: small ? "chart small" : "chart",
    viewBox: `0 0 ${counts.length * 4} ${height}`,
    height,
    preserveAspectRatio: "none",
    role: "img",
    "aria-label": label,
  });
  counts.forEach((count, at) => {
    const tall = count ? Math.max((count / top) * (height - 2), 1) : 0;
    chart.append(
      svg("rect", { class: "bar", x: at * 4 + 0.4, width: 3.2, y: height - tall, height: tall }),
    );
  });
  chart.append(
    svg("line", { class: "axis", x1: 0, x2: counts.length * 4, y1: height, y2: height }),
  );
  return chart;
}
