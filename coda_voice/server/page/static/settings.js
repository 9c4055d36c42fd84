// What the user has chosen on this page; kept in the browser, except for the token,
// which is kept for this window only.

const KEY = "coda.settings";
const DEFAULTS = {
  microphone: "",
  loudspeaker: "",
  echo: true,
  noise: true,
  prompt: "",
  mode: "",
  spokenTranscript: true,
  singleKeys: true,
};

function read(storage, key) {
  try {
    return storage.getItem(key);
  } catch {
    return null; // the browser keeps nothing for this page
  }
}

function write(storage, key, value) {
  try {
    storage.setItem(key, value);
  } catch {
    // The choice holds until the page is closed.
  }
}

export class Settings {
  constructor() {
    this.values = { ...DEFAULTS, ...JSON.parse(read(localStorage, KEY) ?? "{}") };
    this.token = read(sessionStorage, "coda.token") ?? "";
    this.theme = read(localStorage, "coda.theme") ?? "system";
  }

  set(name, value) {
    this.values[name] = value;
    write(localStorage, KEY, JSON.stringify(this.values));
  }

  setToken(token) {
    this.token = token.trim();
    write(sessionStorage, "coda.token", this.token);
  }

  setTheme(theme) {
    this.theme = theme;
    write(localStorage, "coda.theme", theme);
    if (theme === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
  }
}
