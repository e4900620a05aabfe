// Specs: how two differ, as curl would send one, and what a network has in it.
import { send } from "./api";
import { isEqual, isObject, textOf } from "./schema";
import { isEnded } from "./types";
import type { Dataset, Job, Json, JsonObject, Layer, Plan, Spec } from "./types";

export const MOST_COMPARED = 7; // jobs side by side: as many colours of curves there are

export interface Difference {
  path: string;
  values: (Json | undefined)[];
}

/** The places where specs are not all the same, in the order of the first; layers are compared one by one. */
export function differences(specs: JsonObject[], prefix = ""): Difference[] {
  const keys = [...new Set(specs.flatMap((spec) => Object.keys(spec)))];
  return keys.flatMap((key) => {
    const values = specs.map((spec) => spec[key]);
    const path = prefix ? `${prefix}.${key}` : key;
    if (values.every((value) => isEqual(value, values[0]))) return [];
    if (values.every(isObject)) return differences(values as JsonObject[], path);
    if (key === "layers" && values.every(Array.isArray)) return layerDifferences(values as Json[][]);
    return [{ path, values }];
  });
}

function layerDifferences(lists: Json[][]): Difference[] {
  const longest = Math.max(...lists.map((list) => list.length));
  return Array.from({ length: longest }, (_, number) => ({ path: `layers[${number}]`, values: lists.map((list) => list[number]) })).filter(
    ({ values }) => !values.every((value) => isEqual(value, values[0])),
  );
}

export function valueText(value: Json | undefined): string {
  return value === undefined ? "–" : textOf(value);
}

/**
 * What one would send to have the job again, on the very same data: by their id, as a name means its newest version, or by
 * their name where they are the newest of `datasets`, which are newest first.
 */
export function sendable(job: Pick<Job, "spec" | "dataset_id">, datasets: Pick<Dataset, "id" | "name">[] = []): JsonObject {
  const newest = datasets.find((each) => each.name === job.spec.dataset);
  const dataset = newest?.id === job.dataset_id ? newest.name : job.dataset_id;
  return { ...(JSON.parse(JSON.stringify(job.spec)) as JsonObject), dataset };
}

/**
 * What the job's spec would be with nothing but its data, target and task: every default, those too that follow from the
 * data. Throws Problem.
 */
export async function defaultsFor(job: Pick<Job, "spec" | "dataset_id">): Promise<Spec> {
  const planned = async (given: JsonObject): Promise<Spec> => (await send<Plan>("POST", "/v1/jobs?dry_run=true", given)).spec;
  const given = { dataset: job.dataset_id, target: job.spec.target };
  const defaults = await planned(given);
  if (defaults.task === job.spec.task) return defaults;
  return { ...(await planned({ ...given, task: job.spec.task })), task: defaults.task };
}

/** A command that submits the spec, to be pasted into a POSIX shell; the key is found in the environment. */
export function asCurl(spec: JsonObject, origin: string, withKey: boolean): string {
  const quoted = `'${JSON.stringify(spec, null, 2).replaceAll("'", `'\\''`)}'`;
  const key = withKey ? ` \\\n  -H "Authorization: Bearer $CHAINRULE_API_KEY"` : "";
  return `curl -X POST ${origin}/v1/jobs${key} \\\n  -H 'Content-Type: application/json' \\\n  -d ${quoted}`;
}

export interface Stage {
  label: string;
  width: number;
  detail: string;
  parameters: number;
  isDropout: boolean;
}

/** The network, from its input to its output, with the parameters of each stage. */
export function stagesOf(layers: Layer[], inputs: number, outputs: number, target: string): Stage[] {
  const stages: Stage[] = [{ label: "Input", width: inputs, detail: "", parameters: 0, isDropout: false }];
  let below = inputs;
  for (const layer of layers) {
    if (layer.type === "dropout") {
      stages.push({ label: "Dropout", width: below, detail: `rate ${layer.rate}`, parameters: 0, isDropout: true });
      continue;
    }
    stages.push({ label: "Dense", width: layer.units, detail: layer.activation, parameters: (below + 1) * layer.units, isDropout: false });
    below = layer.units;
  }
  stages.push({ label: "Output", width: outputs, detail: target, parameters: (below + 1) * outputs, isDropout: false });
  return stages;
}

/** What a job's output layer says, in a word or two. */
export function outputOf(job: Pick<Job, "spec" | "outputs">): string {
  if (job.spec.task === "regression") return "identity";
  return job.outputs === 1 ? "sigmoid" : "softmax";
}

/** The losses and measures that a job has told, and of one that has not ended also those that it will: their places are kept. */
export function measuresOf(job: Job): string[] {
  const told = Object.keys(job.metrics).filter((name) => /^(train|validation)_/.test(name) && job.metrics[name] !== null);
  return isEnded(job.state) ? told : [...new Set([...toTell(job), ...told])];
}

function toTell(job: Job): string[] {
  if (!job.spec.validation) return ["train_loss"];
  const classes = job.outputs === 1 ? ["accuracy", "auc"] : ["accuracy"];
  const measures = job.spec.task === "regression" ? ["rmse", "mae", "r2"] : classes;
  return ["train_loss", ...["loss", ...measures].map((name) => `validation_${name}`)];
}
