// What a worker or consumer says it is, unless the program says otherwise. Read from the environment once for
// each: in Kubernetes the name is that of the pod, so that the operator can spare the busy ones.
import { hostname } from 'node:os';

/** POD_NAME, in a pod its host name, elsewhere `<host>:<process id>`. */
export function ownName(env: NodeJS.ProcessEnv = process.env): string {
  if (env['POD_NAME']) return env['POD_NAME'];
  return env['KUBERNETES_SERVICE_HOST'] ? env['HOSTNAME'] || hostname() : `${hostname()}:${process.pid}`;
}

/** FLOWMESH_BUILD; empty: nobody said. */
export const ownBuild = (env: NodeJS.ProcessEnv = process.env): string => env['FLOWMESH_BUILD'] ?? '';
