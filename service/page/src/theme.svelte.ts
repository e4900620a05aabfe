// Light or dark: as the system has it, until somebody chooses.

type Theme = "light" | "dark";

const KEY = "chainrule.theme";
const system = matchMedia("(prefers-color-scheme: dark)");

function stored(): Theme | null {
  try {
    const value = localStorage.getItem(KEY);
    return value === "light" || value === "dark" ? value : null;
  } catch {
    return null; // a browser that keeps nothing for us
  }
}

let chosen = stored();

function current(): Theme {
  return chosen ?? (system.matches ? "dark" : "light");
}

export const theme: { now: Theme } = $state({ now: current() });

function show(): void {
  theme.now = current();
  document.documentElement.dataset.theme = theme.now;
}

show();
system.addEventListener("change", show);

export function toggleTheme(): void {
  chosen = theme.now === "dark" ? "light" : "dark";
  show();
  try {
    localStorage.setItem(KEY, chosen);
  } catch {
    // then it holds for this window
  }
}
