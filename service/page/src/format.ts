// Numbers, durations, sizes and times as people read them.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

/** 9,025; or 535.8 k and 5.2 M where there is little room. */
export function count(value: number): string {
  return whole.format(value);
}

export function shortCount(value: number): string {
  for (const [unit, size] of [["G", 1e9], ["M", 1e6], ["k", 1e3]] as const) {
    if (Math.abs(value) >= size * 0.9995) return `${trimmed((value / size).toPrecision(3))} ${unit}`;
  }
  return whole.format(value);
}

/** The ticks of one axis, all in the same unit: 500, 1,000; or 5 k, 10 k; or 5e-4, 1e-3. */
export function ticks(splits: (number | null)[]): string[] {
  const areSmall = splits.some((split) => split && Math.abs(split) < 0.001);
  const most = Math.max(...splits.map((split) => Math.abs(split ?? 0)));
  const [unit, size] = ([["G", 1e9], ["M", 1e6], ["k", 1e3]] as const).find(([, each]) => most >= each * 10) ?? ["", 1];
  const shown = (digits: number): string[] =>
    splits.map((split) => {
      if (split === null) return "";
      if (areSmall) return split === 0 ? "0" : exponential(split, digits);
      if (!unit) return toDigits(split, digits);
      return split === 0 ? "0" : `${toDigits(split / size, digits)} ${unit}`;
    });
  const areTold = (labels: string[]): boolean => new Set(labels).size === new Set(splits).size;
  return [6, 9, 12].map(shown).find(areTold) ?? shown(15); // more where they are near together and far from 0
}

function exponential(value: number, digits: number): string {
  return Number(value.toPrecision(digits)).toExponential().replace("e+", "e");
}

/** A measured value: four significant digits, in powers of ten where it is very small or large. */
export function measured(value: number | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-4 || size >= 1e7)) return powerOfTen(value);
  if (size >= 1000) return whole.format(value);
  return value.toPrecision(4);
}

function powerOfTen(value: number): string {
  const [digits, power] = value.toExponential(2).split("e") as [string, string];
  const raised = [...power.replace("+", "")].map((sign) => (sign === "-" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[Number(sign)]));
  return `${digits}·10${raised.join("")}`;
}

/** A number with no more digits than it has. */
export function plain(value: number): string {
  return toDigits(value, 6);
}

function toDigits(value: number, digits: number): string {
  return Number.isInteger(value) ? whole.format(value) : trimmed(value.toPrecision(digits));
}

function trimmed(text: string): string {
  return text.includes(".") && !text.includes("e") ? text.replace(/\.?0+$/, "") : text;
}

export function percent(fraction: number, digits = 1): string {
  return `${(fraction * 100).toFixed(digits)} %`;
}

/** 0.4 s · 12 s · 3 min 20 s · 2 h 5 min · 3 d 4 h */
export function duration(seconds: number): string {
  if (seconds < 10) return `${Math.max(0, seconds).toFixed(1)} s`;
  const s = Math.round(seconds);
  if (s < 60) return `${s} s`;
  if (s < 3600) return two(Math.floor(s / 60), "min", s % 60, "s");
  if (s < 86_400) return two(Math.floor(s / 3600), "h", Math.floor((s % 3600) / 60), "min");
  return two(Math.floor(s / 86_400), "d", Math.floor((s % 86_400) / 3600), "h");
}

function two(large: number, unit: string, small: number, smaller: string): string {
  return small ? `${large} ${unit} ${small} ${smaller}` : `${large} ${unit}`;
}

export function bytes(value: number): string {
  if (value < 1000) return `${value} B`;
  for (const [unit, size] of [["kB", 1e3], ["MB", 1e6], ["GB", 1e9], ["TB", 1e12]] as const) {
    if (value < size * 999.5 || unit === "TB") return `${trimmed((value / size).toPrecision(3))} ${unit}`;
  }
  return "";
}

/** just now · 4 min ago · 3 h ago · yesterday's date */
export function ago(time: string, now: number): string {
  const seconds = (now - Date.parse(time)) / 1000;
  if (seconds < 45) return "just now";
  if (seconds < 3600) return `${Math.max(1, Math.round(seconds / 60))} min ago`;
  if (seconds < 86_400) return `${Math.round(seconds / 3600)} h ago`;
  return new Date(time).toLocaleDateString("en", { day: "numeric", month: "short", year: "numeric" });
}

export function clockTime(time: string): string {
  return new Date(time).toLocaleTimeString("en-GB");
}

/** 10:00:00, and where the time before was on another day, or there is none, 27 Nov 10:00:00 */
export function timeAfter(before: string | null | undefined, time: string): string {
  const day = dayOf(time);
  return before && dayOf(before) === day ? clockTime(time) : `${day} ${clockTime(time)}`;
}

function dayOf(time: string): string {
  return new Date(time).toLocaleDateString("en-GB", { day: "numeric", month: "short" });
}

export function fullTime(time: string): string {
  return new Date(time).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "medium" });
}

/** The name of a metric in words: `validation_loss` is "validation loss". */
export function metricName(name: string): string {
  const words: Record<string, string> = { auc: "AUC", rmse: "RMSE", mae: "MAE", r2: "R²", train: "training" };
  return name.split("_").map((word) => words[word] ?? word).join(" ");
}

/** So many of a thing. */
export function counted(value: number, one: string, many = `${one}s`): string {
  return `${count(value)} ${value === 1 ? one : many}`;
}

/** 1st · 2nd · 3rd · 4th · 11th · 21st */
export function ordinal(value: number): string {
  const ending = [11, 12, 13].includes(value % 100) ? "th" : (["th", "st", "nd", "rd"][value % 10] ?? "th");
  return `${count(value)}${ending}`;
}

/** Where a job stands that waits: "3rd in the queue, starts about 14:05", with the date where that is not soon. */
export function placeInQueue(place: { position: number; estimated_start_at: string | null }, now: number): string {
  const where = `${ordinal(place.position)} in the queue`;
  if (place.estimated_start_at === null) return where;
  const start = new Date(place.estimated_start_at);
  const isNear = start.getTime() - now < 12 * 3600 * 1000;
  const time = start.toLocaleString("en-GB", isNear ? { timeStyle: "short" } : { dateStyle: "medium", timeStyle: "short" });
  return `${where}, starts about ${time}`;
}
