// Microphone and loudspeaker of this machine, as 24 kHz frames.

const RATE = 24000;

/** A refusal or fault of the sound devices, in words for the user. */
export class SoundError extends Error {}

/**
 * Emits `frame` ({pcm: ArrayBuffer, level: 0…1}) for each 80 ms of the microphone, `played`
 * ({buffered, late, lost, skipped, level}) ten times a second, and `unplugged` when the
 * microphone is gone.
 */
export class Sound extends EventTarget {
  #context = null;
  #capture = null;
  #playback = null;
  #source = null;
  #stream = null;
  #muted = false;

  /** Open both; needs the user's leave for the microphone. Throws SoundError. */
  async open({ microphone, loudspeaker, echo, noise }) {
    if (!navigator.mediaDevices) {
      throw new SoundError("The browser gives the microphone only to pages from https or from this machine itself.");
    }
    const stream = await this.#askForMicrophone({ microphone, echo, noise });
    try {
      try {
        await this.#connect(new AudioContext({ sampleRate: RATE, latencyHint: "interactive" }), stream);
      } catch (error) {
        if (error.name !== "NotSupportedError") throw error;
        // Firefox cannot record at another rate than the card's: the worklets resample.
        await this.#connect(new AudioContext({ latencyHint: "interactive" }), stream);
      }
    } catch (error) {
      for (const track of stream.getTracks()) track.stop();
      throw error;
    }
    this.#take(stream);
    await this.chooseLoudspeaker(loudspeaker);
  }

  async #askForMicrophone({ microphone, echo, noise }) {
    const audio = {
      channelCount: 1,
      echoCancellation: echo,
      noiseSuppression: noise,
      autoGainControl: true,
      ...(microphone ? { deviceId: { exact: microphone } } : {}),
    };
    try {
      return await navigator.mediaDevices.getUserMedia({ audio });
    } catch (error) {
      throw new SoundError(
        {
          NotAllowedError: "The microphone is not allowed for this page: allow it beside the address, then try again.",
          NotFoundError: "No microphone was found: connect one, then try again.",
          NotReadableError: "Another program holds the microphone: close it there, then try again.",
          OverconstrainedError: "The chosen microphone is gone: choose another in the settings.",
        }[error.name] ?? `The microphone does not work: ${error.message}`,
      );
    }
  }

  #take(stream) {
    this.#stream = stream;
    for (const track of stream.getTracks()) track.addEventListener("ended", () => this.#tell("unplugged"));
  }

  async #connect(context, stream) {
    const source = await this.#sourceOf(context, stream);
    this.#context = context; // from here on `close` closes it
    this.#source = source;
    await context.audioWorklet.addModule("/page/audio/capture-worklet.js");
    await context.audioWorklet.addModule("/page/audio/playback-worklet.js");
    this.#capture = new AudioWorkletNode(context, "capture", { numberOfOutputs: 0, channelCount: 1, channelCountMode: "explicit" });
    this.#capture.port.onmessage = ({ data }) => this.#tell("frame", data);
    this.#playback = new AudioWorkletNode(context, "playback", { numberOfInputs: 0, outputChannelCount: [1] });
    this.#playback.port.onmessage = ({ data }) => this.#tell("played", data);
    this.#playback.connect(context.destination);
    source.connect(this.#capture);
    this.mute(this.#muted);
    // Without a click on the page a browser may refuse: it then never answers.
    await Promise.race([context.resume(), new Promise((enough) => setTimeout(enough, 500))]);
  }

  /** Let sound out after all, in the course of a click or a key. */
  wake() {
    return this.#context?.resume();
  }

  async #sourceOf(context, stream) {
    try {
      return context.createMediaStreamSource(stream);
    } catch (error) {
      await context.close();
      throw error;
    }
  }

  /** Whether the browser lets sound out; without a click on the page it may not. */
  get running() {
    return this.#context?.state === "running";
  }

  /** Seconds from a sample played to its being heard, as far as the browser knows. */
  get outputLatency() {
    return (this.#context?.baseLatency ?? 0) + (this.#context?.outputLatency ?? 0);
  }

  play(pcm) {
    this.#playback?.port.postMessage({ pcm }, [pcm]);
  }

  /** Silence what is still to be played. */
  hush() {
    this.#playback?.port.postMessage({ hush: true });
  }

  /** Begin anew, after a gap in what arrives. */
  restart() {
    this.#playback?.port.postMessage({ reset: true });
  }

  /** While muted the microphone gives silence: nothing leaves this machine. */
  mute(muted) {
    this.#muted = muted;
    this.#capture?.port.postMessage({ muted });
  }

  get muted() {
    return this.#muted;
  }

  /** Play there, or as the system has it: for "", and when that loudspeaker is gone (gives false). */
  async chooseLoudspeaker(id) {
    const context = this.#context;
    if (!context?.setSinkId || context.sinkId === id) return true;
    try {
      await context.setSinkId(id);
      return true;
    } catch (error) {
      if (!id) throw error;
      await context.setSinkId("");
      return false;
    }
  }

  async chooseMicrophone(choice) {
    if (!this.#context) return;
    const stream = await this.#askForMicrophone(choice);
    this.#source.disconnect();
    for (const track of this.#stream.getTracks()) track.stop();
    this.#take(stream);
    this.#source = this.#context.createMediaStreamSource(stream);
    this.#source.connect(this.#capture);
  }

  async close() {
    for (const track of this.#stream?.getTracks() ?? []) track.stop();
    const context = this.#context;
    this.#context = this.#capture = this.#playback = this.#source = this.#stream = null;
    await context?.close();
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/** The sound devices, with names once the microphone has been allowed. */
export async function soundDevices() {
  const devices = (await navigator.mediaDevices?.enumerateDevices()) ?? [];
  const of = (kind) =>
    devices.filter((d) => d.kind === kind && d.deviceId && d.deviceId !== "default").map(({ deviceId, label }) => ({ id: deviceId, name: label || "Device" }));
  return { microphones: of("audioinput"), loudspeakers: of("audiooutput") };
}
