// Sending a file, with a bar that moves: what fetch cannot tell yet, XMLHttpRequest can.
import { Problem, problemFrom } from "./api";
import type { Dataset } from "./types";

export interface ReadAs {
  name: string;
  delimiter: string;
  missing: string; // cells, with commas between them
  header: "" | "true" | "false";
  types: string;
}

interface Kind {
  mediaType: string;
  gzip: boolean;
}

const KINDS: [RegExp, Kind][] = [
  [/\.csv\.gz$/i, { mediaType: "text/csv", gzip: true }],
  [/\.(csv|tsv|txt)$/i, { mediaType: "text/csv", gzip: false }],
  [/\.(parquet|pq)$/i, { mediaType: "application/vnd.apache.parquet", gzip: false }],
  [/\.npz$/i, { mediaType: "application/x-npz", gzip: false }],
];

/** What a file is, by its name; null for one that is not taken. */
export function kindOf(fileName: string): Kind | null {
  return KINDS.find(([pattern]) => pattern.test(fileName))?.[1] ?? null;
}

/** A name for the data set, from that of the file. */
export function nameOf(fileName: string): string {
  return fileName.replace(/\.(csv\.gz|csv|tsv|txt|parquet|pq|npz)$/i, "").slice(0, 200) || "data";
}

/** What to read as what, as parameters of a request; nothing of what the service finds by itself. */
export function queryOf({ missing, ...others }: ReadAs): URLSearchParams {
  const cells = missing.split(",").map((cell) => cell.trim());
  const all = [...Object.entries(others), ...cells.map((cell): [string, string] => ["missing", cell])];
  return new URLSearchParams(all.filter(([, value]) => value !== ""));
}

/** Uploads a file; `told` is called with the share that is sent. Throws Problem. */
export function upload(file: File, readAs: ReadAs, told: (fraction: number) => void, signal: AbortSignal): Promise<Dataset> {
  const kind = kindOf(file.name)!;
  const query = queryOf(readAs);
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", `/v1/datasets?${query}`);
    request.setRequestHeader("Content-Type", kind.mediaType);
    if (kind.gzip) request.setRequestHeader("Content-Encoding", "gzip");
    request.responseType = "json";
    request.upload.onprogress = (event) => told(event.lengthComputable ? event.loaded / event.total : 0);
    request.onerror = () => reject(new Problem(0, "The connection broke off; nothing was kept. Try again."));
    request.onabort = () => reject(new Problem(0, "The upload was stopped; nothing was kept."));
    request.onload = () =>
      request.status < 300 ? resolve(request.response) : reject(problemFrom(request.status, request.response ?? {}));
    signal.addEventListener("abort", () => request.abort());
    request.send(file);
  });
}
