// `npm run image -- OUT.tar [--name NAME]` writes the FlowMesh image, without Docker, as an OCI layout in a
// tar. `--rootfs` writes the plain files instead: the Dockerfile makes its image of them.

import { createHash } from 'node:crypto';
import { closeSync, openSync, writeSync } from 'node:fs';
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { flowmeshImage } from './contents.ts';
import { writeImage } from './oci.ts';
import { writeTar } from './tar.ts';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { name: { type: 'string', default: 'flowmesh:dev' }, rootfs: { type: 'boolean', default: false } },
});
const [out] = positionals;
if (out === undefined) throw new Error('usage: npm run image -- OUT.tar [--name NAME] [--rootfs]');
const image = flowmeshImage(resolve(import.meta.dirname, '../..'), values.name);
if (values.rootfs) {
  const hash = createHash('sha256');
  const file = openSync(out, 'w');
  writeTar(Object.assign({}, ...image.layers), (bytes) => {
    hash.update(bytes);
    for (let offset = 0; offset < bytes.length; ) offset += writeSync(file, bytes, offset);
  });
  closeSync(file);
  console.log(`${out}  sha256:${hash.digest('hex')}`);
} else {
  console.log(`${out}  ${image.name}  ${writeImage(resolve(out), image)}`);
}
