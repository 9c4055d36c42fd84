// Both voices in time: the user's level upwards, the agent's downwards, one column per 80 ms,
// with the words where they were said and the pause between question and answer measured.

import { duration } from "./elements.js";

const FRAME_SECONDS = 0.08;
const KEPT = 1024; // frames, 82 s
const FLOOR = -52; // decibels
const FONT = "ui-sans-serif, system-ui, sans-serif";

const height = (level) => Math.max(0, 1 - (20 * Math.log10(level + 1e-6)) / FLOOR);

export class StageView {
  #canvas;
  #colours = {};
  #user = new Float32Array(KEPT);
  #agent = new Float32Array(KEPT);
  #sent = 0;
  #heard = 0;
  #heardAt = 0;
  #marks = []; // {kind, time, …}, the last of them
  #live = false;
  #still = matchMedia("(prefers-reduced-motion: reduce)");

  constructor(canvas, history) {
    this.#canvas = canvas;
    new ResizeObserver(() => this.draw()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.recolour());
    history.addEventListener("latency", ({ detail }) => this.#mark(detail));
    history.addEventListener("thought", ({ detail }) => {
      if (detail.kind === "route" && !detail.partial) this.#mark({ kind: "route", time: detail.time, target: detail.target });
    });
    this.recolour();
  }

  recolour() {
    const style = getComputedStyle(document.documentElement);
    for (const name of ["user", "agent", "line", "text", "quiet", "surface"]) {
      this.#colours[name] = style.getPropertyValue(`--${name}`).trim();
    }
    this.draw();
  }

  /** Begin at frame `frames` of the conversation; `anew` forgets what was drawn. */
  start(frames, anew) {
    if (anew) {
      this.#user.fill(0);
      this.#agent.fill(0);
      this.#marks = [];
    }
    this.#sent = this.#heard = frames;
    this.#heardAt = performance.now();
    if (this.#live) return;
    this.#live = true;
    this.#animate();
  }

  stop() {
    this.#live = false;
    this.draw();
  }

  userLevel(level) {
    this.#user[this.#sent % KEPT] = level;
    this.#sent += 1;
  }

  agentLevel(level) {
    this.#agent[this.#heard % KEPT] = level;
    this.#heard += 1;
    this.#heardAt = performance.now();
    if (this.#still.matches) this.draw();
  }

  get seconds() {
    return this.#heard * FRAME_SECONDS;
  }

  word(speaker, text, start) {
    this.#mark({ kind: "word", speaker, text, time: start });
  }

  #mark(mark) {
    this.#marks.push(mark);
    if (this.#marks.length > 300) this.#marks.shift();
  }

  #animate() {
    if (!this.#live) return;
    if (!this.#still.matches) this.draw();
    requestAnimationFrame(() => this.#animate());
  }

  draw() {
    const canvas = this.#canvas;
    const ratio = Math.min(2, devicePixelRatio || 1);
    const width = canvas.clientWidth;
    const tall = canvas.clientHeight;
    if (!width || !tall) return;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(tall * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(tall * ratio);
    }
    const pen = canvas.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, tall);
    const since = this.#live ? Math.min(2, (performance.now() - this.#heardAt) / 80) : 0;
    const step = width < 600 ? 5 : 7; // pixels a frame
    const now = this.#heard + since;
    const scene = { pen, width, middle: tall / 2, reach: tall / 2 - 48, step, x: (frame) => width - 18 - (now - frame) * step };
    this.#drawTime(scene);
    this.#drawVoice(scene, this.#user, this.#heard, -1, this.#colours.user);
    this.#drawVoice(scene, this.#agent, this.#heard, 1, this.#colours.agent);
    this.#drawMarks(scene);
    this.#drawWords(scene, "user");
    this.#drawWords(scene, "agent");
  }

  #drawTime({ pen, width, middle, x, step }) {
    pen.strokeStyle = this.#colours.line;
    pen.lineWidth = 1;
    pen.beginPath();
    pen.moveTo(0, middle);
    pen.lineTo(width, middle);
    const seconds = this.seconds;
    for (let s = Math.ceil(Math.max(0, seconds - (width / step) * FRAME_SECONDS)); s <= seconds; s += 1) {
      const at = x(s / FRAME_SECONDS);
      const tick = s % 5 ? 3 : 6;
      pen.moveTo(at, middle - tick);
      pen.lineTo(at, middle + tick);
    }
    pen.stroke();
  }

  #drawVoice({ pen, middle, reach, step, x, width }, levels, until, side, colour) {
    pen.fillStyle = colour;
    pen.beginPath();
    const first = Math.max(0, until - Math.ceil(width / step) - 2, until - KEPT + 1);
    for (let frame = first; frame < until; frame += 1) {
      const size = Math.max(1.5, height(levels[frame % KEPT]) * reach);
      const top = side < 0 ? middle - 4 - size : middle + 4;
      pen.roundRect(x(frame), top, step - 2, size, (step - 2) / 2);
    }
    pen.fill();
  }

  #drawMarks({ pen, middle, x, width }) {
    pen.font = `600 12px ${FONT}`;
    pen.textAlign = "center";
    for (const mark of this.#marks) {
      if (mark.kind === "word") continue;
      const at = x(mark.time / FRAME_SECONDS);
      if (at < -80 || at > width + 80) continue;
      if (mark.kind === "answer") this.#bridge(pen, x((mark.time - mark.seconds) / FRAME_SECONDS), at, middle, mark.seconds);
      else if (mark.kind === "barge_in") this.#line(pen, at, middle, `stopped in ${duration(mark.seconds)}`);
      else this.#diamond(pen, at, middle, mark.target);
    }
  }

  #bridge(pen, from, to, middle, seconds) {
    pen.strokeStyle = this.#colours.text;
    pen.lineWidth = 2;
    pen.beginPath();
    pen.moveTo(from, middle - 9);
    pen.lineTo(from, middle);
    pen.lineTo(to, middle);
    pen.lineTo(to, middle + 9);
    pen.stroke();
    this.#tag(pen, duration(seconds), (from + to) / 2, middle - 17);
  }

