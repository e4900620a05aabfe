// A job's log: which of its lines are shown, and how they read as text.

export type Level = "info" | "warning" | "error";

export interface LogLine {
  seq: number;
  at: string | null;
  level: Level;
  source: string;
  message: string;
  attempt: number;
}

const RANK: Record<Level, number> = { info: 0, warning: 1, error: 2 };

/** The lines of that level or above that hold the words, in any case. */
export function chosen(lines: LogLine[], least: Level, words: string): LogLine[] {
  const wanted = words.trim().toLowerCase();
  if (least === "info" && !wanted) return lines;
  return lines.filter((line) => RANK[line.level] >= RANK[least] && (!wanted || line.message.toLowerCase().includes(wanted)));
}

/** The message cut at the words that were looked for: every second piece is such words. */
export function pieces(message: string, words: string): string[] {
  const wanted = words.trim().toLowerCase();
  if (!wanted) return [message];
  const found: string[] = [];
  const lower = message.toLowerCase();
  if (lower.length !== message.length) return [message]; // letters that change their length: nothing to point at
  let from = 0;
  for (let at = lower.indexOf(wanted); at >= 0; at = lower.indexOf(wanted, from)) {
    found.push(message.slice(from, at), message.slice(at, at + wanted.length));
    from = at + wanted.length;
  }
  return [...found, message.slice(from)];
}

/** In blocks of so many, the last of which may grow. */
export function blocks<T>(items: T[], size: number): T[][] {
  return Array.from({ length: Math.ceil(items.length / size) }, (_, index) => items.slice(index * size, (index + 1) * size));
}

/** As a file of text, a line each. */
export function asText(lines: LogLine[]): string {
  return lines.map((line) => `${line.at ?? "-"} ${line.level.toUpperCase()} attempt ${line.attempt} ${line.source}: ${line.message}\n`).join("");
}
