// Buttons, choices, keys, and what is told to screen readers.

import { soundDevices } from "./audio/sound.js";
import { byId, element } from "./views/elements.js";

const THEMES = ["system", "light", "dark"];
const THEME_NAMES = { system: "as the system has them", light: "light", dark: "dark" };
const THEME_ICONS = { system: "theme", light: "sun", dark: "moon" };
const QUIET_BEFORE_TELLING = 1500; // milliseconds after the last word of a turn

export class Controls {
  #settings;
  #actions;
  #told = new Map();

  /** `actions`: what the page does when a control is used; see main.js. */
  constructor(settings, actions) {
    this.#settings = settings;
    this.#actions = actions;
    this.#buttons();
    this.#dialog();
    addEventListener("keydown", (event) => this.#key(event));
    this.#showTheme();
    if (settings.values.mode) byId("mode").value = settings.values.mode;
    this.state("idle");
  }

  get recording() {
    return byId("record").checked && !byId("record-field").hidden;
  }

  // ---- what is shown ----------------------------------------------------------------------

  starting() {
    byId("talk").disabled = true;
  }

  state(state) {
    const idle = state === "idle";
    const live = state === "live";
    byId("talk").disabled = false;
    byId("talk-text").textContent = idle ? "Talk" : "End";
    byId("talk").classList.toggle("on", !idle);
    useIcon("talk-icon", idle ? "wave" : "hang-up");
    for (const id of ["interrupt", "text", "send"]) byId(id).disabled = !live;
    byId("mute").disabled = idle;
    if (idle) byId("recorded").hidden = true;
    this.announce({ idle: "", connecting: "Connecting", waiting: "Waiting for a place", live: "Connected. Speak whenever you like.", resuming: "Connection lost, reconnecting" }[state]);
  }

  /** The server can record: the user may ask for it. */
  offerRecording() {
    byId("record-field").hidden = false;
    byId("recordings-link").hidden = false;
  }

  ready({ mode, checkpoint, resumed, recorded }) {
    this.notice("");
    this.modeIs(mode);
    byId("model-name").textContent = checkpoint;
    byId("recorded").hidden = !recorded;
    if (recorded) this.announce("This conversation is recorded");
    if (resumed) this.announce("The conversation goes on");
  }

  /** `played`: who the agent is now, or null. */
  listPersonalities(names, played) {
    const configured = element("option", { value: "", disabled: true, selected: true }, "as configured");
    byId("personality").replaceChildren(configured, ...names.map((name) => element("option", { value: name }, name)));
    byId("personality-pick").hidden = !names.length;
    if (played) this.personalityIs({ name: played });
  }

  mutedIs(muted) {
    byId("mute").setAttribute("aria-pressed", muted);
    useIcon("mute-icon", muted ? "muted" : "microphone");
    this.announce(muted ? "Microphone muted" : "Microphone on");
  }

  modeIs(mode) {
    byId("mode").value = mode;
  }

  personalityIs({ name }) {
    // The server says what it is called ("Max"), the list how it is chosen ("max").
    const chosen = [...byId("personality").options].find((o) => o.value.toLowerCase() === name?.toLowerCase());
    if (chosen) byId("personality").value = chosen.value;
    document.documentElement.dataset.personality = chosen?.value ?? name ?? "";
    this.announce(`Personality: ${name}`);
  }

  notice(text) {
    byId("notice").textContent = text;
    byId("notice").hidden = !text;
  }

  /** After a reload without leave to play sound: one click goes on. */
  offerToGoOn(resume) {
    byId("talk-text").textContent = "Go on";
    this.notice("Your conversation is still there.");
    byId("talk").addEventListener("click", (event) => {
      event.stopImmediatePropagation();
      resume();
    }, { once: true, capture: true });
  }

  /** Browsers play nothing on a page that nobody has touched. */
  askForAClick(wake) {
    byId("wake").hidden = false;
    this.announce("Press any key to hear it");
    for (const touch of ["pointerdown", "keydown"]) {
      addEventListener(touch, () => {
        byId("wake").hidden = true;
        wake();
      }, { once: true });
    }
  }

  announce(text) {
    if (text) byId("announcer").textContent = text;
  }

  /** Tell a turn once it is whole: word by word would be no use. */
  turnForReaders(turn) {
    if (!this.#settings.values.spokenTranscript) return;
    clearTimeout(this.#told.get(turn.key));
    this.#told.set(
      turn.key,
      setTimeout(() => {
        this.#told.delete(turn.key);
        if (turn.final && turn.text) this.announce(`${turn.speaker === "user" ? "You" : "Coda"}: ${turn.text}`);
      }, QUIET_BEFORE_TELLING),
    );
  }

  async listDevices() {
    const { microphones, loudspeakers } = await soundDevices();
    fillDevices("microphone", microphones, this.#settings.values.microphone);
    fillDevices("loudspeaker", loudspeakers, this.#settings.values.loudspeaker);
    byId("loudspeaker-field").hidden = !("setSinkId" in AudioContext.prototype);
  }

  // ---- what is used -----------------------------------------------------------------------

  #buttons() {
    const { begin, end, mute, interrupt, say, chooseMode, choosePersonality } = this.#actions;
    byId("talk").addEventListener("click", () => (byId("talk").classList.contains("on") ? end() : begin()));
    byId("interrupt").addEventListener("click", interrupt);
    byId("mute").addEventListener("click", () => mute(byId("mute").getAttribute("aria-pressed") !== "true"));
    byId("mode").addEventListener("change", ({ target }) => chooseMode(target.value));
    byId("personality").addEventListener("change", ({ target }) => choosePersonality(target.value));
    byId("theme").addEventListener("click", () => this.#nextTheme());
    byId("say").addEventListener("submit", (event) => {
      event.preventDefault();
      const text = byId("text").value.trim();
      if (text) say(text);
      byId("text").value = "";
    });
  }

  #dialog() {
    const values = this.#settings.values;
    const dialog = byId("settings");
    byId("open-settings").addEventListener("click", () => this.#openSettings());
    dialog.addEventListener("click", (event) => {
      if (event.target === dialog) dialog.close();
    });
    const ticks = { echo: "echo", noise: "noise", "spoken-transcript": "spokenTranscript", "single-keys": "singleKeys" };
    for (const [id, name] of Object.entries(ticks)) {
      byId(id).checked = values[name];
      byId(id).addEventListener("change", ({ target }) => this.#settings.set(name, target.checked));
    }
    byId("prompt").value = values.prompt;
    byId("prompt").addEventListener("change", ({ target }) => this.#settings.set("prompt", target.value.trim()));
    byId("token").value = this.#settings.token;
    byId("token").addEventListener("change", ({ target }) => this.#settings.setToken(target.value));
    byId("theme-choice").addEventListener("change", ({ target }) => this.#setTheme(target.value));
    for (const id of ["microphone", "loudspeaker", "echo", "noise"]) {
      byId(id).addEventListener("change", ({ target }) => {
        if (target.type !== "checkbox") this.#settings.set(id, target.value);
        this.#actions.changedDevice();
      });
    }
  }

  async #openSettings() {
    await this.listDevices();
    byId("settings").showModal();
  }

  #nextTheme() {
    this.#setTheme(THEMES[(THEMES.indexOf(this.#settings.theme) + 1) % THEMES.length]);
    this.announce(`Colours: ${THEME_NAMES[this.#settings.theme]}`);
  }

  #setTheme(theme) {
    this.#settings.setTheme(theme);
    this.#showTheme();
    this.#actions.changedTheme();
  }

  #showTheme() {
    const { theme } = this.#settings;
    byId("theme").setAttribute("aria-label", `Colours: ${THEME_NAMES[theme]}`);
    byId("theme-choice").value = theme;
    useIcon("theme-icon", THEME_ICONS[theme]);
  }

  #key(event) {
    if (!this.#settings.values.singleKeys || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.repeat) return; // a key held down would mute and unmute for as long as it is
    if (event.target.closest("input, textarea, select, dialog")) return;
    const press = { s: "talk", m: "mute", i: "interrupt", d: "theme", ",": "open-settings" }[event.key.toLowerCase()];
    if (press) {
      byId(press).click();
    } else if (event.key.toLowerCase() === "t" || event.key === "/") {
      event.preventDefault();
      byId("text").focus();
    } else if (event.key === "?") {
      byId("shortcuts").open = true;
      this.#openSettings();
    }
  }
}

// All of a button's icons are there from the start: a new href would be fetched, and be blank for as
// long as the server is busy, or for good once it is gone.
function useIcon(id, name) {
  for (const icon of byId(id).children) {
    icon.setAttribute("display", icon.getAttribute("href").endsWith(`#${name}`) ? "inline" : "none");
  }
}

function fillDevices(id, devices, chosen) {
  const first = element("option", { value: "" }, "The system's choice");
  byId(id).replaceChildren(first, ...devices.map((d) => element("option", { value: d.id }, d.name)));
  byId(id).value = devices.some((d) => d.id === chosen) ? chosen : "";
}
