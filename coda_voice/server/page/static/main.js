// Puts the page together: sound, connection, history, and what shows them.

import { Connection, leftBehind } from "./connection.js";
import { Controls } from "./controls.js";
import { History } from "./history.js";
import { RoundTrip } from "./round-trip.js";
import { Settings } from "./settings.js";
import { Sound, SoundError } from "./audio/sound.js";
import { byId, clock, duration } from "./views/elements.js";
import { LatencyView } from "./views/latency.js";
import { Meter } from "./views/meters.js";
import { StageView } from "./views/stage.js";
import { ThoughtsView } from "./views/thoughts.js";
import { TranscriptView } from "./views/transcript.js";

const LINKS = {
  idle: "Not connected",
  connecting: "Connecting…",
  waiting: "Waiting for a place…",
  live: "Connected",
  resuming: "Reconnecting…",
};

const settings = new Settings();
const history = new History();
const connection = new Connection();
const sound = new Sound();
new TranscriptView(history);
new ThoughtsView(history);
new LatencyView(history);
const stage = new StageView(byId("stage"), history);
const meters = { user: new Meter("meter-user"), agent: new Meter("meter-agent") };
const controls = new Controls(settings, { begin, end, mute, interrupt, say, chooseMode, choosePersonality, changedTheme, changedDevice });

const roundTrip = new RoundTrip();
let received = 0;
let opening = false;
const mode = { now: "", wished: "" }; // wished: until the server has confirmed it

// ---- what the user does --------------------------------------------------------------------

async function begin(left = null) {
  if (opening || connection.state !== "idle") return;
  opening = true;
  controls.notice("");
  controls.starting();
  try {
    await sound.open(settings.values);
    if (!sound.running) controls.askForAClick(() => sound.wake());
    if (left) {
      history.recall();
      connection.resume(left, settings.token);
    } else {
      history.clear();
      connection.open(wish(), settings.token);
    }
    await controls.listDevices();
  } catch (error) {
    connection.close(); // `idle` closes the sound and sets the controls back
    controls.notice(error instanceof SoundError ? error.message : `The conversation could not be begun: ${error.message}`);
  } finally {
    opening = false;
  }
}

function wish() {
  const { prompt, mode } = settings.values;
  return { ...(prompt ? { prompt } : {}), ...(mode ? { mode } : {}), ...(controls.recording ? { record: "true" } : {}) };
}

function end() {
  connection.close();
}

function mute(muted) {
  sound.mute(muted);
  document.documentElement.toggleAttribute("data-muted", muted);
  controls.mutedIs(muted);
}

function interrupt() {
  connection.send({ type: "interrupt" });
  sound.hush();
}

function say(text) {
  connection.send({ type: "text", text });
}

function chooseMode(wished) {
  mode.wished = connection.state === "idle" ? "" : wished;
  if (mode.wished) connection.send({ type: "mode", mode: wished });
  else settings.set("mode", wished); // for the next conversation: nobody will confirm it
}

function modeConfirmed(now) {
  mode.now = now;
  controls.modeIs(now);
  if (now !== mode.wished) return;
  mode.wished = "";
  settings.set("mode", now);
}

function refused(message) {
  controls.notice(message);
  if (mode.wished) controls.modeIs(mode.now);
  mode.wished = "";
}

function choosePersonality(name) {
  connection.send({ type: "personality", name });
}

function changedTheme() {
  stage.recolour();
}

async function changedDevice() {
  if (connection.state === "idle") return;
  try {
    await sound.chooseMicrophone(settings.values);
    const there = await sound.chooseLoudspeaker(settings.values.loudspeaker);
    controls.notice(there ? "" : "That loudspeaker is gone: the system's choice is used.");
  } catch (error) {
    controls.notice(error.message);
  }
}

// ---- what comes from the microphone and from the server --------------------------------------

sound.addEventListener("frame", ({ detail: { pcm, level } }) => {
  meters.user.show(level);
  if (!connection.sendAudio(pcm)) return;
  roundTrip.leave(performance.now());
  stage.userLevel(level);
});

