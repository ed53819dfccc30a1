// Writes a container image as a tar of the OCI layout, without a container engine: `ctr images import`,
// `docker load`, `kind load image-archive` and `skopeo` read it. Same content, same digest.

import { createHash } from 'node:crypto';
import { closeSync, mkdtempSync, openSync, renameSync, rmSync, writeSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { type Sink, type Tree, writeTar } from './tar.ts';

export interface Image {
  /** `e2e.local/flowmesh:test` */
  readonly name: string;
  /** Other names of the same. */
  readonly alsoNamed?: readonly string[];
  /** From the ground up: what changes least comes first. */
  readonly layers: readonly Tree[];
  readonly entrypoint: readonly string[];
  /** Numbers, so that Kubernetes can see that it is not root. */
  readonly user: string;
  readonly env?: Record<string, string>;
  readonly workingDir?: string;
  readonly ports?: readonly number[];
  readonly labels?: Record<string, string>;
  readonly architecture: 'amd64' | 'arm64';
}

interface Blob {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
}

const OCI = 'application/vnd.oci.image';

/** Answers the digest of its manifest. */
export function writeImage(path: string, image: Image): string {
  const work = mkdtempSync(join(dirname(path), `.${basename(path)}-`));
  try {
    const files: Tree = {};
    const add = (mediaType: string, write: (sink: Sink) => void): Blob => {
      const temporary = join(work, String(Object.keys(files).length));
      const { hex, size } = writeHashed(temporary, write);
      files[`blobs/sha256/${hex}`] = { from: temporary };
      return { mediaType, digest: `sha256:${hex}`, size };
    };
    const addJson = (mediaType: string, value: unknown) =>
      add(mediaType, (sink) => sink(Buffer.from(JSON.stringify(value))));
    // Uncompressed, so that a layer's digest is also that of its content.
    const layers = image.layers.map((tree) => add(`${OCI}.layer.v1.tar`, (sink) => writeTar(tree, sink)));
    const config = addJson(`${OCI}.config.v1+json`, configOf(image, layers));
    const manifest = addJson(`${OCI}.manifest.v1+json`, {
      schemaVersion: 2,
      mediaType: `${OCI}.manifest.v1+json`,
      config,
      layers,
    });
    const manifests = [image.name, ...(image.alsoNamed ?? [])].map((name) => ({
      ...manifest,
      annotations: {
        'io.containerd.image.name': name,
        'org.opencontainers.image.ref.name': name.slice(name.lastIndexOf(':') + 1),
      },
    }));
    files['oci-layout'] = { data: JSON.stringify({ imageLayoutVersion: '1.0.0' }) };
    files['index.json'] = {
      data: JSON.stringify({ schemaVersion: 2, manifests }),
    };
    const finished = join(work, 'image.tar');
    writeHashed(finished, (sink) => writeTar(files, sink));
    renameSync(finished, path);
    return manifest.digest;
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

function configOf({ entrypoint, user, env = {}, workingDir = '/', ...image }: Image, layers: Blob[]) {
  return {
    created: new Date(0).toISOString(),
    architecture: image.architecture,
    os: 'linux',
    config: {
      User: user,
      Env: Object.entries({ PATH: '/usr/local/bin:/usr/bin:/bin', ...env }).map((pair) => pair.join('=')),
      Entrypoint: entrypoint,
      WorkingDir: workingDir,
      ExposedPorts: Object.fromEntries((image.ports ?? []).map((port) => [`${port}/tcp`, {}])),
      Labels: image.labels ?? {},
    },
    rootfs: { type: 'layers', diff_ids: layers.map(({ digest }) => digest) },
  };
}

function writeHashed(path: string, write: (sink: Sink) => void): { hex: string; size: number } {
  const hash = createHash('sha256');
  const file = openSync(path, 'w');
  let size = 0;
  try {
    write((bytes) => {
      hash.update(bytes);
      for (let offset = 0; offset < bytes.length; ) offset += writeSync(file, bytes, offset);
      size += bytes.length;
    });
  } finally {
    closeSync(file);
  }
  return { hex: hash.digest('hex'), size };
}
