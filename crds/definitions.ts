// The CustomResourceDefinitions beside this file, as schemas that can be checked without a cluster. The YAML
// is the one source: what the API server enforces is what `flowmesh validate` and `flowmesh dev` enforce. A
// build that compiles this folder copies the YAML next to the result.

import assert from 'node:assert';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import type { Ajv, ValidateFunction } from 'ajv';
import { parse } from 'yaml';

export const API_GROUP = 'flowmesh.io';
export const API_VERSION = 'flowmesh.io/v1alpha1';
export const KINDS = ['FlowMeshCluster', 'Queue', 'Schema', 'Stream'] as const;
export type Kind = (typeof KINDS)[number];

/** The part of a Kubernetes structural schema that the definitions use. */
export interface Structural {
  description?: string;
  type?: 'object' | 'array' | 'string' | 'integer' | 'number' | 'boolean';
  format?: string;
  properties?: Record<string, Structural>;
  additionalProperties?: Structural;
  items?: Structural;
  required?: string[];
  enum?: string[];
  /** Not in use, as the API server has no words for it: a rule says the cure. */
  pattern?: string;
  default?: unknown;
  minimum?: number;
  maximum?: number;
  minLength?: number;
  maxLength?: number;
  minItems?: number;
  maxItems?: number;
  maxProperties?: number;
  anyOf?: Structural[];
  oneOf?: Structural[];
  'x-kubernetes-int-or-string'?: boolean;
  'x-kubernetes-preserve-unknown-fields'?: boolean;
  'x-kubernetes-list-type'?: 'atomic' | 'map' | 'set';
  'x-kubernetes-list-map-keys'?: string[];
  'x-kubernetes-validations'?: Rule[];
}

/** A rule in CEL. Its message is what is wrong and the cure, with a semicolon between. */
export interface Rule {
  rule: string;
  message: string;
  /** The field that it is about, from where the rule stands: `.journal.engine`. */
  fieldPath?: string;
  reason?: string;
}

export interface Definition {
  kind: Kind;
  /** The object as a whole, `spec` and `status` in it. */
  schema: Structural;
  spec: Structural;
  status: Structural;
  description: string;
  /** One for each field of `spec`, so that a manifest with several mistakes gets several answers. */
  validators: ReadonlyMap<string, ValidateFunction>;
}

export const definitionFile = (kind: Kind) => join(import.meta.dirname, `${kind.toLowerCase()}.yaml`);

const loaded = new Map<Kind, Definition>();

export function definitionOf(kind: Kind): Definition {
  const known = loaded.get(kind);
  if (known !== undefined) return known;
  const definition = load(kind);
  loaded.set(kind, definition);
  return definition;
}

export const isKind = (kind: string): kind is Kind => (KINDS as readonly string[]).includes(kind);

function load(kind: Kind): Definition {
  const schema: Structural = parse(readFileSync(definitionFile(kind), 'utf8')).spec.versions[0].schema
    .openAPIV3Schema;
  const { spec, status } = schema.properties ?? {};
  assert(spec?.properties && status, `the definition of ${kind} has spec and status`);
  const validators = new Map<string, ValidateFunction>();
  for (const [field, fieldSchema] of Object.entries(spec.properties)) {
    validators.set(field, validator().compile(fieldSchema));
  }
  return { kind, schema, spec, status, description: schema.description ?? '', validators };
}

// One error a field and no more: collecting all of them costs a hostile manifest nothing and us a lot (ajv,
// "Security considerations"). No $data, no remote references, no formats but those of the definitions.
let shared: Ajv | undefined;

function validator(): Ajv {
  if (shared !== undefined) return shared;
  // Loaded late: most commands judge no manifest.
  const ajv: typeof import('ajv') = createRequire(import.meta.url)('ajv');
  shared = new ajv.Ajv({ allErrors: false, strict: true, strictRequired: false, verbose: false });
  shared.addFormat('int32', { type: 'number', validate: (value: number) => value === (value | 0) });
  shared.addFormat('int64', { type: 'number', validate: Number.isSafeInteger });
  shared.addFormat('date-time', true);
  for (const keyword of [
    ...['preserve-unknown-fields', 'int-or-string', 'list-type', 'list-map-keys', 'validations'],
  ]) {
    shared.addKeyword(`x-kubernetes-${keyword}`);
  }
  return shared;
}
