// Where a request comes from, as people write it: without its port, which is another one for each connection.

/** Of a socket that listens for both families, IPv4 is written as IPv6. Empty: nobody knows. */
export const plainAddress = (remoteAddress: string | undefined): string =>
  (remoteAddress ?? '').replace(/^::ffff:/, '');
