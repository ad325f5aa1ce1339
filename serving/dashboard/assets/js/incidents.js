// Incidents: the list by how much they cost customers, and one of them with its causes, actions and steps.

import { get, getIfKnown, send } from "./api.js";
import { fill, h } from "./dom.js";
import { head, reasonName, riskClass } from "./stop.js";
import { clock, minutesBetween, signed, span } from "./times.js";
import { number, percent, t, tOr } from "./words.js";

const SNOOZE_MIN = 30;
const SHOWN_STOPS = 60;
const STATE_TAGS = { open: "high", acknowledged: "info", snoozed: "medium", resolved: "ok" };

/** Incidents that are not over, dearest first: lateness summed over every delivery in trouble, by its priority. */
export async function loadIncidents(withResolved) {
  const found = await get(`/v1/incidents?limit=200${withResolved ? "" : "&state=live"}`);
  const order = (incident) => [incident.state === "resolved" ? 1 : 0, incident.state === "snoozed" ? 1 : 0, -incident.weighed_minutes, -incident.affected.stops];
  return found.incidents.sort((a, b) => compare(order(a), order(b)));
}

/** The cards of the list. */
export function incidentCards(incidents, selectedId, open) {
  if (!incidents.length) return h("p", { class: "quiet" }, t("incidents.none"));
  return h("ol", { class: "cards" }, incidents.map((incident, place) => h("li", {}, card(incident, place + 1, incident.incident_id === selectedId, open))));
}

function card(incident, rank, isSelected, open) {
  const isQuiet = incident.state === "resolved" || incident.state === "snoozed";
  return h("button", {
    class: isQuiet ? "card done" : "card", type: "button", id: `card-${incident.incident_id}`, "data-level": incident.severity,
    "aria-current": isSelected ? "true" : null, onclick: () => open(incident.incident_id),
  },
  h("span", { class: "card-head" }, h("span", { class: "rank" }, String(rank)), h("strong", {}, title(incident)), stateTag(incident)),
  h("span", { class: "figures" },
    h("b", {}, t("incident.customers", { n: incident.alerts.open || incident.affected.stops })),
    meanMinutes(incident) !== null && h("b", {}, t("incident.expected", { n: number(meanMinutes(incident)) }))),
  h("span", { class: "quiet" }, t("incident.since", { time: clock(incident.opened_at) })),
  incident.actions.length > 0 && h("span", { class: "first-action" }, "→ ", h("b", {}, actionName(incident.actions[0])), ` · ${gainText(incident.actions[0])}`));
}

export function title(incident) {
  return t("incident.headline", { cause: t(`cause.${incident.cause}`), subject: incident.subject.id });
}

function meanMinutes(incident) {
  return incident.alerts.open && incident.weighed_minutes ? incident.weighed_minutes / incident.alerts.open : null;
}

function stateTag(incident) {
  const values = { time: clock(incident.snoozed_until) };
  return h("span", { class: `tag ${STATE_TAGS[incident.state]}` }, t(`incident.state.${incident.state}`, values));
}

/**
 * One incident on the right side. What is written into the note stays while the rest is drawn anew.
 */
export class IncidentDetail {
  constructor(incidentId, opens) {
    this.id = incidentId;
    this.opens = opens;
    this.facts = h("div", {});
    this.after = h("div", {});
    this.message = h("p", { role: "status" });
    this.note = h("textarea", { id: "note", class: "note", maxlength: 500 });
    this.buttons = Object.fromEntries(["acknowledge", "snooze", "resolve"].map((step) => [step,
      h("button", { type: "button", class: step === "acknowledge" ? "primary" : null, id: `step-${step}`, onclick: () => this.take(step) }, t(`incident.${step}`))]));
    this.form = h("div", {},
      h("label", { for: "note" }, t("incident.note")), this.note,
      h("div", { class: "steps" }, Object.values(this.buttons)), this.message);
    this.element = h("article", {}, this.facts, this.form, this.after);
  }

  /** Read it anew; gives where its deliveries are. */
  async refresh() {
    const path = `/v1/incidents/${encodeURIComponent(this.id)}`;
    const [incident, alerts] = await Promise.all([
      getIfKnown(path),
      get(`/v1/alerts?state=open&limit=${SHOWN_STOPS}&incident_id=${encodeURIComponent(this.id)}`),
    ]);
    if (!incident) {
      fill(this.facts, head(this.id, this.opens.close), h("p", {}, t("incident.unknown")));
      this.form.hidden = true;
      return null;
    }
    this.draw(incident, alerts.alerts);
    return incident;
  }

