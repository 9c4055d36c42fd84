// Plays the agent's frames through the jitter buffer, and tells how full it is.

import { JitterBuffer } from "./jitter-buffer.js";
import { Resampler } from "./resampler.js";

const REPORT_SECONDS = 0.1;

class Playback extends AudioWorkletProcessor {
  constructor() {
    super();
    this.buffer = new JitterBuffer();
    this.resampler = new Resampler(24000, sampleRate);
    this.ready = new Float32Array(0); // resampled, not yet played
    this.energy = 0;
    this.samples = 0;
    this.port.onmessage = ({ data }) => this.#receive(data);
  }

  #receive({ pcm, hush, reset }) {
    if (reset) this.buffer.reset();
    if (hush) this.buffer.hush();
    if (pcm) this.buffer.push(Float32Array.from(new Int16Array(pcm), (s) => s / 32768));
  }

  process(_inputs, [output]) {
    const block = output[0];
    if (sampleRate === 24000) this.buffer.pull(block);
    else this.#pullResampled(block);
    for (let channel = 1; channel < output.length; channel += 1) output[channel].set(block);
    for (const sample of block) this.energy += sample * sample;
    this.samples += block.length;
    if (this.samples >= REPORT_SECONDS * sampleRate) this.#report();
    return true;
  }

  #pullResampled(block) {
    while (this.ready.length < block.length) {
      const more = this.resampler.push(this.buffer.pull(new Float32Array(64)));
      const joined = new Float32Array(this.ready.length + more.length);
      joined.set(this.ready);
      joined.set(more, this.ready.length);
      this.ready = joined;
    }
    block.set(this.ready.subarray(0, block.length));
    this.ready = this.ready.slice(block.length);
  }

  #report() {
    const { buffered, late, lost, skipped } = this.buffer;
    const level = Math.sqrt(this.energy / this.samples);
    this.port.postMessage({ buffered: buffered / 24000, late, lost, skipped, level });
    this.energy = 0;
    this.samples = 0;
  }
}

registerProcessor("playback", Playback);
