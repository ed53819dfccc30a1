// What of the chart can be judged without Helm: what is generated, what the values promise, what the roles
// allow. test/chart renders it.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Ajv } from 'ajv';
import { expect, test } from 'vitest';
import { parse, parseAllDocuments } from 'yaml';
import { PERMISSIONS } from '../../operator/permissions.ts';
import { chartFiles } from '../../scripts/generate/chart.ts';

const repository = join(import.meta.dirname, '../..');
const read = (path: string) => readFileSync(join(repository, path), 'utf8');
const chart = 'charts/flowmesh';

interface Schema {
  description?: string;
  properties?: Record<string, Schema>;
}
const schema: Schema = JSON.parse(read(`${chart}/values.schema.json`));
const values = parse(read(`${chart}/values.yaml`));

test.each(Object.entries(chartFiles()))('%s is what npm run generate makes', (path, text) => {
  expect(existsSync(join(repository, path)) && read(path)).toBe(text);
});

test('chart, application and package have one version', () => {
  const { version } = JSON.parse(read('package.json'));
  expect(parse(read(`${chart}/Chart.yaml`))).toMatchObject({ version, appVersion: version });
});

test('the default values fit their schema, and each is described there', () => {
  const validate = new Ajv({ strict: false }).compile(schema);
  expect(validate(values)).toBe(true);
  const names = (of: Schema, path = ''): string[] =>
    Object.entries(of.properties ?? {}).flatMap(([name, field]) => {
      expect(field.description, `${path}${name}`).toMatch(/\.$/);
      return field.properties ? names(field, `${path}${name}.`) : [`${path}${name}`];
    });
  const given = (of: object, path = ''): string[] =>
    Object.entries(of).flatMap(([name, value]) => {
      const at = `${path}${name}`;
      const isLeaf = schemaAt(at)?.properties === undefined;
      return isLeaf ? [at] : given(value as object, `${at}.`);
    });
  expect(given(values).sort()).toEqual(
    names(schema)
      .filter((name) => name !== 'global')
      .sort(),
  );
});

const schemaAt = (path: string) =>
  path.split('.').reduce<Schema | undefined>((at, name) => at?.properties?.[name], schema);

test('no permission is a star, and each has its reason', () => {
  for (const { group, resources, verbs, why } of PERMISSIONS) {
    expect([group, ...resources, ...verbs].join()).not.toContain('*');
    expect(why.length).toBeGreaterThan(10);
    expect(verbs).not.toHaveLength(0);
  }
});

test('secrets are never for the whole cluster, and volumes are never deleted', () => {
  const about = (resource: string) => PERMISSIONS.filter(({ resources }) => resources.includes(resource));
  expect(about('secrets').map(({ scope }) => scope)).not.toContain('cluster');
  for (const { verbs } of [...about('persistentvolumeclaims'), ...about('secrets')])
    expect(verbs).not.toContain('delete');
});

test('install.yaml holds what it says, and nothing that reads all secrets', () => {
  const objects = parseAllDocuments(read('install.yaml')).map((document) => document.toJS());
  const roles = objects.filter(({ kind }) => kind === 'ClusterRole');
  for (const { rules } of roles) for (const rule of rules) expect(rule.resources).not.toContain('secrets');
  const definitions = objects.filter(({ kind }) => kind === 'CustomResourceDefinition');
  expect(definitions).toHaveLength(4);
  for (const { metadata } of definitions)
    expect(metadata.annotations['helm.sh/resource-policy']).toBe('keep');
  const { version } = JSON.parse(read('package.json'));
  const [deployment] = objects.filter(({ kind }) => kind === 'Deployment');
  expect(deployment.spec.template.spec.containers[0].image).toMatch(new RegExp(`:${version}$`));
});
