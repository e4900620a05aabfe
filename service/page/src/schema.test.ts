// The form and the greyed defaults, from the very document that the service serves.
import { readFileSync } from "node:fs";

import { expect, test } from "vitest";

import { fieldsOf, isForForms, linesOf, type Field } from "./schema";
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
    ["optimizer", "adam", false],
    ["optimizer.learning_rate", "0.01", false],
    ["optimizer.beta1", "0.9", true],
    ["epochs", "10", true],
    ["validation", "none", true],
  ]);
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
