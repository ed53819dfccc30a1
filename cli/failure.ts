// How a command fails: one line that says what is wrong, one that says what to do, and an exit code for
// scripts:
//   0 done   1 refused, not found, unreachable   2 the command line itself is wrong   130 interrupted
import { ERRORS, FlowError, isErrorCode } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';

export class CliError extends Error {
  override readonly name = 'CliError';
  readonly hint: string;
  readonly exitCode: 1 | 2 | 130;

  constructor(message: string, hint = '', exitCode: 1 | 2 | 130 = 1) {
    super(message);
    this.hint = hint;
    this.exitCode = exitCode;
  }
}

export const usage = (message: string, hint = ''): CliError => new CliError(message, hint, 2);

export interface Explanation {
  message: string;
  hint: string;
  /** Of the table in docs/reference/errors.md; undefined: it did not come from FlowMesh. */
  code?: string;
  exitCode: number;
}

/** `where` is the address that was asked, if one was. */
export function explain(error: unknown, where?: string): Explanation {
  if (error instanceof CliError)
    return { message: error.message, hint: error.hint, exitCode: error.exitCode };
  if (isFlowError(error)) return explainFlowError(error, where);
  if (error instanceof Error) {
    const { code } = error as NodeJS.ErrnoException;
    // The system's own errors (a file that is not there) are clear; anything else is a bug, and its stack is
    // the report.
    if (typeof code === 'string' && /^E[A-Z]+$/.test(code))
      return { message: error.message, hint: '', exitCode: 1 };
    return {
      message: error.stack ?? error.message,
      hint: 'this should not happen; please report it',
      exitCode: 1,
    };
  }
  return { message: String(error), hint: 'this should not happen; please report it', exitCode: 1 };
}

/** The class may have been loaded twice: from source by the command line, compiled by a package. */
const isFlowError = (error: unknown): error is FlowError =>
  error instanceof FlowError || (error instanceof Error && error.name === 'FlowError' && 'code' in error);

function explainFlowError(error: FlowError, where: string | undefined): Explanation {
  const { code, message } = error;
  if (code === 'UNAVAILABLE' && where !== undefined && !isAnswer(error)) {
    // Something did take the connection, so it is there; gRPC says so in words alone.
    const isOther = message.includes('Protocol error');
    return { ...(isOther ? foreign(where) : unreachable(where)), code, exitCode: 1 };
  }
  if (code === 'UNAUTHENTICATED') {
    return { message, hint: 'give the token with --token, or in FLOWMESH_TOKEN', code, exitCode: 1 };
  }
  return { message, hint: hints[code] ?? cureOf(code), code, exitCode: 1 };
}

/** From the table of errors, as a hint is written. */
export const cureOf = (code: FlowError['code']): string => asHint(ERRORS[code]?.cure ?? '');

export const asHint = (sentence: string): string =>
  sentence.charAt(0).toLowerCase() + sentence.slice(1).replace(/\.$/, '');

/** FlowMesh itself answered, and did not merely fail to. */
const isAnswer = ({ cause }: FlowError): boolean => {
  const { metadata } = (cause ?? {}) as { metadata?: { get(name: string): unknown[] } };
  return (metadata?.get('flowmesh-code').length ?? 0) > 0;
};

/** Where this command line has something better to offer than the table of errors. */
const hints: Readonly<Record<string, string>> = {
  // The message names field and value already.
  INVALID_ARGUMENT: '',
  QUEUE_NOT_FOUND: 'what there is: flowmesh queue ls; to create one: flowmesh queue declare NAME',
  STREAM_NOT_FOUND: 'what there is: flowmesh stream ls; to create one: flowmesh stream declare NAME',
};

export const unreachable = (address: string) => ({
  message: `no FlowMesh at ${address}`,
  hint: 'start one with: flowmesh dev   (or give another address: --address, FLOWMESH_ADDRESS)',
});

const foreign = (address: string) => ({
  message: `what listens at ${address} does not speak gRPC`,
  hint: 'HTTP has a port of its own; the one for gRPC is 7070 unless it was set',
});

/** After Ctrl-C, with how far it got. */
export const interrupted = (soFar: string): CliError => new CliError(`interrupted: ${soFar}`, '', 130);

/** A batched reply that holds an error instead of a result. */
export function throwWireError(error: pb.Error | null | undefined): void {
  if (!error?.code) return;
  throw new FlowError(isErrorCode(error.code) ? error.code : 'INTERNAL', error.message || error.code);
}
