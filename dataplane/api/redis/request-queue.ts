// Requests of one connection that wait for their turn, and how much they are.

export class RequestQueue {
  #requests: Buffer[][] = [];
  bytes = 0;

  get length(): number {
    return this.#requests.length;
  }

  /** In order; not to be kept. */
  get all(): readonly Buffer[][] {
    return this.#requests;
  }

  get first(): Buffer[] | undefined {
    return this.#requests[0];
  }

  push(request: Buffer[]): void {
    this.#requests.push(request);
    for (const part of request) this.bytes += part.length;
  }

  /** Takes so many from the front. */
  take(count: number): Buffer[][] {
    const taken = this.#requests.splice(0, count);
    if (this.#requests.length === 0) this.bytes = 0;
    else for (const request of taken) for (const part of request) this.bytes -= part.length;
    return taken;
  }

  putBack(requests: readonly Buffer[][]): void {
    if (requests.length === 0) return;
    this.#requests = [...requests, ...this.#requests];
    for (const request of requests) for (const part of request) this.bytes += part.length;
  }

  clear(): void {
    this.#requests = [];
    this.bytes = 0;
  }
}
