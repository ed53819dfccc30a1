// What images call the processor of this machine.

import { arch } from 'node:process';

export const architecture = arch === 'arm64' ? 'arm64' : 'amd64';
