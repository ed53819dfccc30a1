import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { openEmbeddedJournal } from '../../dataplane/journal/embedded.ts';
import { realFiles } from '../../dataplane/journal/files.ts';
import { MemoryStore, openMemoryJournal } from '../../dataplane/journal/memory.ts';
import { journalContract } from './contract.ts';

journalContract('memory journal', () => {
  const store = new MemoryStore();
  return { open: async (options) => openMemoryJournal({ store, ...options }) };
});

journalContract('embedded journal', () => {
  const dir = mkdtempSync(join(tmpdir(), 'flowmesh-journal-'));
  onTestFinished(() => rmSync(dir, { recursive: true }));
  return {
    open: (options) =>
      openEmbeddedJournal({
        dir: join(dir, 'shard-0', 'journal'),
        files: realFiles,
        segmentBytes: 8192,
        nowMs: () => 100_000,
        onFatal(error) {
          throw error;
        },
        ...options,
      }),
  };
});
