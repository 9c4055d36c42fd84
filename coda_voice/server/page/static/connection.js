// `WS /v1/stream` of the server (docs/reference/protocols.md), with resuming.
//
// Emits `state` ({state, reason}), `message` (the server's JSON) and `audio` (ArrayBuffer).
// States: idle, connecting, waiting, live, resuming.

const FIRST_PAUSE = 250;
const LONGEST_PAUSE = 4000;
const UNSENT_BYTES = 24000 * 2; // a second of sound that the network has not taken
const RESUMABLE = "coda.resumable";
const SILENCE = 5000; // milliseconds without a word of the server: the network is gone
const HELD_UP = 1000; // milliseconds between two frames that tell of a page that did not run
const GIVEN_UP = 4000; // close code; 1000 would end the conversation

const FINAL = {
  1008: "The server ended the connection.",
  1009: "A message was too big for the server.",
  1011: "The server failed; try again.",
  1013: "Every place is taken; try again soon.",
  4404: "That conversation is over: begin a new one.",
  4409: "The conversation goes on in another window.",
};

const ENDED = {
  ended: "The conversation was ended on the server.",
  max_conversation_length: "The conversation has reached its longest length: begin a new one.",
  idle: "The conversation was idle for too long: begin a new one.",
  server_restart: "The server is stopping; try again soon.",
  shutdown: "The server is stopping; try again soon.",
};

export class Connection extends EventTarget {
  #socket = null;
  #wish = {};
  #token = "";
  #resume = null;
  #attempt = 0;
  #retry = 0;
  #error = null;
  #ended = null;
  #silentSince = null;
  #triedAt = 0;
  #asked = false;
  state = "idle";
  dropped = 0; // frames the network did not take in time

  /** Begin a conversation; `wish` goes into the query (mode, prompt, …). */
  open(wish, token) {
    this.#wish = wish;
    this.#token = token;
    this.#resume = null;
    this.#attempt = 0;
    this.dropped = 0;
    this.#connect("connecting");
  }

  /** Take up the conversation that a reload of the page left behind. */
  resume(left, token) {
    this.#token = token;
    this.#resume = { ...left };
    this.#connect("resuming");
  }

