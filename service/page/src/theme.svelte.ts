// Light or dark: as the system has it, until somebody chooses.

type Theme = "light" | "dark";

const KEY = "chainrule.theme";
const system = matchMedia("(prefers-color-scheme: dark)");

function stored(): Theme | null {
  const value = localStorage.getItem(KEY);
  return value === "light" || value === "dark" ? value : null;
}

function current(): Theme {
  return stored() ?? (system.matches ? "dark" : "light");
}

export const theme: { now: Theme } = $state({ now: current() });

function show(): void {
  theme.now = current();
  document.documentElement.dataset.theme = theme.now;
}

show();
system.addEventListener("change", show);

export function toggleTheme(): void {
  localStorage.setItem(KEY, theme.now === "dark" ? "light" : "dark");
  show();
}
