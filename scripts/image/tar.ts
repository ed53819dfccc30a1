// Writes tar archives: the same entries give the same bytes, whoever writes them, where and when.
//   1. Entries come out in the order of their paths, owned by nobody in particular (0:0), at time zero.
//   2. Modes are 0755 or 0644, by whether the owner may execute the file.

import { closeSync, lstatSync, openSync, readdirSync, readlinkSync, readSync } from 'node:fs';
import { join } from 'node:path';

/** What to put at a path: bytes, a file or folder to take from this machine, or a link. */
export type Content = { data: Buffer | string; executable?: boolean } | { from: string } | { link: string };
export type Tree = Record<string, Content>;
export type Sink = (bytes: Buffer) => void;

const BLOCK = 512;
const CHUNK_BYTES = 1024 * 1024;

export function writeTar(tree: Tree, sink: Sink): void {
  const entries = new Map<string, Content>();
  for (const [path, content] of Object.entries(tree)) collect(path, content, entries);
  for (const path of [...entries.keys()]) for (const folder of parents(path)) setDefault(entries, folder);
  for (const [path, content] of [...entries].sort(([a], [b]) => (a < b ? -1 : 1))) entry(path, content, sink);
  sink(Buffer.alloc(BLOCK * 2));
}

const folderContent: Content = { from: '' };

function setDefault(entries: Map<string, Content>, folder: string): void {
  if (!entries.has(folder)) entries.set(folder, folderContent);
}

/** `a/b/c` has `a/` and `a/b/` above it. */
function parents(path: string): string[] {
  const names = path.replace(/\/$/, '').split('/').slice(0, -1);
  return names.map((_, index) => `${names.slice(0, index + 1).join('/')}/`);
}

function collect(path: string, content: Content, entries: Map<string, Content>): void {
  if (!('from' in content)) {
    entries.set(path, content);
    return;
  }
  const stat = lstatSync(content.from);
  if (stat.isSymbolicLink()) entries.set(path, { link: readlinkSync(content.from) });
  else if (stat.isFile()) entries.set(path, content);
  else if (stat.isDirectory()) {
    entries.set(`${path}/`, folderContent);
    for (const name of readdirSync(content.from)) {
      collect(`${path}/${name}`, { from: join(content.from, name) }, entries);
    }
  } else throw new Error(`${content.from} is neither file, folder nor link`);
}

function entry(path: string, content: Content, sink: Sink): void {
  if (path.endsWith('/')) header(path, { type: '5', mode: 0o755 }, sink);
  else if ('link' in content) header(path, { type: '2', mode: 0o777, link: content.link }, sink);
  else if ('data' in content) {
    const bytes = Buffer.from(content.data);
    header(path, { type: '0', mode: content.executable === true ? 0o755 : 0o644, size: bytes.length }, sink);
    sink(bytes);
    pad(bytes.length, sink);
  } else {
    const { mode, size } = lstatSync(content.from);
    header(path, { type: '0', mode: mode & 0o100 ? 0o755 : 0o644, size }, sink);
    copy(content.from, size, sink);
    pad(size, sink);
  }
}

interface Header {
  readonly type: string;
  readonly mode: number;
  readonly size?: number;
  readonly link?: string;
}

function header(path: string, { type, mode, size = 0, link = '' }: Header, sink: Sink): void {
  // Longer names have a place of their own in front of the entry.
  const records = { path, linkpath: link };
  const long = Object.entries(records).filter(([, value]) => Buffer.byteLength(value) > 100);
  if (long.length > 0) {
    const body = Buffer.from(long.map(([key, value]) => record(key, value)).join(''));
    header('././@PaxHeader', { type: 'x', mode: 0o644, size: body.length }, sink);
    sink(body);
    pad(body.length, sink);
  }
  const block = Buffer.alloc(BLOCK);
  const octal = (value: number, offset: number, length: number) =>
    block.write(`${value.toString(8).padStart(length - 1, '0')}\0`, offset);
  block.write(path, 0, 100);
  octal(mode, 100, 8);
  octal(0, 108, 8);
  octal(0, 116, 8);
  octal(size, 124, 12);
  octal(0, 136, 12);
  block.write(' '.repeat(8), 148);
  block.write(type, 156);
  block.write(link, 157, 100);
  block.write('ustar\x0000', 257);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  sink(block);
}

/** `LENGTH key=value\n`, where the length counts itself. */
function record(key: string, value: string): string {
  const rest = Buffer.byteLength(` ${key}=${value}\n`);
  let length = rest + String(rest).length;
  if (String(length).length > String(rest).length) length = rest + String(length).length;
  return `${length} ${key}=${value}\n`;
}

function copy(from: string, size: number, sink: Sink): void {
  const file = openSync(from, 'r');
  try {
    for (let offset = 0; offset < size; ) {
      const chunk = Buffer.allocUnsafe(Math.min(CHUNK_BYTES, size - offset));
      const read = readSync(file, chunk, 0, chunk.length, offset);
      if (read === 0) throw new Error(`${from} became shorter while it was read`);
      sink(chunk.subarray(0, read));
      offset += read;
    }
  } finally {
    closeSync(file);
  }
}

function pad(size: number, sink: Sink): void {
  const rest = size % BLOCK;
  if (rest > 0) sink(Buffer.alloc(BLOCK - rest));
}
