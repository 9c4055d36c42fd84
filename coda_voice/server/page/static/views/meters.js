// Level meters: decibels, with a slow fall so that the eye can follow.

import { byId } from "./elements.js";

const FLOOR = -60;
const FALL = 2.5; // decibels a step

export class Meter {
  #bar;
  #needle;
  #shown = FLOOR;
  #told = 0;

  constructor(id) {
    this.#bar = byId(id);
    this.#needle = this.#bar.querySelector("i");
  }

  /** `level`: root mean square, 0…1. */
  show(level) {
    const decibels = Math.max(FLOOR, Math.min(0, 20 * Math.log10(level + 1e-6)));
    this.#shown = Math.max(decibels, this.#shown - FALL);
    this.#needle.style.transform = `scaleX(${(1 - this.#shown / FLOOR).toFixed(3)})`;
    const now = performance.now();
    if (now - this.#told < 1000) return;
    this.#told = now;
    this.#bar.setAttribute("aria-valuenow", Math.round(this.#shown));
    this.#bar.setAttribute("aria-valuetext", this.#shown < -50 ? "silent" : `${Math.round(this.#shown)} decibels`);
  }
}
