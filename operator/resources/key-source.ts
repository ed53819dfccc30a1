// Keys and random bytes of the real world, for renewCertificates; main.ts hands it in.
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import type { KeySource } from './certificates.ts';

export const realKeys: KeySource = {
  newKeys: () => generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  randomBytes,
};
