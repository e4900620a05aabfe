// The numbers of the lecture's third example, in the repository's copy of them.
import { readFileSync } from "node:fs";

import { expect, test } from "vitest";

import { descended, EXAMPLE, passes, PLACES, stepsOf, valueAt, withValue } from "./learn";

const lecture = JSON.parse(readFileSync(new URL("../../../examples/lecture.json", import.meta.url), "utf8"));
const given = lecture.examples.find((each: { name: string }) => each.name === "example-3-hidden-layer");
const found = passes(EXAMPLE.sample, EXAMPLE.parameters);

test("the example begins as the lecture's does", () => {
  expect([EXAMPLE.sample.x]).toEqual(given.x);
  expect([EXAMPLE.sample.y]).toEqual(given.y);
  expect(EXAMPLE.parameters.weights).toEqual(given.initial_parameters.weights);
  expect(EXAMPLE.parameters.biases).toEqual(given.initial_parameters.biases);
});

test("forward and backward give the lecture's numbers", () => {
  expect([found.hidden]).toEqual(given.hidden);
  expect([found.outputs]).toEqual(given.prediction);
  expect(found.loss).toBe(given.loss_before);
  expect([found.byOutput]).toEqual(given.output_gradient);
  expect([found.byHidden]).toEqual(given.hidden_gradient.values);
  expect(found.byParameter.weights).toEqual(given.gradient.weights);
  expect(found.byParameter.biases).toEqual(given.gradient.biases);
});

test("the names are the lecture's", () => {
  const named = (name: string): number => valueAt(EXAMPLE.parameters, PLACES.find((place) => place.name === name)!);
  expect([named("w7"), named("w8")]).toEqual([2, -2]);
  expect(valueAt(found.byParameter, PLACES.find((place) => place.name === "b4")!)).toBe(-22);
  expect(PLACES).toHaveLength(17);
});

test("every derivative is what central differences say", () => {
  const h = 1e-4;
  const loss = (place: (typeof PLACES)[number], by: number): number =>
    passes(EXAMPLE.sample, withValue(EXAMPLE.parameters, place, valueAt(EXAMPLE.parameters, place) + by)).loss;
  for (const place of PLACES) {
    const slope = (loss(place, h) - loss(place, -h)) / (2 * h);
    expect(slope).toBeCloseTo(valueAt(found.byParameter, place), 4);
  }
});

test("every neuron, the loss and every weight has its step, with its number in it", () => {
  const steps = stepsOf(EXAMPLE.sample, EXAMPLE.parameters);
  expect(steps).toHaveLength(5 + 1 + 2 + 6 + 3 + 6);
  expect(steps.find((step) => step.title.endsWith("u1") && step.title.startsWith("Back"))?.numbers).toBe("(−22) · 2 + (−6) · (−2)");
  expect(steps.at(-1)?.result).toBe("∂L/∂w6 = 212");
});

test("a small step down makes the loss smaller", () => {
  const next = descended(EXAMPLE.parameters, found.byParameter, 1e-4);
  expect(passes(EXAMPLE.sample, next).loss).toBeLessThan(found.loss);
});
