// What was routed and why, what was asked, run and remembered: newest first.

import { byId, clock, duration, element, struckOut } from "./elements.js";

const TARGETS = { moshi: "Moshi answers by itself", llm: "Asked the language model", stop: "Stop", wait: "Waits for more" };
const SENTENCES = { answer: "Says", filler: "Says meanwhile", question: "Asks leave", apology: "Says" };
const TOOL_OUTCOMES = { done: "done", failed: "failed", cancelled: "cancelled", never_started: "not begun", kept: "kept for the next turn" };
const REASONING_OUTCOMES = { answered: "answered", failed: "failed", interrupted: "interrupted", asked: "waits for leave" };

const MEMORIES = { told: "Remembers", stored: "Will remember", forgotten: "Holds no longer", nothing: "Remembers nothing that fits" };
const CHANNELS = { frame_sum: "into its hearing", prompt: "into its prompt", speaking: "only to be said" };

export class ThoughtsView {
  #items = new Map();
  #list = byId("thoughts");

  constructor(history) {
    history.addEventListener("thought", ({ detail }) => this.#show(detail));
    history.addEventListener("reset", () => this.#clear());
    this.limit = 120;
  }

  #clear() {
    this.#items.clear();
    this.#list.replaceChildren();
    byId("mind-empty").hidden = false;
    byId("mind-count").textContent = "";
  }

  #show(thought) {
    byId("mind-empty").hidden = true;
    const item = element(
      "li",
      { class: `thought ${thought.kind}`, "data-outcome": thought.outcome ?? (isOpen(thought) ? "running" : "") },
      element("time", {}, clock(thought.time)),
      element("div", {}, ...CARDS[thought.kind](thought)),
    );
    const old = this.#items.get(thought.key);
    if (old) old.replaceWith(item);
    else this.#list.prepend(item);
    this.#items.set(thought.key, item);
    for (const [key, oldest] of this.#items) {
      if (this.#items.size <= this.limit) break;
      oldest.remove();
      this.#items.delete(key);
    }
    const running = this.#list.querySelectorAll('.tool[data-outcome="running"]').length;
    byId("mind-count").textContent = running ? `${running} ${running === 1 ? "tool runs" : "tools run"}` : "";
  }
}

const isOpen = (thought) => "outcome" in thought && thought.outcome === null;
const title = (...parts) => element("p", { class: "title" }, ...parts);
const small = (...parts) => element("p", { class: "small" }, ...parts);
const chip = (text) => element("span", { class: "chip" }, text);
const badge = (offline) => (offline ? chip("offline brain") : null);
const spinner = () => element("i", { class: "spinner", "aria-hidden": "true" });
const number = (text) => element("span", { class: "number" }, text);

const CARDS = {
  route: ({ target, why, confidence, text, reasons, milliseconds }) => [
    title(TARGETS[target] ?? target, " ", chip(why.replaceAll("_", " ")), number(`${Math.round(confidence * 100)} %`)),
    small("“", text, "”"),
    element("p", { class: "why" }, ...reasons.map(chip), number(duration(milliseconds / 1000))),
  ],
  reasoning: ({ llm, offline, outcome, seconds, first, detail }) => [
    title(llm, " ", offline && llm !== "offline brain" ? badge(true) : null, outcome ? chip(REASONING_OUTCOMES[outcome] ?? outcome) : spinner(), outcome ? number(duration(seconds)) : null),
    first ? small("first words after ", duration(first)) : null,
    detail ? small(detail) : null,
  ],
  sentence: ({ what, text, seconds, offline }) => [title(SENTENCES[what] ?? what, " ", badge(offline), number(duration(seconds))), small("“", text, "”")],
  tool: ({ tool, arguments: given, outcome, milliseconds, error }) => [
    title(element("code", {}, tool), " ", outcome ? chip(TOOL_OUTCOMES[outcome] ?? outcome) : spinner(), outcome ? number(duration((milliseconds ?? 0) / 1000)) : element("span", { class: "hidden" }, "runs")),
    given && given !== "{}" ? small(element("code", {}, given)) : null,
    error ? small(error) : null,
  ],
  memory: ({ what, items, gone = [], struck = [], refused, skipped, channel, milliseconds }) => [
    title(MEMORIES[what], what === "told" ? chip(CHANNELS[channel] ?? channel) : null, milliseconds ? number(duration(milliseconds / 1000)) : null),
    items.length ? element("ul", {}, ...items.map((item) => element("li", {}, struck.includes(item) ? struckOut(item) : item))) : null,
    items.length && gone.length ? small("Holds no longer:") : null,
    gone.length ? element("ul", {}, ...gone.map((item) => element("li", {}, struckOut(item)))) : null,
    skipped ? small(skipped) : null,
    refused.length
      ? element("details", { class: "small" }, element("summary", {}, `${refused.length} left out`), element("ul", {}, ...refused.map(({ text, reason }) => element("li", {}, `${text} (${reason})`))))
      : null,
  ],
  note: ({ text }) => [small(text)],
  fault: ({ text }) => [title("Fault"), small(text)],
};
