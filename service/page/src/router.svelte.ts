// Where we are: the address's fragment, `#/jobs/job_01…/spec?x=loss`, as a path and parameters.
import { decoded } from "./address";

interface Place {
  path: string[];
  query: URLSearchParams;
}

function placeOf(hash: string): Place {
  const [path = "", query = ""] = hash.replace(/^#\/?/, "").split("?");
  return { path: path.split("/").filter(Boolean).map(decoded), query: new URLSearchParams(query) };
}

export const place: { now: Place } = $state({ now: placeOf(location.hash) });

addEventListener("hashchange", () => {
  place.now = placeOf(location.hash);
});

/** The address of a place within the page. */
export function to(path: string, query: Record<string, string | null> = {}): string {
  const kept = Object.entries(query).filter((entry): entry is [string, string] => Boolean(entry[1]));
  const parameters = new URLSearchParams(kept).toString();
  return `#/${path}${parameters ? `?${parameters}` : ""}`;
}

/** Goes there. */
export function go(path: string, query: Record<string, string | null> = {}): void {
  location.hash = to(path, query);
}

/** Changes the query of where we are, without a step in the browser's history. */
export function setQuery(changes: Record<string, string | null>): void {
  const query = { ...Object.fromEntries(place.now.query), ...changes };
  history.replaceState(null, "", to(place.now.path.map(encodeURIComponent).join("/"), query));
  place.now = placeOf(location.hash);
}
