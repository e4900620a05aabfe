// The spec as the OpenAPI document describes it: which fields there are, of which shape, with which defaults.
import { get } from "./api";
import type { FieldProblem, Json, JsonObject } from "./types";

export type Shape =
  | { kind: "text" }
  | { kind: "number"; integer: boolean; min?: number; above?: number; max?: number }
  | { kind: "flag" }
  | { kind: "choice"; options: string[] }
  | { kind: "record"; fields: Field[] }
  | { kind: "variants"; variants: Variant[] }
  | { kind: "list"; of: Shape }
  | { kind: "map" }
  | { kind: "json" };

export interface Field {
  name: string;
  description: string;
  required: boolean;
  default?: Json;
  shape: Shape;
}

/** One of several things that a field may be: `value` is what it begins as when it is chosen. */
export interface Variant {
  name: string;
  description: string;
  shape: Shape | null;
  value: Json;
  fits: (value: Json) => boolean;
}

interface Schema {
  $ref?: string;
  type?: string;
  description?: string;
  default?: Json;
  const?: Json;
  enum?: string[];
  minimum?: number;
  exclusiveMinimum?: number;
  maximum?: number;
  properties?: Record<string, Schema>;
  patternProperties?: Record<string, Schema>;
  required?: string[];
  items?: Schema;
  anyOf?: Schema[];
  oneOf?: Schema[];
  title?: string;
}
type Schemas = Record<string, Schema>;

let loading: Promise<Field[]> | null = null;

/** The fields of a job's spec; asked for once. Throws Problem. */
export function specFields(): Promise<Field[]> {
  loading ??= get<{ components: { schemas: Schemas } }>("/openapi.json").then((document) => {
    const { schemas } = document.components;
    return fieldsOf(schemas.JobSpec!, schemas);
  });
  loading.catch(() => (loading = null)); // asked again next time; whoever asked is told
  return loading;
}

/** The fields of an object's schema. */
export function fieldsOf(schema: Schema, schemas: Schemas): Field[] {
  const required = new Set(schema.required);
  return Object.entries(schema.properties ?? {}).map(([name, property]) => ({
    name,
    description: property.description ?? resolved(property, schemas).description ?? "",
    required: required.has(name),
    ...("default" in property ? { default: property.default! } : {}),
    shape: begun(shapeOf(property, schemas), FIRST[name]),
  }));
}

/** The shape, with the number that people mostly begin with where a number may be chosen. */
function begun(shape: Shape, first: Json | undefined): Shape {
  if (shape.kind !== "variants" || first === undefined) return shape;
  return { kind: "variants", variants: shape.variants.map((each) => (each.shape?.kind === "number" ? { ...each, value: first } : each)) };
}

function resolved(schema: Schema, schemas: Schemas): Schema {
  return schema.$ref ? schemas[schema.$ref.split("/").at(-1)!]! : schema;
}

function shapeOf(given: Schema, schemas: Schemas): Shape {
  const schema = resolved(given, schemas);
  const options = schema.oneOf ?? schema.anyOf;
  if (options) return { kind: "variants", variants: options.map((option) => variantOf(resolved(option, schemas), schemas)) };
  if (schema.enum) return { kind: "choice", options: schema.enum };
  if (schema.type === "boolean") return { kind: "flag" };
  if (schema.type === "integer" || schema.type === "number") {
    const { minimum: min, exclusiveMinimum: above, maximum: max } = schema;
    return { kind: "number", integer: schema.type === "integer", ...JSON.parse(JSON.stringify({ min, above, max })) };
  }
  if (schema.type === "array") {
    const isNested = resolved(schema.items ?? {}, schemas).type === "array";
    return isNested ? { kind: "json" } : { kind: "list", of: shapeOf(schema.items ?? {}, schemas) };
  }
  if (schema.patternProperties) return { kind: "map" };
  if (schema.properties) {
    // Which kind of object it is, is chosen above it.
    const fields = fieldsOf(schema, schemas).filter((field) => schema.properties![field.name]!.const === undefined);
    return { kind: "record", fields };
  }
  return { kind: "text" };
}

function variantOf(schema: Schema, schemas: Schemas): Variant {
  const description = schema.description ?? "";
  if (schema.type === "null") {
    return { name: "none", description, shape: null, value: null, fits: (value) => value === null };
  }
  const shape = shapeOf(schema, schemas);
  if (shape.kind !== "record") {
    const kinds: Record<string, string> = { list: "object", number: "number", text: "string" };
    const type = kinds[shape.kind] ?? "string";
    const names: Record<string, string> = { list: "a list", number: "a number", text: "one" };
    const fits = (value: Json): boolean => value !== null && typeof value === type && Array.isArray(value) === (shape.kind === "list");
    return { name: names[shape.kind] ?? shape.kind, description, shape, value: emptyOf(shape), fits };
  }
  const type = schema.properties?.type?.const as string | undefined;
  const known = Object.keys(schema.properties ?? {});
  const fits = (value: Json): boolean =>
    isObject(value) && (type === undefined ? Object.keys(value).every((key) => known.includes(key)) : value.type === type);
  const name = type ?? (known.length <= 2 ? known.join(" and ") : "on");
  return { name, description, shape, value: { ...(type ? { type } : {}), ...(emptyOf(shape) as JsonObject) }, fits };
}

