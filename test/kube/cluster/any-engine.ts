// The operator as operator/main.ts starts it, but for clusters of any journal: pods that nobody runs need no
// data plane that serves it, and only a replicated journal has several pods.
import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { registerControllers } from '../../../operator/controllers/register.ts';
import { runProcess } from '../../../operator/process.ts';
import { realKeys } from '../../../operator/resources/key-source.ts';
import { realRuntime } from '../../../operator/runtime.ts';

await runProcess({
  controllers: [
    (host, options) =>
      registerControllers(host, { told: options, keys: realKeys, engines: ['Embedded', 'JetStream'] }),
  ],
  services: [],
  args: process.argv.slice(2),
  env: process.env,
  hostname: hostname(),
  uniqueId: randomUUID(),
  runtime: realRuntime,
});
