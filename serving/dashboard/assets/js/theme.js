// Light or dark: as the system says, until the viewer chooses.

const KEPT = "punctual.theme";
const system = matchMedia("(prefers-color-scheme: dark)");
const listeners = [];

export function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : system.matches;
}

export function onTheme(listener) {
  listeners.push(listener);
}

/** The value of a custom property of the page, for what is drawn on a canvas. */
export function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

export function themeControl(button) {
  try {
    const kept = localStorage.getItem(KEPT);
    if (kept === "dark" || kept === "light") document.documentElement.dataset.theme = kept;
  } catch {
    // Without storage the system's choice stands.
  }
  const show = () => button.setAttribute("aria-pressed", String(isDark()));
  const tell = () => {
    show();
    for (const listener of listeners) listener();
  };
  show();
  system.addEventListener("change", tell);
  button.addEventListener("click", () => {
    const next = isDark() ? "light" : "dark";
    document.documentElement.dataset.theme = next;
    try {
      localStorage.setItem(KEPT, next);
    } catch {
      // Kept for this page only.
    }
    tell();
  });
}
