/** Closes a switch over a union: a new kind that nobody handles does not compile. */
export function unreachable(value: never): never {
  throw new Error(`unexpected ${JSON.stringify(value)}`);
}
