// docs/reference/resources.md from the definitions of crds/, so that the page cannot fall behind them.
import { readFileSync } from 'node:fs';
import { parse } from 'yaml';
import { definitionFile, definitionOf, KINDS, type Kind, type Structural } from '../../crds/definitions.ts';

/** What people declare first comes first. */
const ORDER: readonly Kind[] = ['Queue', 'Stream', 'Schema', 'FlowMeshCluster'];

export function resourceReference(): string {
  return `# Resources
[//]: # (Made by npm run generate from crds/. Do not edit.)

Four kinds of \`apiVersion: flowmesh.io/v1alpha1\`, all in a namespace. \`kubectl apply\`,
\`flowmesh dev -f\`, \`flowmesh apply -f\` and \`flowmesh validate -f\` take the same files and refuse the
same mistakes in the same words. Unset fields have defaults, which the operator shows in
\`status.effective\` and does not write into \`spec\`.

- The annotation \`flowmesh.io/paused: "true"\` makes the operator leave an object alone: it neither changes
  nor corrects anything until the annotation is gone. Deletion goes on.
- Durations are numbers with units, the larger first: \`500ms\`, \`90s\`, \`5m\`, \`24h\`, \`7d\`, \`1h30m\`.
  Sizes are \`512Mi\`, \`1Gi\`, \`20G\`.
- \`kubectl get flowmesh\` lists all four kinds, \`kubectl explain queue.spec.delivery\` shows what is below.
- \`kubectl wait --for=condition=Ready queue/emails\` works from the moment the object is there: every
  condition begins as \`Unknown\`.

${KINDS.length === ORDER.length ? ORDER.map(section).join('\n') : ''}`;
}

function section(kind: Kind): string {
  const { schema, spec, status } = definitionOf(kind);
  const file = parse(readFileSync(definitionFile(kind), 'utf8'));
  const { shortNames, plural } = file.spec.names;
  const columns: { name: string; priority?: number }[] = file.spec.versions[0].additionalPrinterColumns;
  const shown = (isWide: boolean) =>
    columns.filter(({ priority = 0 }) => priority > 0 === isWide).map(({ name }) => name.toLowerCase());
  return [
    `## ${kind}`,
    `\`kubectl get ${plural}\` or \`${shortNames.join('`, `')}\`. ${sentence(schema.description)}`,
    `Columns: ${shown(false).join(', ')}; with \`-o wide\` also ${shown(true).join(', ')}.`,
    table('field of spec', rows(spec, '')),
    `Refused as well, with the cure:\n\n${rulesBelow(schema, '').join('\n')}`,
    table('field of status', rows(status, '')),
  ]
    .join('\n\n')
    .concat('\n');
}

const sentence = (text = '') => text.replace(/ The annotation .*$/, '');

interface Row {
  field: string;
  type: string;
  text: string;
}

function rows(schema: Structural, prefix: string): Row[] {
  return Object.entries(schema.properties ?? {}).flatMap(([name, field]): Row[] => {
    const path = prefix === '' ? name : `${prefix}.${name}`;
    const isRequired = schema.required?.includes(name) === true;
    const text = `${isRequired ? 'Required. ' : ''}${field.description ?? ''}`;
    const row = { field: path, type: typeOf(field), text };
    // What is the same everywhere, or the same as in spec, is told once.
    if (path === 'conditions' || path === 'effective') return [row];
    return [row, ...rows(field.items ?? field, field.items ? `${path}[]` : path)];
  });
}

/** The rules but those of one text, which are in its type. */
function rulesBelow(schema: Structural, path: string): string[] {
  const own = (schema['x-kubernetes-validations'] ?? []).map(({ message, fieldPath = '' }) => {
    const field = `${path}${fieldPath}`.replace(/^\.?spec(?=\.|$)/, '').replace(/^\./, '');
    return `- \`${field}\`: ${message}`;
  });
  const below = Object.entries(schema.properties ?? {}).flatMap(([name, field]) =>
    rulesBelow(field, path === '' ? name : `${path}.${name}`),
  );
  const inside = schema.items ? rulesBelow(schema.items, `${path}[]`) : [];
  return schema.type === 'string' ? [] : [...own, ...below, ...inside];
}

function typeOf(schema: Structural): string {
  if (schema.enum) return schema.enum.map((value) => `\`${value}\``).join(', ');
  const [rule] = schema['x-kubernetes-validations'] ?? [];
  if (schema['x-kubernetes-int-or-string']) return 'amount';
  switch (schema.type) {
    case 'integer': {
      const { minimum, maximum } = schema;
      if (minimum === undefined) return 'number';
      return maximum === undefined ? `number from ${minimum}` : `${minimum} to ${maximum}`;
    }
    case 'string':
      if (schema.format === 'date-time') return 'time';
      return rule ? (/^is not (?:an? |the )?([^;]+);/.exec(rule.message)?.[1] ?? 'text') : 'text';
    case 'array':
      return `list${schema.maxItems ? ` of up to ${schema.maxItems}` : ''}`;
    case 'boolean':
      return 'true, false';
    case 'object':
      return schema.additionalProperties ? 'names and values' : '';
    default:
      return 'any value';
  }
}

function table(title: string, list: readonly Row[]): string {
  const cell = (text: string) => text.replaceAll('|', '\\|').replaceAll('\n', ' ');
  const lines = list.map(({ field, type, text }) => `| \`${field}\` | ${cell(type)} | ${cell(text)} |`);
  return `| ${title} | | |\n| --- | --- | --- |\n${lines.join('\n')}`;
}
