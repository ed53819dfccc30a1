// Answers leave in the order in which requests came, although shards finish in any order.
export class InOrder<R> {
  readonly #slots: Slot<R>[] = [];
  #head = 0;

  open(done: (reply: R) => void): Slot<R> {
    const slot: Slot<R> = { done, reply: undefined };
    this.#slots.push(slot);
    return slot;
  }

  close(slot: Slot<R>, reply: R): void {
    slot.reply = reply;
    for (;;) {
      const first = this.#slots[this.#head];
      if (first?.reply === undefined) break;
      this.#head++;
      first.done(first.reply);
    }
    // The array is cut now and then rather than shifted each time: a shift of thousands of entries is slow.
    if (this.#head === this.#slots.length) this.#slots.length = this.#head = 0;
    else if (this.#head >= 1024) {
      this.#slots.splice(0, this.#head);
      this.#head = 0;
    }
  }
}

export interface Slot<R> {
  readonly done: (reply: R) => void;
  reply: R | undefined;
}