  draw(incident, alerts) {
    const ofStops = alerts.filter((alert) => alert.stop_id).sort((a, b) => (b.late?.probability ?? 0) - (a.late?.probability ?? 0));
    fill(this.facts,
      head(title(incident), this.opens.close),
      h("p", {}, stateTag(incident), " ", h("span", { class: `tag ${incident.severity}` }, t(`severity.${incident.severity}`)), " ",
        h("span", { class: "quiet" }, t("incident.since", { time: clock(incident.opened_at) }))),
      h("h3", {}, t("incident.what")),
      h("p", { class: "story" }, h("b", {}, t("incident.customers", { n: incident.alerts.open || incident.affected.stops })),
        meanMinutes(incident) !== null && `, ${t("incident.expected", { n: number(meanMinutes(incident)) })}`,
        incident.affected.route_ids.length > 0 && ` · ${t("incident.routes", { n: incident.affected.route_ids.length })} `,
        incident.affected.route_ids.slice(0, 6).map((id) => [" ", h("button", { class: "plain", type: "button", onclick: () => this.opens.route(id) }, id)])),
      ofStops.length > 0 && ofStops[0].promise && h("p", {}, t("incident.urgent", { id: ofStops[0].stop_id, promised: span(ofStops[0].promise), eta: clock(ofStops[0].eta) })),
      h("h3", {}, t("incident.why")),
      h("p", {}, t(`cause.story.${incident.cause}`, { subject: incident.subject.id })),
      causes(ofStops),
      incident.evidence.length > 0 && h("ul", {}, incident.evidence.slice(0, 4).map((line) => h("li", { class: "quiet" }, evidence(line)))),
      h("h3", {}, t("incident.do")),
      incident.actions.length
        ? h("div", { class: "actions" }, incident.actions.map((action) => h("div", { class: "action" }, h("b", {}, actionName(action)), " ", h("span", { class: "gain" }, gainText(action)), actionText(action))))
        : h("p", {}, t("incident.no_actions")));
    const isOver = incident.state === "resolved";
    this.form.hidden = isOver;
    this.buttons.acknowledge.disabled = incident.state === "acknowledged";
    fill(this.after,
      ofStops.length > 0 && h("h3", {}, `${t("incident.affected")} (${number(incident.alerts.open)})`),
      h("div", { class: "rows" }, ofStops.map((alert) => this.row(alert))),
      h("h3", {}, t("incident.log")),
      h("div", { class: "rows timeline" }, [...incident.transitions].reverse().map((step) => h("div", { class: "row" },
        h("time", { datetime: step.at }, clock(step.at)),
        h("span", {}, t(`incident.state.${step.to}`, { time: clock(incident.snoozed_until) }), " · ", step.who),
        step.why && h("span", { class: "under" }, why(step.why))))));
  }

  row(alert) {
    const late = alert.late;
    return h("button", { class: "row", type: "button", onclick: () => this.opens.stop(alert.stop_id) },
      h("b", {}, alert.stop_id),
      h("span", { class: `risk ${riskClass(late?.probability)}` }, late ? percent(late.probability) : "–"),
      h("span", { class: "under" }, [
        alert.promise && t("late.promised", { span: span(alert.promise) }),
        alert.eta && `${t("chart.legend.median")} ${clock(alert.eta)}`,
        alert.promise && alert.eta && `${signed(minutesBetween(alert.promise.end, alert.eta))} min`,
        alert.main_reason && reasonName(alert.main_reason.code),
      ].filter(Boolean).join(" · ")));
  }

  async take(step) {
    const why = this.note.value.trim();
    if (step === "resolve" && !why) {
      this.say(t("incident.note_needed"), true);
      this.note.focus();
      return;
    }
    for (const button of Object.values(this.buttons)) button.disabled = true;
    try {
      const body = step === "snooze" ? { why, minutes: SNOOZE_MIN } : { why };
      await send("POST", `/v1/incidents/${encodeURIComponent(this.id)}/${step}`, body);
      this.note.value = "";
      this.say("");
    } catch (error) {
      this.say(t("incident.refused", { detail: error.message }), true);
    }
    for (const button of Object.values(this.buttons)) button.disabled = false;
    this.opens.changed();
  }

  say(text, isError = false) {
    this.message.className = isError ? "error" : "quiet";
    this.message.textContent = text;
  }
}

/** What the alerts of its deliveries give as main reason, with the minutes they name on average. */
function causes(alerts) {
  const sums = new Map();
  for (const { main_reason: reason } of alerts) {
    if (!reason) continue;
    const known = sums.get(reason.code) ?? { n: 0, minutes: 0 };
    sums.set(reason.code, { n: known.n + 1, minutes: known.minutes + reason.minutes });
  }
  const ranked = [...sums].sort(([, a], [, b]) => b.n - a.n);
  return ranked.length > 0 && h("p", {}, ranked.slice(0, 2).map(([code, { n, minutes }]) => h("span", { class: "tag medium" }, `${reasonName(code)} +${number(minutes / n)} min`)));
}

/** Why a step was taken: a code of the engine, with how many stops it is about where it says so, or somebody's words. */
function why(text) {
  const [code, n] = text.split(" ");
  return tOr(`why.${code}`, text, { n: Number(n) });
}

/** What a rule saw, in words; the API tells `rule: reason`. */
function evidence(line) {
  return tOr(`evidence.${line.split(":")[0]}`, line);
}

export function actionName(action) {
  return t(`action.${action.kind}`, { route: action.route_id });
}

/** What an action is worth, by the forecaster's own count of late deliveries. */
function gainText(action) {
  const { late_stops: stops, minutes } = action.gain;
  const words = action.kind === "resequence" ? "action.gain" : "action.worth";
  const saved = stops >= 0.95 ? t(words, { n: Math.round(stops) }) : t("action.gain.some");
  return minutes >= 1 ? `${saved} · ${t("action.gain_min", { n: number(minutes) })}` : saved;
}

/** How to do it: the new order, the windows to offer, or whom to tell. */
function actionText(action) {
  const stops = action.windows
    ? action.windows.map((offer) => `${offer.stop_id}: ${span(offer.window)}`)
    : (action.stop_ids ?? []);
  if (!stops.length) return null;
  return h("details", {},
    h("summary", {}, t(`action.how.${action.kind}`, { n: stops.length })),
    h("ol", { class: "how" }, stops.map((line) => h("li", {}, line))));
}

function compare(a, b) {
  const place = a.findIndex((value, n) => value !== b[n]);
  return place < 0 ? 0 : a[place] - b[place];
}
