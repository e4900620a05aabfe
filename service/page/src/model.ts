// What a model says of itself: the head of its safetensors file, which is JSON, without its weights.
import { Problem, problemOf } from "./api";
import type { Job } from "./types";

export interface Feature {
  name: string;
  type: "number" | "integer" | "boolean" | "category" | "tensor";
  shape: number[] | null;
  mean: number[];
  fill: number | null;
  categories: string[] | null;
}

const FIRST_BYTES = 1 << 16; // the whole head, mostly
const LENGTH_BYTES = 8;

/** The features of a job's model, in the order of its inputs. Throws Problem. */
export async function featuresOf(job: Job): Promise<Feature[]> {
  const path = `/v1/jobs/${job.id}/model`;
  let bytes = await range(path, FIRST_BYTES);
  const length = Number(new DataView(bytes).getBigUint64(0, true));
  if (bytes.byteLength < LENGTH_BYTES + length) bytes = await range(path, LENGTH_BYTES + length);
  const head = JSON.parse(new TextDecoder().decode(new Uint8Array(bytes, LENGTH_BYTES, length)));
  return JSON.parse(head.__metadata__.preprocessing).features;
}

async function range(path: string, length: number): Promise<ArrayBuffer> {
  const answer = await fetch(path, { headers: { Range: `bytes=0-${length - 1}` }, credentials: "same-origin" });
  if (answer.status === 404) throw new Problem(404, "The model's file is gone.");
  if (!answer.ok) throw await problemOf(answer);
  return answer.arrayBuffer();
}
