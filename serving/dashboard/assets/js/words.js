// All words of the pages: one catalogue a language, the same keys in each.

const LANGUAGES = ["en", "nl"];
const KEPT = "punctual.language";
let words = {};
let plurals = new Intl.PluralRules("en");

export let language = "en";

/** Load the catalogue of the language that was chosen, else of the browser, else English. */
export async function loadWords() {
  language = chosen();
  words = await (await fetch(new URL(`../words/${language}.json`, import.meta.url))).json();
  plurals = new Intl.PluralRules(language);
  document.documentElement.lang = language;
}

/** The sentence of a key with its `{values}`; the value `n` chooses between one and many. */
export function t(key, values = {}) {
  let sentence = words[key];
  if (sentence === undefined) return key;
  if (typeof sentence === "object") sentence = sentence[plurals.select(values.n)] ?? sentence.other;
  return sentence.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole));
}

/** The sentence of a key that may not be in the catalogue: codes that a later version of the API may add. */
export function tOr(key, otherwise, values = {}) {
  return key in words ? t(key, values) : otherwise;
}

export function number(value, digits = 0) {
  return new Intl.NumberFormat(language, { maximumFractionDigits: digits, minimumFractionDigits: digits }).format(value);
}

export function percent(share, digits = 0) {
  return new Intl.NumberFormat(language, { style: "percent", maximumFractionDigits: digits }).format(share);
}

/** Put the words of `data-t`, `data-t-label` and `data-t-title` attributes in place. */
export function translate(root = document) {
  for (const element of root.querySelectorAll("[data-t]")) element.textContent = t(element.dataset.t);
  for (const element of root.querySelectorAll("[data-t-label]")) element.setAttribute("aria-label", t(element.dataset.tLabel));
  for (const element of root.querySelectorAll("[data-t-placeholder]")) element.placeholder = t(element.dataset.tPlaceholder);
}

/** A control that changes the language and loads the page anew. */
export function languageControl(select) {
  for (const code of LANGUAGES) {
    const name = new Intl.DisplayNames([code], { type: "language" }).of(code);
    select.append(new Option(name, code, code === language, code === language));
  }
  select.addEventListener("change", () => {
    keep(select.value);
    location.reload();
  });
}

function chosen() {
  const wanted = [read(), ...navigator.languages].map((tag) => String(tag).slice(0, 2));
  return wanted.find((tag) => LANGUAGES.includes(tag)) ?? "en";
}

function read() {
  try {
    return localStorage.getItem(KEPT);
  } catch {
    return null;
  }
}

function keep(code) {
  try {
    localStorage.setItem(KEPT, code);
  } catch {
    // Without storage the choice lasts as long as the page.
  }
}