/** What something of this shape begins as: nothing but what it must have. */
export function emptyOf(shape: Shape): Json {
  if (shape.kind === "record") {
    const needed = shape.fields.filter((field) => field.required);
    return Object.fromEntries(needed.map((field) => [field.name, FIRST[field.name] ?? emptyOf(field.shape)]));
  }
  if (shape.kind === "number") return shape.min ?? (shape.above === undefined ? 0 : shape.above + 1);
  if (shape.kind === "list") return [];
  if (shape.kind === "flag") return false;
  if (shape.kind === "choice") return shape.options[0] ?? "";
  if (shape.kind === "map" || shape.kind === "json") return {};
  return "";
}

/** Whether a form can show all of it: lists of lists of numbers are for the YAML. */
export function isForForms(shape: Shape): boolean {
  if (shape.kind === "record") return shape.fields.every((field) => isForForms(field.shape));
  if (shape.kind === "variants") return shape.variants.every((variant) => !variant.shape || isForForms(variant.shape));
  return shape.kind !== "json";
}

/** What people mostly begin with where the document has no default. */
const FIRST: Record<string, Json> = { units: 64, rate: 0.2, fraction: 0.1, every_epochs: 10, decay: 0.95, clip_norm: 1, max_runtime_s: 3600, max_wait_s: 3600 };

export function isObject(value: Json | undefined): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

export function isEqual(a: Json | undefined, b: Json | undefined): boolean {
  if (isObject(a) && isObject(b)) {
    const keys = new Set([...Object.keys(a), ...Object.keys(b)]);
    return [...keys].every((key) => isEqual(a[key], b[key]));
  }
  if (Array.isArray(a) && Array.isArray(b)) return a.length === b.length && a.every((each, index) => isEqual(each, b[index]));
  return a === b;
}

export interface Line {
  path: string;
  value: string;
  isDefault: boolean;
  description: string;
}

/**
 * A completed spec as lines `optimizer.learning_rate  0.001`, each told whether it is as by default: as the document has it,
 * or as `completed` does where that follows from the data.
 */
export function linesOf(value: JsonObject, fields: Field[], completed: JsonObject = {}, prefix = ""): Line[] {
  return fields.flatMap((field) => {
    const given = value[field.name];
    const path = `${prefix}${field.name}`;
    if (given === undefined) return [];
    const { description } = field;
    const byDefault = field.required ? undefined : (completed[field.name] ?? field.default);
    const isDefault = isEqual(given, byDefault);
    const inner = innerOf(field.shape, given);
    if (!isObject(given) || !inner) return [{ path, value: textOf(given), isDefault, description }];
    const lines = linesOf(given, inner, {}, `${path}.`).map((line) => ({ ...line, isDefault: line.isDefault || isDefault }));
    if ("type" in given) {
      const isSameType = isObject(byDefault) && byDefault.type === given.type;
      return [{ path, value: String(given.type), isDefault: isSameType, description }, ...lines];
    }
    const isOnlyThere = !isObject(byDefault) && lines.every((line) => line.isDefault); // which is what somebody chose
    return [...(isOnlyThere ? [{ path, value: "on", isDefault: false, description }] : []), ...lines];
  });
}

function innerOf(shape: Shape, value: Json): Field[] | null {
  if (shape.kind === "record") return shape.fields;
  if (shape.kind !== "variants") return null;
  const chosen = shape.variants.find((variant) => variant.fits(value))?.shape;
  return chosen?.kind === "record" ? chosen.fields : null;
}

/** Whether the path `where`, like `layers[1].units`, is `path` or deeper. */
export function isWithin(where: string, path: string): boolean {
  return where.startsWith(path) && /^$|^[.[]/.test(where.slice(path.length));
}

const MOST_TOLD = 80; // characters

/** What is wrong with a field, in words. */
export function mistakeOf({ got, expected }: FieldProblem): string {
  const told = JSON.stringify(got) ?? "nothing";
  return `got ${told.length > MOST_TOLD ? `${told.slice(0, MOST_TOLD)}…` : told}, expected ${expected}`;
}

/** A field's name in words. */
export function labelOf(name: string): string {
  return name.replace(/_s$/, " (s)").replaceAll("_", " ");
}

/** A value on one line. */
export function textOf(value: Json): string {
  if (value === null) return "none";
  if (Array.isArray(value)) return value.length ? value.map(textOf).join(", ") : "none";
  if (!isObject(value)) return String(value);
  const { type, ...others } = value;
  const told = Object.entries(others).map(([name, inner]) => (name === "units" || name === "activation" ? textOf(inner) : `${name} ${textOf(inner)}`));
  return [...(type === undefined ? [] : [String(type)]), ...told].join(" ") || "none";
}
