// How long a frame is under way: from the microphone to the server and back as its answer.
//
// Answers have no number. They come in the order of the frames, so the next one is that of the
// oldest frame that has neither been answered nor been lost: what is lost has to be counted.

const REMEMBERED = 256;

export class RoundTrip {
  #sentAt = new Array(REMEMBERED).fill(0);
  #sent = 0;
  #over = 0; // answered or lost
  #former = 0; // answers that are still to come for what was sent before the line was lost
  #settled = true;

  /** Begin anew. What a resumed conversation lost before is still told, until its first answer. */
  begin({ resumed, under_way: former }) {
    this.#sent = this.#over = 0;
    this.#former = former;
    this.#settled = !resumed;
  }

  /** A frame leaves. */
  leave(now) {
    this.#sentAt[this.#sent % REMEMBERED] = now;
    this.#sent += 1;
  }

  /** The next answer is there; gives how long it took, null where nothing is known to be under way. */
  arrive(now) {
    this.#settled = true;
    if (this.#former > 0) {
      this.#former -= 1;
      return null;
    }
    if (this.#over === this.#sent) return null;
    const took = now - this.#sentAt[this.#over % REMEMBERED];
    this.#over += 1;
    return took;
  }

  /** Take what the server tells: frames that were lost, on whatever way, are not waited for. */
  told({ type, status, frames, event }) {
    if (!this.#settled) return;
    if (type === "status" && status === "dropped") this.#lose(frames);
    else if (type === "event" && event.type === "frames_dropped") this.#lose(event.count);
  }

  #lose(frames) {
    this.#over = Math.min(this.#over + frames, this.#sent);
  }
}
