// Both sides' words as they come: one list in the order of time.

import { byId, clock, duration, element, struckOut } from "./elements.js";

const NAMES = { user: "You", agent: "Coda" };

export class TranscriptView {
  #items = new Map();
  #list = byId("turns");
  #scroll = byId("transcript-scroll");

  constructor(history) {
    history.addEventListener("turn", ({ detail }) => this.#show(detail, history.turns));
    history.addEventListener("reset", () => this.#clear());
    history.addEventListener("speech", ({ detail }) => this.#speaks(detail));
  }

  #clear() {
    this.#items.clear();
    this.#list.replaceChildren();
    byId("transcript-empty").hidden = false;
  }

  #speaks({ speaker, speaking }) {
    if (speaking || speaker !== "agent") return;
    for (const item of this.#list.querySelectorAll(".now")) item.classList.remove("now");
  }

  #show(turn, turns) {
    const atEnd = this.#scroll.scrollHeight - this.#scroll.scrollTop - this.#scroll.clientHeight < 80;
    byId("transcript-empty").hidden = true;
    let item = this.#items.get(turn.key);
    if (!turns.includes(turn)) {
      item?.remove();
      this.#items.delete(turn.key);
      return;
    }
    if (!item) {
      item = this.#make(turn);
      this.#items.set(turn.key, item);
      this.#list.append(item);
    }
    this.#update(item, turn);
    for (const [key, old] of this.#items) {
      if (key >= turns[0].key) break;
      old.remove();
      this.#items.delete(key);
    }
    if (atEnd) this.#scroll.scrollTop = this.#scroll.scrollHeight;
  }

  #make(turn) {
    return element(
      "li",
      { class: `turn ${turn.speaker}` },
      element("p", { class: "speaker" }, element("span", {}, NAMES[turn.speaker]), element("time", {}, clock(turn.start))),
      element("p", { class: "words" }),
      element("p", { class: "marks" }),
    );
  }

  #update(item, turn) {
    const words = item.querySelector(".words");
    if (turn.speaker === "agent") this.#appendWords(words, turn.text);
    else words.textContent = turn.text;
    item.classList.toggle("partial", !turn.final);
    const marks = [];
    if (turn.typed) marks.push(element("span", { class: "mark" }, "written"));
    if (turn.latency !== null) marks.push(element("span", { class: "mark time" }, `after ${duration(turn.latency)}`));
    if (turn.interrupted) marks.push(element("span", { class: "mark cut" }, "interrupted"));
    for (const text of turn.takenBack ?? []) marks.push(element("span", { class: "mark" }, "takes back ", struckOut(text, "")));
    item.querySelector(".marks").replaceChildren(...marks);
  }

  #appendWords(parent, text) {
    const words = text.split(" ");
    for (const old of parent.querySelectorAll(".now")) old.classList.remove("now");
    for (const word of words.slice(parent.childElementCount)) {
      parent.append(element("span", { class: "word" }, word), " ");
    }
    parent.lastElementChild?.classList.add("now");
  }
}
