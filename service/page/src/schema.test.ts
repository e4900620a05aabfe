// The form and the greyed defaults, from the very document that the service serves.
import { readFileSync } from "node:fs";

import { expect, test } from "vitest";

import { emptyOf, fieldsOf, isForForms, isWithin, labelOf, linesOf, mistakeOf, type Field } from "./schema";
import { asCurl, differences, stagesOf } from "./specs";

const { schemas } = JSON.parse(readFileSync(new URL("../../../docs/openapi.json", import.meta.url), "utf8")).components;
const fields = fieldsOf(schemas.JobSpec, schemas);
const field = (name: string): Field => fields.find((each) => each.name === name)!;

test("every field of the spec has a shape and a description", () => {
  expect(fields.map((each) => each.name)).toEqual(Object.keys(schemas.JobSpec.properties));
  expect(fields.filter((each) => !each.description)).toEqual([]);
  expect(fields.filter((each) => !isForForms(each.shape)).map((each) => each.name)).toEqual(["initial_parameters"]);
});

test("what must be given begins with a value that fits", () => {
  const { shape } = field("optimizer");
  if (shape.kind !== "variants") throw new Error("an optimizer is one of several");
  expect(shape.variants.map((variant) => variant.name)).toEqual(["sgd", "adam", "adamw", "rmsprop", "adagrad"]);
  expect(shape.variants.every((variant) => variant.fits(variant.value))).toBe(true);
  expect(shape.variants.filter((variant) => variant.fits({ type: "adam", beta1: 0.8 })).map((variant) => variant.name)).toEqual(["adam"]);
});

test("a field that may be none, one or many knows which it is", () => {
  const { shape } = field("target");
  if (shape.kind !== "variants") throw new Error("a target is one or a list");
  const fitting = (value: string | string[]): string[] => shape.variants.filter((each) => each.fits(value)).map((each) => each.name);
  expect([fitting("y"), fitting(["y", "z"])]).toEqual([["one"], ["a list"]]);
});

test("lines of a spec are grey where they are as by default", () => {
  const spec = { dataset: "wine", optimizer: { type: "adam", learning_rate: 0.01, beta1: 0.9 }, epochs: 10, validation: null };
  const lines = linesOf(spec, fields).map((line) => [line.path, line.value, line.isDefault]);
  expect(lines).toEqual([
    ["dataset", "wine", false],
    ["optimizer", "adam", true],
    ["optimizer.learning_rate", "0.01", false],
    ["optimizer.beta1", "0.9", true],
    ["epochs", "10", true],
    ["validation", "none", true],
  ]);
});

test("every field but data set and target is told by default, and is grey then", () => {
  const completed = { features: ["a", "b"], task: "regression", loss: { type: "mse" } };
  const defaults = Object.fromEntries(fields.filter((each) => !each.required).map((each) => [each.name, each.default!]));
  const lines = linesOf({ ...defaults, dataset: "wine", target: "y", ...completed }, fields, { ...completed, target: "y" });
  expect(lines.filter((line) => !line.isDefault).map((line) => line.path)).toEqual(["dataset", "target"]);
});

test("what follows from the data is not grey where somebody chose otherwise", () => {
  const completed = { features: ["a", "b"], task: "regression", loss: { type: "mse" } };
  const lines = linesOf({ features: ["a"], task: "classification", loss: { type: "cross_entropy" } }, fields, completed);
  expect(lines.map((line) => line.isDefault)).toEqual([false, false, false]);
});

test("early stopping as it is by default is itself no default", () => {
  const lines = linesOf({ early_stopping: { metric: "loss", patience: 3, min_delta: 0 } }, fields);
  expect(lines.map((line) => [line.path, line.isDefault])).toEqual([
    ["early_stopping", false],
    ["early_stopping.metric", true],
    ["early_stopping.patience", true],
    ["early_stopping.min_delta", true],
  ]);
});

test("a number that is chosen begins with one that is taken", () => {
  const numbers = fields.flatMap(({ name, shape }) =>
    shape.kind === "variants" ? shape.variants.filter((each) => each.shape?.kind === "number").map((each) => [name, each.value]) : [],
  );
  expect(Object.fromEntries(numbers)).toEqual({ clip_norm: 1, workers: 1, max_runtime_s: 3600, max_wait_s: 3600 });
  expect(emptyOf({ kind: "number", integer: false, above: 0 })).toBeGreaterThan(0);
});

test("kinds and fields are called by words", () => {
  const kinds = (name: string): string[] => (field(name).shape as { variants: { name: string }[] }).variants.map((each) => each.name);
  expect([kinds("workers"), kinds("early_stopping")]).toEqual([["a number", "min and max"], ["on", "none"]]);
  expect(["batch_size", "max_wait_s", "l1"].map(labelOf)).toEqual(["batch size", "max wait (s)", "l1"]);
});

test("a mistake is within the fields above it, and in no other", () => {
  expect(["features", "features[3]", "features[3].x", "feature", "features_x"].map((where) => isWithin(where, "features"))).toEqual([
    ...[true, true, true],
    ...[false, false],
  ]);
  expect(mistakeOf({ field: "features[3]", got: "x", expected: "a column" })).toBe('got "x", expected a column');
});

test("specs differ where they differ, layer by layer", () => {
  const layers = (units: number) => [{ type: "dense", units }, { type: "dropout", rate: 0.1 }];
  const found = differences([
    { seed: 0, layers: layers(8), optimizer: { type: "sgd", momentum: 0 }, validation: null },
    { seed: 0, layers: layers(9), optimizer: { type: "sgd", momentum: 0.9 }, validation: { fraction: 0.1 } },
  ]);
  expect(found.map((each) => each.path)).toEqual(["layers[0]", "optimizer.momentum", "validation"]);
});

test("a command can be pasted into a shell, whatever a name has in it", () => {
  expect(asCurl({ name: "it's $HOME" }, "http://h", false)).toContain(`"name": "it'\\''s $HOME"`);
});

test("parameters of the stages add up to those of the network", () => {
  const layers = [{ type: "dense", units: 64, activation: "relu" }, { type: "dropout", rate: 0.1 }, { type: "dense", units: 32, activation: "relu" }] as const;
  const stages = stagesOf([...layers], 108, 1, "sigmoid");
  expect(stages.map((stage) => stage.parameters)).toEqual([0, 109 * 64, 0, 65 * 32, 33]);
});