  #line(pen, at, middle, text) {
    pen.strokeStyle = this.#colours.user;
    pen.lineWidth = 1.5;
    pen.setLineDash([3, 4]);
    pen.beginPath();
    pen.moveTo(at, middle - 60);
    pen.lineTo(at, middle + 60);
    pen.stroke();
    pen.setLineDash([]);
    this.#tag(pen, text, at, middle + 28);
  }

  #diamond(pen, at, middle, target) {
    pen.fillStyle = target === "llm" ? this.#colours.agent : this.#colours.quiet;
    pen.strokeStyle = this.#colours.surface;
    pen.lineWidth = 2;
    pen.beginPath();
    pen.moveTo(at, middle - 7);
    pen.lineTo(at + 7, middle);
    pen.lineTo(at, middle + 7);
    pen.lineTo(at - 7, middle);
    pen.closePath();
    pen.fill();
    pen.stroke();
  }

  #tag(pen, text, at, y) {
    const wide = pen.measureText(text).width + 12;
    pen.fillStyle = this.#colours.surface;
    pen.strokeStyle = this.#colours.line;
    pen.lineWidth = 1;
    pen.beginPath();
    pen.roundRect(at - wide / 2, y - 10, wide, 18, 9);
    pen.fill();
    pen.stroke();
    pen.fillStyle = this.#colours.text;
    pen.fillText(text, at, y + 3);
  }

  #drawWords({ pen, middle, reach, x, width }, speaker) {
    pen.font = `500 13px ${FONT}`;
    pen.textAlign = "left";
    pen.fillStyle = this.#colours[speaker];
    const rows = [-Infinity, -Infinity];
    for (const mark of this.#marks) {
      if (mark.kind !== "word" || mark.speaker !== speaker) continue;
      const at = x(mark.time / FRAME_SECONDS);
      if (at > width + 40) continue;
      const wide = pen.measureText(mark.text).width + 7;
      const row = rows[0] <= at ? 0 : 1;
      const from = Math.max(at, rows[row]);
      rows[row] = from + wide;
      if (from + wide < 0) continue;
      const y = speaker === "user" ? middle - reach - 14 - row * 16 : middle + reach + 24 + row * 16;
      pen.fillText(mark.text, from, y);
    }
  }
}
