// Generates everything in proto/gen from the .proto files of proto, docs/reference/cli.md from cli/, the
// table of pod fields of operator/resources, and the roles and definitions of the chart. (The types of crds/
// come from crds/generate.ts.)
// `npm run check` generates again and compares, so the output must depend on nothing but these.

import { execFileSync } from 'node:child_process';
import { globSync, mkdirSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import protobuf from 'protobufjs';
import { chartFiles } from './generate/chart.ts';
import { staticModule } from './generate/codec.ts';
import { exportedTypes } from './generate/model.ts';
import { podSchemaSource } from './generate/pod-schema.ts';
import { servicesModule, servicesTypes } from './generate/services.ts';
import { messageTypes } from './generate/types.ts';

const repository = resolve(import.meta.dirname, '..');

export function generate(outDir: string, protoDir = join(repository, 'proto')): void {
  const files = globSync('{externalscaler,flowmesh}/**/*.proto', { cwd: protoDir }).sort();
  if (files.length === 0) throw new Error(`no .proto files below ${protoDir}`);

  const root = new protobuf.Root();
  root.resolvePath = (_origin, target) => join(protoDir, target);
  root.loadSync(files, { alternateCommentMode: true }).resolveAll();
  const model = exportedTypes(root, files);

  mkdirSync(outDir, { recursive: true });
  const write = (name: string, text: string) => writeFileSync(join(outDir, name), text);
  write('flowmesh.js', staticModule(model, protoDir, files));
  write('flowmesh.d.ts', messageTypes(model));
  write('services.js', servicesModule(model));
  write('services.d.ts', servicesTypes(model));
  buf('build', '--as-file-descriptor-set', '--exclude-source-info', '-o', join(outDir, 'descriptor.binpb'));
}

export const cliReferencePath = join(repository, 'docs/reference/cli.md');

/** Loaded late: the command line stands on what `generate` makes. */
export async function generateCliReference(): Promise<string> {
  const { cliReference } = await import('./generate/cli-reference.ts');
  return cliReference();
}

export function lintProtos(): void {
  buf('lint');
}

function buf(...args: string[]): void {
  execFileSync(join(repository, 'node_modules/.bin/buf'), args, { cwd: repository, stdio: 'inherit' });
}

if (import.meta.main) {
  lintProtos();
  generate(join(repository, 'proto/gen'));
  writeFileSync(cliReferencePath, await generateCliReference());
  const files = { 'operator/resources/pod-schema.ts': podSchemaSource(), ...chartFiles() };
  for (const [path, text] of Object.entries(files)) writeFileSync(join(repository, path), text);
}
