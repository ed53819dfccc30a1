// What a rename or a new file needs to survive a power cut: the file or directory itself on the disk.
import { closeSync, fsyncSync, openSync } from 'node:fs';

/** Of a file its bytes, of a directory its names. */
export function syncPath(path: string): void {
  const fd = openSync(path, 'r');
  fsyncSync(fd);
  closeSync(fd);
}
