// Sound that arrives unevenly, given out evenly. Pure: no clock but the samples asked for.
//
// `slack` is how much later than on time a frame may come without being heard. It grows
// when a frame was too late, and shrinks when for some seconds nothing came close to being
// late: then a little of what is buffered is skipped, in a pause where there is one.

const RATE = 24000;
const milliseconds = (ms) => Math.round((ms * RATE) / 1000);

const CAPACITY = milliseconds(2000);
const FIRST_SLACK = milliseconds(40);
const MORE_SLACK = milliseconds(30);
const MOST_SLACK = milliseconds(400);
const SPARE = milliseconds(25); // kept when slack is given up
const OBSERVED = milliseconds(4000);
const FADE = 64;
const QUIET = 0.004;

export class JitterBuffer {
  constructor() {
    this.ring = new Float32Array(CAPACITY);
    this.late = 0;
    this.lost = 0;
    this.skipped = 0;
    this.reset();
  }

  reset() {
    this.read = 0;
    this.length = 0;
    this.slack = FIRST_SLACK;
    this.waiting = null; // samples still to wait before playing; null: nothing has come yet
    this.fewest = Infinity;
    this.observed = 0;
    this.surplus = 0;
    this.hushed = 0;
    this.last = 0;
    this.fadeIn = 0;
  }

  get buffered() {
    return this.length;
  }

  push(samples) {
    for (const sample of samples) {
      if (this.length === CAPACITY) {
        this.#drop(1);
        this.lost += 1;
      }
      this.ring[(this.read + this.length) % CAPACITY] = sample;
      this.length += 1;
    }
    if (this.waiting === null) this.waiting = this.slack;
  }

  /** Silence what is buffered now; what comes later is heard. */
  hush() {
    this.hushed = this.length;
  }

  /** Fill `output`, with silence where there is nothing to play. */
  pull(output) {
    for (let n = 0; n < output.length; n += 1) output[n] = this.#next();
    this.#observe(output.length);
    if (this.surplus > 0) this.#skip(output);
    return output;
  }

  #next() {
    if (this.waiting === null || this.waiting > 0) {
      if (this.waiting !== null) this.waiting -= 1;
      this.last *= 0.95; // a gap fades, it does not click
      return this.last;
    }
    if (this.length === 0) {
      this.late += 1;
      this.slack = Math.min(MOST_SLACK, this.slack + MORE_SLACK);
      this.waiting = null;
      this.fadeIn = FADE;
      this.fewest = Infinity;
      this.observed = 0;
      this.surplus = 0;
      return this.last;
    }
    let sample = this.ring[this.read];
    this.#drop(1);
    if (this.hushed > 0) {
      this.hushed -= 1;
      sample = this.last * 0.95;
    } else if (this.fadeIn > 0) {
      sample *= 1 - this.fadeIn / FADE;
      this.fadeIn -= 1;
    }
    this.last = sample;
    return sample;
  }

  #observe(samples) {
    if (this.waiting !== 0) return;
    this.fewest = Math.min(this.fewest, this.length);
    this.observed += samples;
    if (this.observed < OBSERVED) return;
    this.surplus = Math.max(0, Math.floor((this.fewest - SPARE) / 2));
    if (this.surplus > 0) this.slack = Math.max(SPARE, this.slack - this.surplus);
    this.fewest = Infinity;
    this.observed = 0;
  }

  #skip(played) {
    let energy = 0;
    for (const sample of played) energy += sample * sample;
    const quiet = Math.sqrt(energy / played.length) < QUIET;
    const urgent = this.surplus > milliseconds(200);
    if (!quiet && !urgent) return;
    const samples = Math.min(this.surplus, this.length, milliseconds(20));
    this.#drop(samples);
    this.fadeIn = FADE;
    this.surplus -= samples;
    this.skipped += samples;
  }

  #drop(samples) {
    this.read = (this.read + samples) % CAPACITY;
    this.length -= samples;
  }
}
