// What the API answers, as far as this page reads it; docs/openapi.json describes all of it.

export type State = "queued" | "running" | "paused" | "succeeded" | "failed" | "cancelled";

export interface Page<T> {
  items: T[];
  next_cursor: string | null;
}

export interface Progress {
  fraction: number;
  step: number;
  steps: number;
  epoch: number;
  epochs: number;
  eta_s: number | null;
}

export type Layer = { type: "dense"; units: number; activation: string } | { type: "dropout"; rate: number };

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
export type JsonObject = { [key: string]: Json };

export type Spec = JsonObject & {
  dataset: string;
  target: string | string[];
  features: string[];
  task: "classification" | "regression";
  layers: Layer[];
};

export interface Job {
  id: string;
  name: string;
  state: State;
  reason: string | null;
  spec: Spec;
  labels: Record<string, string>;
  priority: number;
  dataset_id: string;
  dataset_sha256: string;
  progress: Progress;
  metrics: Record<string, number | null>;
  workers: number;
  attempt: number;
  inputs: number;
  outputs: number;
  parameters: number;
  parameters_sha256: string | null;
  environment: Record<string, string>;
  notes: string[];
  created_at: string;
  started_at: string | null;
  finished_at: string | null;
  error: { type: string; detail: string } | null;
  owner: string | null;
  queue: { position: number; estimated_start_at: string | null } | null;
}

/** A job as lists show it: of its spec, what it trains on. */
export type ListedJob = Omit<Job, "spec"> & { spec: Pick<Spec, "dataset" | "target"> };

export type Metric = { step: number; epoch: number; elapsed_s: number } & Record<string, number | null>;

export interface Move {
  from: State | null;
  to: State;
  when: string;
  why: string;
  attempt: number;
  workers?: number | undefined; // of a start: so many CPUs
}

export interface WorkersChange {
  workers: number;
  step: number;
  why: string;
  at?: string;
  before?: number[]; // the numbers of those who computed
  members?: number[]; // … and of those who do from then on
  lost?: boolean;
}

export interface Column {
  name: string;
  type: "number" | "integer" | "boolean" | "category" | "text" | "timestamp" | "tensor";
  missing?: number;
  min?: number | string;
  max?: number | string;
  mean?: number;
  distinct?: number;
  most_common?: string[];
  shape?: number[];
  dtype?: string;
  note?: string;
}

export interface Dataset {
  id: string;
  name: string;
  version: number;
  rows: number;
  size_bytes: number;
  sha256: string;
  created_at: string;
  columns: Column[];
}

export interface Histogram {
  column: string;
  rows: number;
  edges?: number[];
  values?: string[];
  counts: number[];
  others?: number;
}

export interface Plan {
  spec: Spec;
  inputs: number;
  outputs: number;
  classes: number | null;
  parameters: number;
  training_rows: number;
  validation_rows: number;
  steps_per_epoch: number;
  steps: number;
  memory_bytes: number;
  disk_bytes: number;
  notes: string[];
}

export interface Cluster {
  nodes: { id: string; address: string; cpus: number; cpus_free: number; memory_bytes: number; blas_kernel: string | null }[];
  cpus: number;
  cpus_free: number;
  blas_kernel: string | null;
}

export interface Checkpoint {
  step: number;
  sha256: string;
}

export interface Evaluation {
  task: "classification" | "regression";
  rows: number;
  of_rows: number;
  classes?: string[];
  confusion?: number[][];
  roc?: Curve;
  precision_recall?: Curve;
  by_class?: { name: string; rows: number; of_rows: number; roc: Curve; precision_recall: Curve }[];
  targets?: { name: string; actual: number[]; predicted: number[]; residuals: { edges: number[]; counts: number[] } }[];
}

export interface Curve {
  x: number[];
  y: number[];
  threshold: (number | null)[];
  area: number;
}

export interface FieldProblem {
  field: string;
  got: Json;
  expected: string;
}

export function isEnded(state: State): boolean {
  return state === "succeeded" || state === "failed" || state === "cancelled";
}
