// What KEDA does itself: from none to the first, and back to none. In between it leaves it to the HPA.
//   K1. Where the minimum is not 0, it changes nothing.
//   K2. From n to none after the cooldown, past the policies of the HPA (kedacore/keda#7770).

const POLLING_S = 30;
const COOLDOWN_S = 300;

export class Keda {
  readonly #isFromNone: boolean;
  readonly #isPushed: boolean;
  #activeS = 0;

  /** `isPushed`: the scaler tells of activity by StreamIsActive, instead of at the next poll. */
  constructor(from: number, isPushed: boolean) {
    this.#isFromNone = from === 0;
    this.#isPushed = isPushed;
  }

  /** Undefined: it is the HPA's to decide. */
  decide(atS: number, replicas: number, isActive: boolean): number | undefined {
    if (!this.#isFromNone) return undefined; // K1
    const isPoll = atS % POLLING_S === 0;
    if (isActive && (isPoll || this.#isPushed)) this.#activeS = atS;
    if (replicas === 0) return isActive && (isPoll || this.#isPushed) ? 1 : 0;
    return isPoll && !isActive && atS - this.#activeS >= COOLDOWN_S ? 0 : undefined; // K2
  }
}
