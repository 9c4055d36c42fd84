// Streaming windowed-sinc resampler, mono. Used in the worklets where the sound card's
// clock is not 24 kHz (Firefox records only at the card's own rate).

const HALF_WIDTH = 16; // zero crossings on each side of a sample

export class Resampler {
  constructor(from, to) {
    this.step = from / to;
    this.same = from === to;
    this.cutoff = Math.min(1, to / from) * 0.96;
    this.reach = Math.ceil(HALF_WIDTH / this.cutoff);
    this.kept = new Float32Array(this.reach * 2); // samples that later outputs still need
    this.at = this.reach; // position of the next output in `kept`
  }

  /** Give what can be computed once `input` is known; the rest comes with the next call. */
  push(input) {
    if (this.same) return input.slice();
    const samples = new Float32Array(this.kept.length + input.length);
    samples.set(this.kept);
    samples.set(input, this.kept.length);
    const output = [];
    while (this.at + this.reach < samples.length) {
      output.push(this.#sampleAt(samples, this.at));
      this.at += this.step;
    }
    const first = Math.max(0, Math.floor(this.at) - this.reach);
    this.kept = samples.slice(first);
    this.at -= first;
    return Float32Array.from(output);
  }

  #sampleAt(samples, at) {
    const first = Math.max(0, Math.ceil(at - this.reach));
    const last = Math.min(samples.length - 1, Math.floor(at + this.reach));
    let sum = 0;
    for (let n = first; n <= last; n += 1) {
      const x = n - at;
      const window = 0.5 + 0.5 * Math.cos((Math.PI * x) / this.reach);
      const angle = Math.PI * x * this.cutoff;
      const sinc = Math.abs(angle) < 1e-6 ? 1 : Math.sin(angle) / angle;
      sum += samples[n] * sinc * window * this.cutoff;
    }
    return sum;
  }
}