sound.addEventListener("played", ({ detail }) => {
  meters.agent.show(detail.level);
  byId("buffer").textContent = duration(detail.buffered + sound.outputLatency);
  byId("late").textContent = `${detail.late} ×`;
});

sound.addEventListener("unplugged", () => {
  controls.notice("The microphone is gone: choose another in the settings, or connect it, end, and begin again.");
});

connection.addEventListener("audio", ({ detail: pcm }) => {
  const samples = new Int16Array(pcm);
  let energy = 0;
  for (const sample of samples) energy += (sample / 32768) ** 2;
  stage.agentLevel(Math.sqrt(energy / samples.length));
  const took = roundTrip.arrive(performance.now());
  if (received % 12 === 0 && took !== null) {
    byId("round-trip").textContent = duration(took / 1000);
    byId("clock").textContent = clock(stage.seconds);
  }
  received += 1;
  document.documentElement.dataset.frames = received;
  sound.play(pcm);
});

connection.addEventListener("message", ({ detail: message }) => {
  history.receive(message);
  roundTrip.told(message);
  if (message.type === "status") statusChanged(message);
  else if (message.type === "transcript" && message.speaker === "agent") stage.word("agent", message.text, message.start ?? stage.seconds);
  else if (message.type === "event" && message.event.type === "transcript") userWords(message.event);
  else if (message.type === "error") refused(message.message);
});

function userWords({ final, words = [] }) {
  if (!final) return;
  for (const word of words) stage.word("user", word.text, word.start);
}

function statusChanged(message) {
  const { status } = message;
  if (status === "ready") {
    received = 0;
    roundTrip.begin(message);
    stage.start(message.frames, !message.resumed && message.frames === 0);
    sound.restart();
    controls.ready(message);
    mode.now = message.mode;
    if (mode.wished) connection.send({ type: "mode", mode: mode.wished });
    listPersonalities(message.personality);
  } else if (status === "waiting") {
    byId("link-text").textContent = `Number ${message.position} in line`;
  } else if (status === "mode") {
    modeConfirmed(message.mode);
  } else if (status === "personality") {
    controls.personalityIs(message.personality);
  } else if (status === "draining") {
    controls.notice(`The server will stop in ${Math.round(message.seconds)} s.`);
  }
}

async function listPersonalities(played) {
  const headers = settings.token ? { Authorization: `Bearer ${settings.token}` } : {};
  const answer = await fetch("/v1/personalities", { headers });
  if (answer.ok) controls.listPersonalities(await answer.json(), played);
}

connection.addEventListener("state", async ({ detail: { state, reason } }) => {
  document.documentElement.dataset.state = state;
  byId("link").dataset.link = state;
  byId("link-text").textContent = LINKS[state];
  controls.state(state);
  if (reason) controls.notice(reason);
  if (state !== "idle") return;
  mode.wished = "";
  stage.stop();
  for (const who of ["user", "agent"]) speaks({ speaker: who, speaking: false });
  await sound.close();
});

history.addEventListener("speech", ({ detail }) => speaks(detail));
history.addEventListener("mode", ({ detail }) => controls.modeIs(detail));
history.addEventListener("turn", ({ detail: turn }) => controls.turnForReaders(turn));

function speaks({ speaker, speaking }) {
  byId(`who-${speaker}`).classList.toggle("speaking", speaking);
  document.documentElement.toggleAttribute(`data-${speaker}-speaks`, speaking);
}

// ---- a reload ------------------------------------------------------------------------------

addEventListener("pagehide", () => {
  if (connection.state === "idle") return;
  connection.remember(sound.muted);
  history.remember();
});

const features = await fetch("/page/features.json");
if (features.ok && (await features.json()).recordings) controls.offerRecording();

const left = leftBehind();
if (left) {
  history.recall();
  history.remember(); // once more, for `begin` may have to wait for a click
  if (left.muted) mute(true);
  if (navigator.userActivation?.hasBeenActive || (await mayListen())) await begin(left);
  else controls.offerToGoOn(() => begin(left));
}

async function mayListen() {
  try {
    return (await navigator.permissions.query({ name: "microphone" })).state === "granted";
  } catch {
    return false; // a browser that does not tell
  }
}

document.documentElement.dataset.page = "ready";