  sendAudio(pcm) {
    if (!this.#open() || !this.#heard()) return false;
    if (this.#socket.bufferedAmount > UNSENT_BYTES) {
      this.dropped += 1;
      return false;
    }
    this.#socket.send(pcm);
    return true;
  }

  send(message) {
    if (this.#open()) this.#socket.send(JSON.stringify(message));
  }

  /** Whether anything can be sent: the server may be hanging up before it has said so. */
  #open() {
    return this.state === "live" && this.#socket.readyState === WebSocket.OPEN;
  }

  /** End the conversation, here and on the server. */
  close() {
    clearTimeout(this.#retry);
    if (this.#open()) this.send({ type: "close" });
    else if (this.#resume) this.#endWithoutSocket(this.#resume.conversation);
    this.#leave("");
  }

  /** Give the place back at once: the server would keep it for who may come back. */
  #endWithoutSocket(conversation) {
    const headers = this.#token ? { Authorization: `Bearer ${this.#token}` } : {};
    const asked = fetch(`/v1/conversations/${conversation}`, { method: "DELETE", headers, keepalive: true });
    asked.catch(() => {}); // it cannot be reached that way either
  }

  #connect(state) {
    sessionStorage.removeItem(RESUMABLE); // taken up, or given up for another
    const query = new URLSearchParams({ events: "true", wait: "true", transcripts: "true", ...this.#wish });
    if (this.#resume) query.set("resume", this.#resume.token);
    if (this.#resume?.told) query.set("after", this.#resume.told); // what was on its way comes again
    const url = new URL(`/v1/stream?${query}`, location.href);
    url.protocol = url.protocol.replace("http", "ws");
    const protocols = ["coda.v1", ...(this.#token ? [`coda.bearer.${this.#token}`] : [])];
    this.#error = this.#ended = this.#silentSince = null;
    let socket;
    try {
      socket = new WebSocket(url, protocols);
    } catch {
      this.#leave("The key in the settings has characters that no key has.");
      return;
    }
    socket.binaryType = "arraybuffer";
    socket.onmessage = ({ data }) => this.#receive(socket, data);
    socket.onclose = ({ code, reason }) => this.#closed(socket, code, reason);
    this.#socket = socket;
    this.#become(state);
  }

  /** Whether the server is there, asked for each frame; if not, the connection is lost. */
  #heard() {
    const now = performance.now();
    // What came while the page did not run it is given only after this.
    if (this.#silentSince === null || now - this.#triedAt > HELD_UP) {
      this.#silentSince = now;
      this.#asked = false;
    }
    this.#triedAt = now;
    const silent = now - this.#silentSince;
    if (silent > SILENCE) {
      this.#giveUp();
      return false;
    }
    if (silent > SILENCE / 2 && !this.#asked) {
      this.#asked = true; // a server whose models are slow answers this all the same
      this.send({ type: "ping" });
    }
    return true;
  }

  #giveUp() {
    const socket = this.#socket;
    socket.close(GIVEN_UP);
    this.#closed(socket, GIVEN_UP, "");
  }

  #receive(socket, data) {
    if (socket !== this.#socket) return;
    this.#silentSince = null;
    if (typeof data !== "string") {
      this.#tell("audio", data);
      return;
    }
    const message = JSON.parse(data);
    const told = message.event_id ?? message.event?.id;
    if (told && this.#resume) this.#resume.told = told;
    if (message.type === "status" && message.status === "ready") {
      const { resume_token: token, resume_seconds: seconds, conversation_id: conversation } = message;
      this.#resume = { token, seconds, conversation, told: this.#resume?.told };
      this.#attempt = 0;
      this.#become("live");
    } else if (message.type === "status" && message.status === "waiting") {
      this.#become("waiting");
    } else if (message.type === "status" && message.status === "ended") {
      this.#ended = message.reason;
    } else if (message.type === "error" && message.fatal) {
      this.#error = message;
    }
    this.#tell("message", message);
  }

  #closed(socket, code, reason) {
    if (socket !== this.#socket) return; // an earlier socket, given up already
    this.#socket = null;
    if (code === 1000 || code in FINAL || this.#error || this.#ended) {
      this.#leave(this.#error?.message || ENDED[this.#ended] || reason || FINAL[code] || "The conversation is over.");
    } else if (this.#resume && this.#stillThere()) {
      this.#tryAgain();
    } else if (this.#resume) {
      this.#leave("The connection was lost for too long: begin a new conversation.");
    } else {
      this.#leave("The server does not answer. Is it running, and does it need a key (settings)?");
    }
  }

  #stillThere() {
    this.#resume.lost ??= Date.now();
    return Date.now() - this.#resume.lost < this.#resume.seconds * 1000;
  }

  #tryAgain() {
    this.#become("resuming");
    const pause = Math.min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** this.#attempt);
    this.#attempt += 1;
    this.#retry = setTimeout(() => this.#connect("resuming"), pause);
  }

  #leave(reason) {
    const socket = this.#socket;
    this.#socket = null;
    this.#resume = null;
    socket?.close(1000);
    this.#become("idle", reason);
  }

  #become(state, reason = "") {
    this.state = state;
    this.#tell("state", { state, reason });
  }

  /** Leave behind what a reloaded page needs to go on, muted or not. */
  remember(muted) {
    if (!this.#resume || this.state === "idle") return;
    const left = { ...this.#resume, lost: Date.now(), muted };
    sessionStorage.setItem(RESUMABLE, JSON.stringify(left));
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/** What an earlier load of this page left behind; null when it is too old. It stays there until one talks. */
export function leftBehind() {
  const text = sessionStorage.getItem(RESUMABLE);
  const left = text && JSON.parse(text);
  if (left && Date.now() - left.lost < left.seconds * 1000) return left;
  sessionStorage.removeItem(RESUMABLE);
  return null;
}
