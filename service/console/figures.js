// Numbers and times as people read them.

const NONE = "–";

export function rate(value) {
  if (value === null || value === undefined) return NONE;
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2);
}

export function whole(value) {
  return value === null || value === undefined ? NONE : value.toLocaleString("en");
}

export function milliseconds(seconds) {
  if (seconds === null || seconds === undefined) return NONE;
  const ms = seconds * 1000;
  return ms >= 100 ? ms.toFixed(0) : ms >= 10 ? ms.toFixed(1) : ms.toFixed(2);
}

export function percent(share) {
  if (share === null || share === undefined) return NONE;
  const value = share * 100;
  return value === 0 || value === 100 || value >= 10 ? value.toFixed(0) : value.toFixed(1);
}

export function fixed(value, digits = 4) {
  return value === null || value === undefined ? NONE : value.toFixed(digits);
}

/** As it is, or short where it would fill the line. */
export function figure(value) {
  if (typeof value !== "number") return String(value);
  if (Number.isInteger(value)) return whole(value);
  return Math.abs(value) < 1e-3 ? value.toExponential(2) : value.toFixed(4);
}

export function moment(seconds) {
  return new Date(seconds * 1000).toISOString().replace("T", " ").slice(0, 19);
}
