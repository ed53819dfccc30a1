// What the modules of kube/ tell the world around them: the shape of a log, and nothing of who writes it.

export interface KubeLogFields {
  readonly event: `${string}.${string}`;
  readonly err?: unknown;
  readonly [field: string]: unknown;
}

type Write = (fields: KubeLogFields, message: string) => void;

export interface KubeLog {
  debug: Write;
  info: Write;
  warn: Write;
  error: Write;
  fatal: Write;
  child(fields: { readonly [field: string]: unknown }): KubeLog;
}
