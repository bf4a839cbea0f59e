// Light or dark: as the system says, until somebody chooses.

const KEY = "taskgraft.theme";
const system = window.matchMedia("(prefers-color-scheme: dark)");

function apply() {
  const chosen = localStorage.getItem(KEY);
  document.documentElement.dataset.theme = chosen ?? (system.matches ? "dark" : "light");
}

export function followTheme() {
  apply();
  system.addEventListener("change", apply);
}

export function toggleTheme() {
  const next = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
  localStorage.setItem(KEY, next);
  apply();
}
