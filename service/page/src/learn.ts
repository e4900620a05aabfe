// Backpropagation on a network that fits on a page: two inputs, three hidden neurons, two outputs, no activations.
// The loss is the mean of the squared errors over the outputs, as in the lecture whose third example this is.

export interface Parameters {
  /** weights[layer][from][to] */
  weights: [number[][], number[][]];
  biases: [number[], number[]];
}

export interface Sample {
  x: number[];
  y: number[];
}

export interface Passes {
  hidden: number[];
  outputs: number[];
  loss: number;
  /** Derivatives of the loss, by the name of what it is derived by. */
  byOutput: number[];
  byHidden: number[];
  byParameter: Parameters;
}

/** Example 3 of the lecture; numbers that its text leaves open agree with all that it gives. */
export const EXAMPLE: { sample: Sample; parameters: Parameters } = {
  sample: { x: [3, -2], y: [1, 4] },
  parameters: {
    weights: [
      [[2, -5, 1], [-1, 3, 3]],
      [[2, -2], [1, -1], [4, 3]],
    ],
    biases: [[-1, -1, 0], [-1, -1]],
  },
};

/** y = x W + b */
function forward(x: number[], weights: number[][], bias: number[]): number[] {
  return bias.map((b, to) => x.reduce((sum, value, from) => sum + value * weights[from]![to]!, b));
}

/** Forward and backward through the network. */
export function passes({ x, y }: Sample, { weights, biases }: Parameters): Passes {
  const hidden = forward(x, weights[0], biases[0]);
  const outputs = forward(hidden, weights[1], biases[1]);
  const loss = outputs.reduce((sum, value, k) => sum + (value - y[k]!) ** 2, 0) / outputs.length;
  const byOutput = outputs.map((value, k) => (2 / outputs.length) * (value - y[k]!));
  const byHidden = hidden.map((_, j) => byOutput.reduce((sum, slope, k) => sum + slope * weights[1][j]![k]!, 0));
  const byParameter: Parameters = {
    weights: [outer(x, byHidden), outer(hidden, byOutput)],
    biases: [byHidden, byOutput],
  };
  return { hidden, outputs, loss, byOutput, byHidden, byParameter };
}

function outer(left: number[], right: number[]): number[][] {
  return left.map((a) => right.map((b) => a * b));
}

/** One step of gradient descent: w ← w - rate · ∂loss/∂w. */
export function descended(parameters: Parameters, slopes: Parameters, rate: number): Parameters {
  const less = (values: number[], by: number[]): number[] => values.map((value, index) => value - rate * by[index]!);
  const rows = (values: number[][], by: number[][]): number[][] => values.map((row, index) => less(row, by[index]!));
  return {
    weights: [rows(parameters.weights[0], slopes.weights[0]), rows(parameters.weights[1], slopes.weights[1])],
    biases: [less(parameters.biases[0], slopes.biases[0]), less(parameters.biases[1], slopes.biases[1])],
  };
}

/** A weight or bias: its place, and its name in the lecture, w1 … w12 and b1 … b5. */
export interface Place {
  name: string;
  layer: 0 | 1;
  from: number | null;
  to: number;
}

export const PLACES: Place[] = [
  ...EXAMPLE.parameters.weights.flatMap((rows, layer) =>
    rows.flatMap((row, from) =>
      row.map((_, to): Place => ({ name: `w${layer * 6 + from * row.length + to + 1}`, layer: layer as 0 | 1, from, to })),
    ),
  ),
  ...EXAMPLE.parameters.biases.flatMap((row, layer) =>
    row.map((_, to): Place => ({ name: `b${layer * 3 + to + 1}`, layer: layer as 0 | 1, from: null, to })),
  ),
];

export function valueAt(parameters: Parameters, { layer, from, to }: Place): number {
  return from === null ? parameters.biases[layer][to]! : parameters.weights[layer][from]![to]!;
}

/** The parameters with another value at one place. */
export function withValue(parameters: Parameters, { layer, from, to }: Place, value: number): Parameters {
  const copy = structuredClone(parameters);
  if (from === null) copy.biases[layer][to] = value;
  else copy.weights[layer][from]![to] = value;
  return copy;
}

export interface Step {
  title: string;
  /** The rule in letters, the rule with numbers, and what comes out. */
  rule: string;
  numbers: string;
  result: string;
  why: string;
  /** What is looked at: x1, u2, o1, L, or the name of a parameter. */
  focus: string[];
}

export function shown(value: number): string {
  const rounded = Math.abs(value) >= 1e6 ? value.toExponential(2) : String(Number(value.toFixed(3)));
  return rounded.replace("-", "−");
}

function signed(value: number): string {
  return value < 0 ? `(${shown(value)})` : shown(value);
}

