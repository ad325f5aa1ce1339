// Instants in the zone of the depot or of the viewer; the viewer chooses.

import { language, t } from "./words.js";

export const VIEWER = Intl.DateTimeFormat().resolvedOptions().timeZone;
const formats = new Map();
let depot = "UTC";
let useViewer = false;

export function setDepotZone(zone) {
  depot = zone || "UTC";
}

export function showViewerZone(yes) {
  useViewer = yes;
}

export function zone() {
  return useViewer ? VIEWER : depot;
}

export function depotZone() {
  return depot;
}

/** `14:05` */
export function clock(instant, where = zone()) {
  return instant ? format("clock", where, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" }).format(new Date(instant)) : "–";
}

/** `14:05:33` */
export function clockSeconds(instant, where = zone()) {
  return format("seconds", where, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" }).format(new Date(instant));
}

/** `14:05–15:20` */
export function span(window, where = zone()) {
  return window ? `${clock(window.start, where)}–${clock(window.end, where)}` : "–";
}

/** `Monday 19 January` */
export function day(instant, where = zone()) {
  return format("day", where, { weekday: "long", day: "numeric", month: "long" }).format(new Date(instant));
}

/** `Amsterdam` of `Europe/Amsterdam` */
export function zoneName(where) {
  return where.split("/").pop().replaceAll("_", " ");
}

export function minutesBetween(a, b) {
  return (new Date(b) - new Date(a)) / 60000;
}

/** `45 s`, `12 min`, `3 h` */
export function age(seconds) {
  if (seconds < 90) return t("age.s", { n: Math.round(seconds) });
  if (seconds < 5400) return t("age.min", { n: Math.round(seconds / 60) });
  return t("age.h", { n: Math.round(seconds / 3600) });
}

/** Minutes with their sign, as people say them. */
export function signed(minutes) {
  const rounded = Math.round(minutes);
  return rounded > 0 ? `+${rounded}` : rounded < 0 ? `−${-rounded}` : "0";
}

function format(kind, where, options) {
  const key = `${kind}|${where}|${language}`;
  if (!formats.has(key)) formats.set(key, new Intl.DateTimeFormat(language, { ...options, timeZone: where }));
  return formats.get(key);
}
