// Runs before the first paint, so that a dark page does not flash white.
{
  let chosen = null;
  try {
    chosen = localStorage.getItem("coda.theme");
  } catch {
    chosen = null; // storage is switched off: the system's colours
  }
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
}
