// The microphone as frames of 1920 int16 samples at 24 kHz, each with its level.

import { Resampler } from "./resampler.js";

const FRAME_SAMPLES = 1920;

class Capture extends AudioWorkletProcessor {
  constructor() {
    super();
    this.resampler = new Resampler(sampleRate, 24000);
    this.frame = new Int16Array(FRAME_SAMPLES);
    this.filled = 0;
    this.energy = 0;
    this.muted = false;
    this.port.onmessage = ({ data }) => {
      this.muted = data.muted;
    };
  }

  process([input]) {
    const block = input[0] ?? new Float32Array(128); // a microphone that is gone is silent
    for (const sample of this.resampler.push(block)) {
      const heard = this.muted ? 0 : Math.max(-1, Math.min(1, sample));
      this.frame[this.filled] = Math.round(heard * 32767);
      this.energy += heard * heard;
      this.filled += 1;
      if (this.filled === FRAME_SAMPLES) this.#post();
    }
    return true;
  }

  #post() {
    const level = Math.sqrt(this.energy / FRAME_SAMPLES);
    this.port.postMessage({ pcm: this.frame.buffer, level }, [this.frame.buffer]);
    this.frame = new Int16Array(FRAME_SAMPLES);
    this.filled = 0;
    this.energy = 0;
  }
}

registerProcessor("capture", Capture);
