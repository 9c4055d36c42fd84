// How fast it answered, turn by turn: a live plot, and the same as a table for who cannot see it.

import { byId, clock, duration, element, svg } from "./elements.js";

const SHOWN = 20;
const WIDTH = 300;
const HEIGHT = 176;
const LEFT = 44;
const BOTTOM = 6;
const STEPS = [0.25, 0.5, 1, 2, 4, 8, 16, 32];

export class LatencyView {
  constructor(history) {
    this.history = history;
    history.addEventListener("latency", () => this.#draw());
    history.addEventListener("reset", () => this.#draw());
    this.#draw();
  }

  #draw() {
    const figures = this.history.latencies.slice(-SHOWN);
    const answers = this.history.latencies.filter((f) => f.kind === "answer").map((f) => f.seconds);
    const middle = median(answers);
    byId("latency-summary").textContent = answers.length
      ? `median ${duration(middle)} · last ${duration(answers.at(-1))}`
      : "No answer yet";
    byId("plot").replaceChildren(picture(figures, middle), table(figures));
  }
}

function median(values) {
  if (!values.length) return null;
  const sorted = [...values].sort((a, b) => a - b);
  const half = sorted.length >> 1;
  return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

function picture(figures, middle) {
  const most = Math.max(0.5, ...figures.map((f) => f.seconds));
  const top = STEPS.find((step) => step >= most) ?? most;
  const y = (seconds) => 8 + (HEIGHT - BOTTOM - 8) * (1 - Math.min(seconds, top) / top);
  const wide = (WIDTH - LEFT - 6) / SHOWN;
  const label = figures.length ? `${figures.length} times from question to answer or to silence, up to ${duration(most)}` : "No answer yet";
  const drawn = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": label });
  for (const share of [0, 0.5, 1]) {
    const height = y(top * share);
    drawn.append(
      svg("line", { class: "grid", x1: LEFT, x2: WIDTH, y1: height, y2: height }),
      svg("text", { class: "scale", x: LEFT - 5, y: height + 3.5, "text-anchor": "end" }, share ? `${top * share} s` : "0"),
    );
  }
  figures.forEach((figure, n) => {
    const x = LEFT + 3 + n * wide;
    const height = y(figure.seconds);
    const hint = svg("title", {}, `${clock(figure.time)}: ${words(figure)} ${duration(figure.seconds)}`);
    if (figure.kind !== "barge_in") {
      drawn.append(svg("rect", { class: figure.kind, x, y: height, width: wide - 3, height: Math.max(1.5, HEIGHT - BOTTOM - height), rx: 2 }, hint));
    } else {
      const at = x + (wide - 3) / 2;
      drawn.append(svg("path", { class: "barge", d: `M${at} ${height - 5}l5 5-5 5-5-5z` }, hint));
    }
  });
  if (middle !== null) drawn.append(svg("line", { class: "median", x1: LEFT, x2: WIDTH, y1: y(middle), y2: y(middle) }));
  return drawn;
}

const WORDS = { answer: "answered after", llm: "language model's answer after", barge_in: "silent after" };
const words = ({ kind }) => WORDS[kind];

function table(figures) {
  const rows = figures.map((f) => element("tr", {}, element("td", {}, clock(f.time)), element("td", {}, words(f)), element("td", {}, duration(f.seconds))));
  const heads = ["When", "What", "Seconds"].map((head) => element("th", { scope: "col" }, head));
  const whole = element(
    "table",
    {},
    element("caption", {}, "Latency, turn by turn"),
    element("thead", {}, element("tr", {}, ...heads)),
    element("tbody", {}, ...rows),
  );
  return element("div", { class: "hidden" }, whole); // a table would not shrink
}
