// A customer's page: one delivery, in words. The token stands behind # and is sent to nobody but the API.

import { get, Refused, send } from "./api.js";
import { byId, fill, h } from "./dom.js";
import { themeControl } from "./theme.js";
import { clock, day, setDepotZone, span, VIEWER, zone, zoneName } from "./times.js";
import { languageControl, loadWords, t, tOr, translate } from "./words.js";

const EVERY_MS = 30_000;
const NOTICES_MIN = [15, 30, 60, 120];
const CHANNELS = ["sms", "email", "push", "none"];
const token = location.hash.slice(1);
const path = `/v1/track/${encodeURIComponent(token)}`;
let last = null;

await loadWords();
translate();
document.title = t("track.title");
themeControl(byId("theme"));
languageControl(byId("language"));
addEventListener("hashchange", () => location.reload());
preferenceForm();
byId("choice-form").addEventListener("submit", sendChoice);
byId("preference-form").addEventListener("submit", sendPreferences);
await refresh();
setInterval(refresh, EVERY_MS);

async function refresh() {
  try {
    last = await get(path);
  } catch (error) {
    return showTrouble(error);
  }
  setDepotZone(last.timezone);
  fill(byId("status"), ...status(last));
  showChoices(last.choices);
  byId("preferences").hidden = false;
  byId("foot").textContent = [last.as_of && t("track.updated", { time: clock(last.as_of) }), t("track.private", { time: `${day(last.expires_at)}, ${clock(last.expires_at)}` })].filter(Boolean).join(" · ");
}

function status(delivery) {
  if (delivery.state === "completed") return [h("p", { class: "window" }, clock(delivery.reached_at)), h("span", { class: "where done" }, t("track.delivered", { time: clock(delivery.reached_at) }))];
  if (delivery.state === "failed" || delivery.state === "skipped") return [h("span", { class: "where bad" }, t("track.failed")), h("p", {}, t("track.failed.text"))];
  if (delivery.state === "at_door") return [h("span", { class: "where done" }, t("track.at_door"))];
  if (!delivery.window) return [h("p", {}, t("track.not_scored")), delivery.promised && h("p", {}, t("track.was_promised", { span: span(delivery.promised) }))];
  const isElsewhere = clock(delivery.window.start, VIEWER) !== clock(delivery.window.start);
  return [
    h("p", { class: "quiet" }, t("track.window")),
    h("p", { class: "window" }, span(delivery.window)),
    h("p", { class: "quiet" }, `${t("track.window.day", { day: day(delivery.window.start) })} · ${t("track.times", { place: zoneName(zone()) })}`),
    isElsewhere && h("p", { class: "quiet" }, t("track.times.viewer", { span: span(delivery.window, VIEWER), place: zoneName(VIEWER) })),
    h("span", { class: "where" }, delivery.stops_before ? t("track.stops_before", { n: delivery.stops_before }) : t("track.next")),
    delivery.delay_minutes ? delay(delivery) : delivery.promised && h("p", {}, t("track.was_promised", { span: span(delivery.promised) }), " ", t("track.on_promise")),
    h("p", {}, t(`track.confidence.${delivery.confidence.level}`, { n: delivery.confidence.of_ten })),
  ];
}

function delay(delivery) {
  return h("div", { class: "delay" },
    h("h2", {}, t("track.delay.title")),
    h("p", {}, t("track.delay", { n: delivery.delay_minutes }), " ", t("track.was_promised", { span: span(delivery.promised) })),
    delivery.reasons.map((code) => h("p", {}, tOr(`track.reason.${code}`, t("track.reason.OTHER")))));
}

function showChoices(choices) {
  byId("choices").hidden = choices.length === 0;
  const list = byId("choice-list");
  if (list.querySelector("input")) return;
  for (const choice of choices) {
    list.append(h("label", { class: "option" }, h("input", { type: "radio", name: "choice", value: choice, required: true }), t(`choice.${choice}`)));
  }
}

async function sendChoice(event) {
  event.preventDefault();
  const choice = new FormData(event.target).get("choice");
  await tell("choice-told", () => send("POST", `${path}/changes`, { choice }), t("track.sent", { choice: t(`choice.${choice}`) }));
}

async function sendPreferences(event) {
  event.preventDefault();
  const wanted = { channel: byId("channel").value, notice_minutes: Number(byId("notice").value) };
  await tell("preference-told", () => send("PUT", `${path}/preferences`, wanted), t("track.saved"));
}

async function tell(place, action, done) {
  const element = byId(place);
  try {
    await action();
    element.className = "";
    element.textContent = done;
  } catch (error) {
    element.className = "error";
    element.textContent = t("track.failed_send", { detail: error.message });
  }
}

function preferenceForm() {
  byId("channel").append(...CHANNELS.map((channel) => new Option(t(`track.channel.${channel}`), channel)));
  byId("notice").append(...NOTICES_MIN.map((minutes) => new Option(t("track.notice.minutes", { n: minutes }), minutes, minutes === 60, minutes === 60)));
}

function showTrouble(error) {
  const kind = error instanceof Refused ? { 410: "expired", 404: "invalid" }[error.status] : null;
  if (kind) {
    byId("choices").hidden = byId("preferences").hidden = true;
    fill(byId("status"), h("h2", {}, t(`track.${kind}`)), h("p", {}, t(`track.${kind}.text`)));
    byId("foot").textContent = "";
  } else if (last) {
    byId("foot").textContent = t("track.offline", { time: clock(last.as_of) });
  } else {
    fill(byId("status"), h("p", { class: "error" }, t("error.load", { detail: error.message })));
  }
}
