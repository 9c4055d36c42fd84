// What has happened in a conversation, as the page shows it: made of the server's messages.
//
// Emits `turn` (a turn that is new or has changed), `thought` (the same for thoughts),
// `latency` and `reset`. Everything is bounded: the oldest go.

const TURNS = 400;
const THOUGHTS = 300;
const LATENCIES = 200;
const KEPT = "coda.history";
const FRAME_SECONDS = 0.08;
const PAUSE = 1.6; // seconds of silence that end the agent's paragraph
const LOST = {
  input: (seconds) => `The server does not keep up: it has not heard ${seconds} of you.`,
  output: (seconds) => `The way here is too slow: ${seconds} of Coda's sound were left out.`,
  outbox: (seconds) => `The server does not keep up: ${seconds} of Coda's sound were lost.`,
};

/** One stretch of one side's words; `words` are of the agent, `text` is the user's. */
class Turn {
  constructor(key, speaker, start) {
    Object.assign(this, { key, speaker, start, text: "", final: speaker === "agent", end: start });
    this.latency = null;
    this.interrupted = false;
    this.typed = false;
    this.takenBack = []; // what it says does not hold: "just kidding"
  }
}

export class History extends EventTarget {
  constructor() {
    super();
    this.clear();
  }

  clear() {
    this.turns = [];
    this.thoughts = [];
    this.latencies = [];
    this.speaking = { user: false, agent: false };
    this.now = 0;
    this.#pendingLatency = null;
    this.#nextKey = 1;
    this.#tell("reset");
  }

  #pendingLatency;
  #nextKey;

  /** Take in one JSON message of the server. */
  receive(message) {
    if (message.type === "transcript") this.#transcript(message);
    else if (message.type === "speech") this.#speech(message);
    else if (message.type === "event") this.#event(message.event);
    else if (message.type === "status" && message.status === "dropped") this.#lost(message);
  }

