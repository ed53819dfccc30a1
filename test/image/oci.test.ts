// Images without a container engine: archives that every tar reads, and digests that depend on content alone.
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type Image, writeImage } from '../../scripts/image/oci.ts';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'flowmesh-image-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const image: Omit<Image, 'layers'> = {
  name: 'e2e.local/sample:1',
  entrypoint: ['/run'],
  user: '65532:65532',
  architecture: 'amd64',
};

function folder(name: string): string {
  const made = join(dir, name);
  mkdirSync(join(made, 'deep'), { recursive: true });
  writeFileSync(join(made, 'deep', 'text'), 'hello');
  writeFileSync(join(made, 'tool'), '#!/bin/sh');
  chmodSync(join(made, 'tool'), 0o700);
  symlinkSync('deep/text', join(made, 'link'));
  return made;
}

function unpack(path: string, into: string): string {
  mkdirSync(join(dir, into), { recursive: true });
  execFileSync('tar', ['-xf', path, '-C', join(dir, into)]);
  return join(dir, into);
}

const json = (path: string) => JSON.parse(readFileSync(path, 'utf8'));
const blob = (root: string, digest: string) => join(root, 'blobs', ...digest.split(':'));

test('the same content has the same digest, whatever its owner, time and place', () => {
  const [one, two] = [folder('one'), folder('two')];
  utimesSync(join(two, 'tool'), 1, 1);
  chmodSync(join(two, 'tool'), 0o755);
  const digests = [one, two].map((from, index) =>
    writeImage(join(dir, `${index}.tar`), { ...image, layers: [{ app: { from } }] }),
  );
  expect(digests[0]).toBe(digests[1]);
  expect(readFileSync(join(dir, '0.tar'))).toEqual(readFileSync(join(dir, '1.tar')));
});

test('what is in a layer comes out again: files, modes, links, long names', () => {
  const long = `${'long/'.repeat(60)}name`;
  const layer = { app: { from: folder('one') }, [long]: { data: 'far' }, empty: { data: '' } };
  writeImage(join(dir, 'image.tar'), { ...image, layers: [layer] });
  const layout = unpack(join(dir, 'image.tar'), 'layout');
  const [{ digest, annotations }] = json(join(layout, 'index.json')).manifests;
  expect(annotations['io.containerd.image.name']).toBe('e2e.local/sample:1');
  const manifest = json(blob(layout, digest));
  const config = json(blob(layout, manifest.config.digest));
  expect([config.config.User, config.rootfs.diff_ids]).toEqual(['65532:65532', [manifest.layers[0].digest]]);
  const root = unpack(blob(layout, manifest.layers[0].digest), 'root');
  expect(readFileSync(join(root, 'app/deep/text'), 'utf8')).toBe('hello');
  expect(readlinkSync(join(root, 'app/link'))).toBe('deep/text');
  expect(readFileSync(join(root, long), 'utf8')).toBe('far');
  const listing = execFileSync('tar', ['-tvf', blob(layout, manifest.layers[0].digest)], {
    encoding: 'utf8',
  });
  expect(listing).toMatch(/^-rwxr-xr-x 0\/0 .* app\/tool$/m);
  expect(listing).toMatch(/^drwxr-xr-x 0\/0 .* app\/$/m);
});

test('a failed write leaves nothing', () => {
  const layers = [{ missing: { from: join(dir, 'nowhere') } }];
  expect(() => writeImage(join(dir, 'image.tar'), { ...image, layers })).toThrow('nowhere');
  expect(readdirSync(dir)).toEqual([]);
});
