// The viewer of recordings: a timeline with its sound, words and events.

import { Settings } from "./settings.js";
import { byId, clock, duration, element } from "./views/elements.js";

const { token } = new Settings();
const audio = byId("audio");
const timeline = byId("timeline");
const LINE_PAUSE = 1.2; // seconds of silence that begin a new line
const TOLD = {
  turn_latency: (e) => `answered after ${duration(e.seconds)}`,
  barge_in: (e) => (e.silent_after === null ? "interrupted; it went on" : `interrupted; silent after ${duration(e.silent_after)}`),
  route_decided: (e) => (e.partial ? null : `routed to ${e.target}: ${e.reasons.join(", ")}`),
  tool_started: (e) => `tool ${e.tool} ${e.arguments}`,
  tool_ended: (e) => `tool ${e.tool}: ${e.outcome.replaceAll("_", " ")}`,
  memory: (e) => (e.injected.length ? `remembered: ${e.injected.join("; ")}` : null),
  memory_stored: stored,
  mode_changed: (e) => `mode ${e.mode.replaceAll("_", " ")}`,
  error: (e) => e.message,
};
function stored({ text, facts, taken_back: gone = [] }) {
  const kept = facts.length ? facts : gone.length ? [] : [text];
  return [kept.length && `stored: ${kept.join("; ")}`, gone.length && `holds no longer: ${gone.join("; ")}`].filter(Boolean).join("; ");
}

let shown = null; // {peaks, marks, seconds}
let loading = null; // {name, stop}: the recording that was chosen last, until it is shown
let older = null; // where the list goes on; null: nowhere
let fetching = false;

async function get(path, signal) {
  const answer = await fetch(path, { signal, headers: token ? { Authorization: `Bearer ${token}` } : {} });
  if (answer.ok) return answer;
  const { error } = await answer.json().catch(() => ({}));
  throw new Error(error?.message ?? `The server answered ${answer.status}.`);
}

async function guarded(work) {
  byId("notice").hidden = true;
  try {
    await work();
  } catch (error) {
    byId("notice").textContent = error.message;
    byId("notice").hidden = false;
  }
}

async function list() {
  const first = await more("/v1/recordings");
  if (first) await show(first);
}

/** Adds the recordings there to the list, and the button for older ones; gives the first. */
async function more(path) {
  const answer = await get(path);
  const recordings = await answer.json();
  byId("list").append(...recordings.map(entry));
  older = answer.headers.get("Link")?.match(/<([^>]+)>;\s*rel="next"/)?.[1] ?? null;
  const known = byId("list").childElementCount;
  byId("list-count").textContent = known ? `${known}${older ? ", and older ones" : ""}` : "none yet";
  byId("older").hidden = !older;
  return recordings[0];
}

byId("older").addEventListener("click", () => {
  if (fetching) return;
  fetching = true; // a second click asks for nothing: the button stays where it is, and focused
  guarded(async () => {
    const button = document.activeElement === byId("older");
    const first = await more(older);
    // Who came by the keyboard goes on where the new ones begin; the button may be gone.
    if (button && first) byId("list").querySelector(`[data-name="${first.name}"]`).focus();
  }).finally(() => (fetching = false));
});

function entry(recording) {
  const button = element(
    "button",
    { type: "button", "data-name": recording.name },
    element("span", {}, new Date(recording.started).toLocaleString()),
    element("span", { class: "quiet" }, recording.complete ? clock(recording.seconds) : "still being recorded, or cut off"),
  );
  button.addEventListener("click", () => guarded(() => show(recording)));
  return element("li", {}, button);
}

/** Shows the recording that was clicked last: a second click on it changes nothing. */
async function show(recording) {
  if (loading?.name === recording.name) return;
  loading?.stop.abort();
  const mine = (loading = { name: recording.name, stop: new AbortController() });
  try {
    await load(recording, mine.stop.signal);
  } catch (error) {
    if (!mine.stop.signal.aborted) throw error;
  } finally {
    if (loading === mine) loading = null;
  }
}