  /** A server that does not keep up tells each frame that it lost: one note counts them.
   *
   * `where`: `input`, heard by nobody; `output`, on the way here; `outbox`, before the way.
   */
  #lost({ where, frames }) {
    const before = this.thoughts.findLast((t) => t.lost?.where === where);
    const note = before ?? { kind: "note", generation: 0, lost: { where, frames: 0 } };
    note.lost.frames += frames;
    const seconds = `${(note.lost.frames * FRAME_SECONDS).toFixed(1)} s`;
    note.text = (LOST[where] ?? LOST.output)(seconds);
    if (before) this.#tell("thought", note);
    else this.#add(note);
  }

  #transcript({ speaker, text, final, turn: number, start = this.now, end = start }) {
    if (speaker === "agent") this.#agentWord(text, start, end);
    else this.#userText(text, final, number, start);
  }

  #agentWord(word, start, end) {
    let turn = this.#last("agent");
    const newer = this.#last("user");
    // What is written comes at a moment that the last message told, which may be a while ago.
    const since = newer?.typed || newer?.start > turn?.end;
    const interposed = newer && turn && newer.key > turn.key && newer.text && since;
    if (!turn || interposed || start - turn.end > PAUSE) {
      turn = this.#begin("agent", start);
      if (this.#pendingLatency && Math.abs(this.#pendingLatency.time - start) < 3) {
        turn.latency = this.#pendingLatency.seconds;
      }
      this.#pendingLatency = null;
    }
    turn.text = turn.text ? `${turn.text} ${word}` : word;
    turn.end = Math.max(end, turn.end);
    this.#changed(turn);
  }

  #userText(text, final, number, start) {
    let turn = this.turns.findLast((t) => t.speaker === "user" && t.number === number);
    if (!turn || (turn.final && !final)) {
      if (!text) return;
      turn = this.#begin("user", start);
      turn.number = number;
    }
    Object.assign(turn, { text, final, end: Math.max(turn.end, this.now) });
    if (final && !text) this.turns = this.turns.filter((t) => t !== turn);
    this.#changed(turn);
  }

  #speech({ speaker, speaking, time }) {
    this.speaking[speaker] = speaking;
    this.now = Math.max(this.now, time ?? 0);
    this.#tell("speech", { speaker, speaking, time });
  }

  #event(event) {
    this.now = Math.max(this.now, event.time ?? 0);
    if (event.type === "transcript") this.#userTurn(event);
    else if (event.type === "turn_latency") this.#latency(event);
    else if (event.type === "barge_in") this.#bargeIn(event);
    else this.#thought(event);
  }

  /** The event says more than the transcript message before it: when, and whether written. */
  #userTurn({ generation, typed, words }) {
    const turn = this.turns.findLast((t) => t.speaker === "user" && t.number === generation);
    if (!turn || (!typed && !words?.length)) return;
    turn.typed = Boolean(typed);
    if (words?.length) Object.assign(turn, { start: words[0].start, end: words.at(-1).end });
    this.#changed(turn);
  }

  #latency({ time, seconds }) {
    const turn = this.#last("agent");
    if (turn && turn.latency === null && Math.abs(turn.start - time) < 1) {
      turn.latency = seconds;
      this.#changed(turn);
    } else {
      this.#pendingLatency = { time, seconds };
    }
    this.#figure({ kind: "answer", time, seconds });
  }

  #bargeIn({ time, silent_after: seconds }) {
    const turn = this.#last("agent");
    if (turn && time - turn.end < PAUSE) {
      turn.interrupted = true;
      this.#changed(turn);
    }
    if (seconds !== null) this.#figure({ kind: "barge_in", time, seconds });
  }

  #figure(figure) {
    this.latencies.push(figure);
    if (this.latencies.length > LATENCIES) this.latencies.shift();
    this.#tell("latency", figure);
  }

  // ---- thoughts: what was routed, reasoned, run -------------------------------------------

  #thought(event) {
    const { time, generation } = event;
    switch (event.type) {
      case "route_decided":
        if (event.partial && event.target === "wait") return;
        this.#route(event);
        break;
      case "reasoning_started":
        this.#add({ kind: "reasoning", time, generation, llm: event.llm, offline: event.offline, outcome: null });
        break;
      case "reasoning_ended":
        this.#reasoningEnded(event);
        break;
      case "sentence_ready":
        this.#add({ kind: "sentence", time, generation, text: event.text, what: event.kind, seconds: event.seconds, offline: event.offline });
        break;
      case "tool_started":
        this.#add({ kind: "tool", time, generation, id: event.call_id, tool: event.tool, arguments: event.arguments, outcome: null });
        break;
      case "tool_ended":
        this.#toolEnded(event);
        break;
      case "memory":
        this.#memory(event);
        break;
      case "memory_stored":
        this.#stored(event);
        break;
      case "script_ended":
        if (event.outcome === "done") break;
        this.#add({ kind: "note", time, generation, text: `What it was to say (${event.origin}) was ${event.outcome}: ${event.unsaid} words were not said.` });
        break;
      case "answer_latency":
        this.#figure({ kind: "llm", time, seconds: event.seconds });
        break;
      case "mode_changed":
        this.#tell("mode", event.mode);
        this.#add({ kind: "note", time, generation, text: `Mode: ${event.mode.replaceAll("_", " ")}` });
        break;
      case "no_transcript":
        this.#add({ kind: "note", time, generation, text: event.reason });
        break;
      case "personality_adapted":
        this.#add({ kind: "note", time, generation, text: `Its ${event.trait} went from ${event.before.toFixed(2)} to ${event.after.toFixed(2)}, because you said “${event.because}”.` });
        break;
      case "session_renewed":
        this.#add({ kind: "note", time, generation, text: `Its memory of this talk was renewed; the last ${Math.round(event.kept_frames * 0.08)} s were kept.` });
        break;
      case "frames_dropped":
        this.#lost({ where: event.where === "inbox" ? "input" : event.where, frames: event.count });
        break;
      case "voice_fell_back":
        this.#fellBack(event);
        break;
      case "setting_without_effect":
        this.#add({ kind: "note", time, generation, text: `The setting ${event.setting} does nothing here: ${event.reason}` });
        break;
      case "attendant_failed":
        this.#add({ kind: "fault", time, generation, text: `${event.attendant} is off for this conversation: ${event.message}` });
        break;
      case "error":
        this.#add({ kind: "fault", time, generation, text: event.message });
        break;
    }
  }

  #fellBack({ time, generation, voice, reason, detail }) {
    const how = reason === "failed" ? "is gone; Moshi's own voice goes on" : "is too slow; Moshi's own says the rest of it";
    this.#add({ kind: "note", time, generation, text: `The voice ${voice} ${how}: ${detail}` });
  }

  #memory({ time, generation, injected, refused = [], skipped, channel, milliseconds }) {
    if (!injected?.length && !refused.length && !skipped) return;
    this.#add({ kind: "memory", time, generation, what: injected?.length ? "told" : "nothing", items: injected ?? [], refused, skipped, channel, milliseconds });
  }

  /** Shown where it is stored, where it was said, and on the memory that holds no longer. */
  #stored({ time, generation, text, facts, taken_back: gone = [] }) {
    const items = facts?.length ? facts : gone.length ? [] : [text];
    this.#add({ kind: "memory", time, generation, what: items.length ? "stored" : "forgotten", items, gone, refused: [] });
    if (!gone.length) return;
    for (const earlier of this.thoughts.slice(0, -1)) {
      const struck = earlier.what === "stored" ? earlier.items.filter((item) => gone.includes(item)) : [];
      if (!struck.length) continue;
      earlier.struck = [...(earlier.struck ?? []), ...struck];
      this.#tell("thought", earlier);
    }
    const turn = this.turns.findLast((t) => t.speaker === "user" && t.text.trim() === text);
    if (!turn) return;
    turn.takenBack = gone;
    this.#changed(turn);
  }

  #route(event) {
    const { time, generation, text, partial, target, kind, confidence, reasons, milliseconds } = event;
    const route = { kind: "route", time, generation, text, partial, target, why: kind, confidence, reasons, milliseconds };
    const earlier = this.thoughts.findLast((t) => t.kind === "route" && t.generation === generation);
    if (earlier?.partial) Object.assign(earlier, route);
    else this.#add(route);
    if (earlier?.partial) this.#tell("thought", earlier);
  }

  #reasoningEnded({ generation, outcome, llm, offline, seconds, first_text: first, detail }) {
    const open = this.thoughts.findLast((t) => t.kind === "reasoning" && t.generation === generation && !t.outcome);
    if (!open) return;
    Object.assign(open, { outcome, llm, offline, seconds, first, detail });
    this.#tell("thought", open);
  }

  #toolEnded({ call_id: id, tool, outcome, milliseconds, error, time, generation }) {
    const running = this.thoughts.findLast((t) => t.kind === "tool" && t.id === id && !t.outcome);
    if (!running) {
      this.#add({ kind: "tool", time, generation, id, tool, arguments: "", outcome, milliseconds, error });
      return;
    }
    Object.assign(running, { outcome, milliseconds, error });
    this.#tell("thought", running);
  }

  #add(thought) {
    thought.key = this.#nextKey;
    thought.time ??= this.now;
    this.#nextKey += 1;
    this.thoughts.push(thought);
    if (this.thoughts.length > THOUGHTS) this.thoughts.shift();
    this.#tell("thought", thought);
  }

  // ---- turns ------------------------------------------------------------------------------

  #last(speaker) {
    return this.turns.findLast((turn) => turn.speaker === speaker);
  }

  #begin(speaker, start) {
    const turn = new Turn(this.#nextKey, speaker, start);
    this.#nextKey += 1;
    this.turns.push(turn);
    if (this.turns.length > TURNS) this.turns.shift();
    return turn;
  }

  #changed(turn) {
    this.#tell("turn", turn);
  }

  // ---- across a reload --------------------------------------------------------------------

  remember() {
    const { turns, thoughts, latencies, now } = this;
    const kept = { turns, thoughts, latencies, now, nextKey: this.#nextKey };
    sessionStorage.setItem(KEPT, JSON.stringify(kept));
  }

  /** Show again what an earlier load of the page had shown. */
  recall() {
    const text = sessionStorage.getItem(KEPT);
    sessionStorage.removeItem(KEPT);
    if (!text) return;
    const { nextKey, ...kept } = JSON.parse(text);
    Object.assign(this, kept);
    this.#nextKey = nextKey;
    this.#tell("reset");
    for (const turn of this.turns) this.#tell("turn", turn);
    for (const thought of this.thoughts) this.#tell("thought", thought);
    for (const figure of this.latencies) this.#tell("latency", figure);
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