/** The whole way forward and back, neuron by neuron. */
export function stepsOf(sample: Sample, parameters: Parameters): Step[] {
  const found = passes(sample, parameters);
  return [...forwardSteps(sample, parameters, found), lossStep(sample, found), ...backwardSteps(sample, parameters, found)];
}

function forwardSteps(sample: Sample, parameters: Parameters, found: Passes): Step[] {
  const layers = [
    { inputs: sample.x, from: "x", to: "u", values: found.hidden, kind: "hidden neuron" },
    { inputs: found.hidden, from: "u", to: "o", values: found.outputs, kind: "output" },
  ];
  return layers.flatMap(({ inputs, from, to, values, kind }, layer) =>
    values.map((value, index) => {
      const into = PLACES.filter((place) => place.layer === layer && place.to === index);
      const weights = into.filter((place) => place.from !== null);
      const bias = into.find((place) => place.from === null)!;
      return {
        title: `Forward: ${kind} ${to}${index + 1}`,
        rule: `${to}${index + 1} = ${weights.map((place) => `${place.name} · ${from}${place.from! + 1}`).join(" + ")} + ${bias.name}`,
        numbers: `${weights.map((place) => `${signed(valueAt(parameters, place))} · ${signed(inputs[place.from!]!)}`).join(" + ")} + ${signed(valueAt(parameters, bias))}`,
        result: `${to}${index + 1} = ${shown(value)}`,
        why: "Every input times its weight, added up, and the bias.",
        focus: [`${to}${index + 1}`, ...into.map((place) => place.name), ...weights.map((place) => `${from}${place.from! + 1}`)],
      };
    }),
  );
}

function lossStep({ y }: Sample, found: Passes): Step {
  return {
    title: "The loss",
    rule: "L = ½ · ((o1 − y1)² + (o2 − y2)²)",
    numbers: `½ · (${found.outputs.map((value, k) => `(${shown(value)} − ${signed(y[k]!)})²`).join(" + ")})`,
    result: `L = ${shown(found.loss)}`,
    why: "The mean of the squared errors over the two outputs. This is what is to become small.",
    focus: ["L", "o1", "o2", "y1", "y2"],
  };
}

function backwardSteps(sample: Sample, parameters: Parameters, found: Passes): Step[] {
  const { byOutput, byHidden, byParameter } = found;
  const outputs = byOutput.map((slope, k): Step => ({
    title: `Back: output o${k + 1}`,
    rule: `∂L/∂o${k + 1} = o${k + 1} − y${k + 1}`,
    numbers: `${shown(found.outputs[k]!)} − ${signed(sample.y[k]!)}`,
    result: `∂L/∂o${k + 1} = ${shown(slope)}`,
    why: "The derivative of the square, 2 · (o − y), times the ½ of the mean. It is that of the bias, too.",
    focus: ["L", `o${k + 1}`, `y${k + 1}`, `b${k + 4}`],
  }));
  const hidden = byHidden.map((slope, j): Step => {
    const out = PLACES.filter((place) => place.layer === 1 && place.from === j);
    return {
      title: `Back: hidden neuron u${j + 1}`,
      rule: `∂L/∂u${j + 1} = ${out.map((place) => `∂L/∂o${place.to + 1} · ${place.name}`).join(" + ")}`,
      numbers: out.map((place) => `${signed(byOutput[place.to]!)} · ${signed(valueAt(parameters, place))}`).join(" + "),
      result: `∂L/∂u${j + 1} = ${shown(slope)}`,
      why: "The chain rule: a neuron is to blame by every way on which it reached the loss, and the ways add up. It is that of the bias, too.",
      focus: [`u${j + 1}`, "o1", "o2", ...out.map((place) => place.name), `b${j + 1}`],
    };
  });
  const weights = (layer: 0 | 1): Step[] =>
    PLACES.filter((place) => place.layer === layer && place.from !== null).map((place) => {
      const [from, to, inputs, slopes] = layer ? ["u", "o", found.hidden, byOutput] as const : ["x", "u", sample.x, byHidden] as const;
      return {
        title: `Back: weight ${place.name}`,
        rule: `∂L/∂${place.name} = ∂L/∂${to}${place.to + 1} · ${from}${place.from! + 1}`,
        numbers: `${signed(slopes[place.to]!)} · ${signed(inputs[place.from!]!)}`,
        result: `∂L/∂${place.name} = ${shown(valueAt(byParameter, place))}`,
        why: "The chain rule: how the loss changes with what the weight leads to, times how that changes with the weight.",
        focus: [place.name, `${from}${place.from! + 1}`, `${to}${place.to + 1}`],
      };
    });
  return [...outputs, ...weights(1), ...hidden, ...weights(0)];
}