async function load(recording, signal) {
  for (const button of byId("list").querySelectorAll("button")) {
    button.setAttribute("aria-current", button.dataset.name === recording.name);
  }
  byId("viewer-title").textContent = new Date(recording.started).toLocaleString();
  byId("viewer-about").textContent = `${recording.checkpoint} · ${recording.agreed}`;
  // Back on the one that is there: to fetch it anew would stop it where somebody has set it playing.
  if (recording.complete && document.documentElement.dataset.shown === recording.name) return;
  const base = `/v1/recordings/${recording.name}`;
  const sound = await (await get(`${base}/audio`, signal)).blob();
  const words = recording.complete ? await (await get(`${base}/words`, signal)).json() : [];
  // The last line of one that is still being recorded may be half written.
  const events = (await (await get(`${base}/events`, signal)).text()).split("\n").slice(0, -1).map((line) => JSON.parse(line));
  const notes = events.map((e) => ({ start: e.time, note: TOLD[e.type]?.(e) })).filter((e) => e.note);
  const lines = [...linesOf(words), ...notes].sort((a, b) => a.start - b.start);
  const peaks = await peaksOf(sound);
  signal.throwIfAborted(); // from here on nothing waits: sound, words and picture are of one recording
  const former = audio.src;
  audio.src = URL.createObjectURL(sound);
  URL.revokeObjectURL(former);
  byId("lines").replaceChildren(...lines.map(row));
  shown = { ...peaks, marks: notes };
  draw();
  document.documentElement.dataset.shown = recording.name;
}

function linesOf(words) {
  const lines = [];
  for (const { speaker, text, start, end } of words) {
    const last = lines.findLast((line) => line.speaker === speaker);
    if (last && last === lines.at(-1) && start - last.end < LINE_PAUSE) Object.assign(last, { text: `${last.text} ${text}`, end });
    else lines.push({ speaker, text, start, end });
  }
  return lines;
}

function row({ speaker, text, note, start }) {
  const jump = element("button", { type: "button", class: "jump" }, clock(start));
  jump.addEventListener("click", () => {
    audio.currentTime = start;
    // A pause while it is still loading rejects with AbortError: that is what was asked for.
    audio.play().catch((error) => (error.name === "AbortError" ? null : guarded(() => { throw error; })));
  });
  if (note) return element("li", { class: "note" }, jump, element("span", {}, note));
  const who = speaker === "user" ? "You" : "Coda";
  return element("li", { class: speaker }, jump, element("span", {}, element("strong", {}, `${who} `), text));
}

/** The loudest sample of each column, of both sides. */
async function peaksOf(sound) {
  const decoded = await new OfflineAudioContext(2, 1, 24000).decodeAudioData(await sound.arrayBuffer());
  const columns = 1200;
  const each = Math.max(1, Math.floor(decoded.length / columns));
  const peaks = [0, 1].map((channel) => {
    const samples = decoded.getChannelData(channel);
    return Float32Array.from({ length: columns }, (_, n) => {
      let most = 0;
      for (let at = n * each; at < Math.min(samples.length, (n + 1) * each); at += 4) most = Math.max(most, Math.abs(samples[at]));
      return most;
    });
  });
  return { peaks, seconds: decoded.duration };
}

function draw() {
  if (!shown) return;
  const ratio = Math.min(2, devicePixelRatio || 1);
  const { clientWidth: width, clientHeight: tall } = timeline;
  timeline.width = width * ratio;
  timeline.height = tall * ratio;
  const pen = timeline.getContext("2d");
  pen.scale(ratio, ratio);
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(`--${name}`).trim();
  const middle = tall / 2;
  shown.peaks.forEach((peaks, side) => {
    pen.fillStyle = colour(side ? "agent" : "user");
    peaks.forEach((peak, n) => {
      const size = Math.max(0.5, Math.sqrt(peak) * (middle - 6));
      pen.fillRect((n / peaks.length) * width, side ? middle + 1 : middle - 1 - size, Math.max(1, width / peaks.length - 0.5), size);
    });
  });
  pen.fillStyle = colour("quiet");
  for (const { start } of shown.marks) pen.fillRect((start / shown.seconds) * width, middle - 4, 1.5, 8);
  pen.fillStyle = colour("text");
  pen.fillRect((audio.currentTime / shown.seconds) * width, 0, 2, tall);
}

timeline.addEventListener("click", ({ offsetX }) => {
  if (shown) audio.currentTime = (offsetX / timeline.clientWidth) * shown.seconds;
});
audio.addEventListener("timeupdate", draw);
audio.addEventListener("seeked", draw);
new ResizeObserver(draw).observe(timeline);
const { recordings } = await (await fetch("/page/features.json")).json();
await guarded(() => {
  if (!recordings) throw new Error("This server keeps no recordings (server.recordings is not set).");
  return list();
});
document.documentElement.dataset.page = "ready";
