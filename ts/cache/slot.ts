// What folios and buffers have in common: a range of arena units, pins, and a place in the clock that chooses
// what to drop. A slot is dropped only when nobody pins it, it is not dirty and no device call refers to it.

export abstract class Slot {
  /** First arena unit, and how many. A buffer moves when its bytes must stay for a device write (copy forward). */
  unit: number;
  readonly n: number;
  /** Address in linear memory. Valid while the slot is pinned or the step that got it runs. */
  ptr: number;
  /** Who must not lose it: turns that touched it, leases, device calls. */
  pins = 0;
  /** The turn that holds it for its duration, so that a turn pins it once. */
  turn = 0;
  /** Touched since the clock's hand last passed. */
  referenced = true;
  /** All of its blocks hold what the device holds, or newer. */
  uptodate = false;
  dirty = false;
  /** Settles when the device call that fills it has; null when none runs. */
  loading: Promise<void> | null = null;
  ring: Slot = this;
  ringPrev: Slot = this;

  constructor(unit: number, n: number, ptr: number) {
    this.unit = unit;
    this.n = n;
    this.ptr = ptr;
  }

  /** Takes the slot out of its index; called by the clock just before the memory is reused. */
  abstract forget(): void;
}

/** Second-chance clock over all slots of a cache. */
export class Clock {
  #hand: Slot | null = null;
  count = 0;

  insert(slot: Slot): void {
    this.count++;
    const hand = this.#hand;
    if (hand === null) {
      slot.ring = slot;
      slot.ringPrev = slot;
      this.#hand = slot;
      return;
    }
    slot.ring = hand;
    slot.ringPrev = hand.ringPrev;
    hand.ringPrev.ring = slot;
    hand.ringPrev = slot;
  }

  remove(slot: Slot): void {
    this.count--;
    if (slot.ring === slot) {
      this.#hand = null;
      return;
    }
    slot.ringPrev.ring = slot.ring;
    slot.ring.ringPrev = slot.ringPrev;
    if (this.#hand === slot) this.#hand = slot.ring;
  }

  /** The next slot to drop, or null when two full turns found none. */
  victim(): Slot | null {
    for (let i = 2 * this.count; i > 0; i--) {
      const slot = this.#hand as Slot;
      this.#hand = slot.ring;
      if (slot.pins > 0 || slot.dirty || slot.loading !== null) continue;
      if (!slot.referenced) return slot;
      slot.referenced = false;
    }
    return null;
  }

  *slots(): Generator<Slot> {
    let slot = this.#hand;
    for (let i = this.count; i > 0 && slot !== null; i--) {
      const next: Slot = slot.ring;
      yield slot;
      slot = next;
    }
  }
}
