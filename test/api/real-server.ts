// A whole server for tests, asked over HTTP; closed after the test.
import { type ServerOptions, startServer } from '../../dataplane/main.ts';
import { atEnd } from './support.ts';

export const options: ServerOptions = {
  dataDir: null,
  shards: 1,
  host: '127.0.0.1',
  grpcPort: 0,
  httpPort: 0,
  insecure: false,
  autoCreate: true,
  logLevel: 'silent',
  onFatal: (error) => {
    throw error;
  },
};

export async function serve(over: Partial<ServerOptions> = {}) {
  const server = await startServer({ ...options, ...over });
  atEnd(() => server.close());
  const base = `http://127.0.0.1:${server.httpPort}`;
  async function ask(method: string, path: string, body?: unknown, headers: Record<string, string> = {}) {
    const response = await fetch(`${base}${path}`, {
      method,
      headers: body === undefined ? headers : { 'content-type': 'application/json', ...headers },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    const isJson = response.headers.get('content-type')?.includes('json');
    return { status: response.status, headers: response.headers, body: isJson ? JSON.parse(text) : text };
  }
  return { server, base, ask };
}
