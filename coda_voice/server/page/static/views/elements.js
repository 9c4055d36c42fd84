// Elements without HTML in strings: text from the server can never become markup.

const SVG = "http://www.w3.org/2000/svg";

/** `element("p", {class: "x", hidden: true}, "text", child)` */
export function element(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

/** The same for SVG. */
export function svg(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

function fill(made, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (value === true) made.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** What holds no longer. Few screen readers say that something is struck through: `said` does. */
export function struckOut(text, said = "taken back: ") {
  return element("del", {}, said ? element("span", { class: "hidden" }, said) : null, text);
}

export const byId = (id) => document.getElementById(id);

/** Seconds as m:ss. */
export function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

/** A short time for people: 84 ms, 0.42 s, 12 s. */
export function duration(seconds) {
  if (seconds < 0.1) return `${Math.round(seconds * 1000)} ms`;
  return seconds < 10 ? `${seconds.toFixed(2)} s` : `${Math.round(seconds)} s`;
}
