// The real file system, but nothing becomes durable while the gate is shut.
import { type JournalFile, type JournalFiles, realFiles } from '../../dataplane/journal/files.ts';

export class GatedFiles implements JournalFiles {
  #shut: Promise<void> | null = null;
  #open = () => {};
  /** Syncs that wait. */
  waiting = 0;

  shut(): void {
    this.#shut = new Promise((resolve) => {
      this.#open = resolve;
    });
  }

  release(): void {
    this.#shut = null;
    this.#open();
  }

  open: JournalFiles['open'] = async (path, mode) => {
    const file = await realFiles.open(path, mode);
    const gated: JournalFile = {
      write: (pieces, position) => file.write(pieces, position),
      read: (into, position) => file.read(into, position),
      size: () => file.size(),
      close: () => file.close(),
      sync: async () => {
        this.waiting++;
        await this.#shut;
        this.waiting--;
        await file.sync();
      },
    };
    return gated;
  };

  rename: JournalFiles['rename'] = (from, to) => realFiles.rename(from, to);
  unlink: JournalFiles['unlink'] = (file) => realFiles.unlink(file);
  list: JournalFiles['list'] = (directory) => realFiles.list(directory);
  syncDirectory: JournalFiles['syncDirectory'] = (directory) => realFiles.syncDirectory(directory);
  freeBytes: JournalFiles['freeBytes'] = (directory) => realFiles.freeBytes(directory);
}
