// How the day goes, and how far what is shown can be trusted.

import { h } from "./dom.js";
import { age, clock } from "./times.js";
import { number, percent, t, tOr } from "./words.js";

/** Feeds that live forecasts lean on, and when each counts as old, in seconds. */
const LIVE_FEEDS = { pings: 300, stop_events: 1800, traffic: 900, weather: 10_800, depots: 3600, promises: null, stops: null, routes: null };

/** Figures for the bar at the top. */
export function kpis(today) {
  const { stops } = today;
  const share = stops.expected_on_time_share;
  const figure = (value, label, isBad = false) => h("div", { class: isBad ? "kpi bad" : "kpi" }, h("strong", {}, value), label);
  return [
    figure(share === null ? "–" : percent(share, 1), t("kpi.on_time"), share !== null && share < 0.9),
    figure(number(stops.at_risk), t("kpi.at_risk"), stops.at_risk > 0),
    figure(number(stops.late + stops.missed), t("kpi.late")),
    figure(number(stops.ahead), t("kpi.ahead")),
  ];
}

/** The tab "today and trust". */
export function todayPanel(today, summary) {
  return h("div", {}, onTime(today), windows(today.windows), alerts(today.alerts), feeds(today.feeds), model(today, summary), weather(today));
}

/** The weather of the hour, in a line. */
export function weatherLine(today) {
  const now = nearest(today);
  if (!now) return t("weather.none");
  const measured = { temperature: number(now.temperature_c ?? 0), rain: number(now.precipitation_mm ?? 0, 1), wind: number(now.wind_mps ?? 0) };
  return t("weather.now", measured) + (now.snow_cm ? ` · ${t("weather.snow", { snow: number(now.snow_cm, 1) })}` : "");
}

function nearest(today) {
  const at = new Date(today.as_of).getTime();
  const known = today.weather.filter((hour) => new Date(hour.valid_at).getTime() <= at);
  return known.sort((a, b) => new Date(b.valid_at) - new Date(a.valid_at) || (a.kind === "observed" ? -1 : 1))[0];
}

function onTime({ stops }) {
  const share = stops.expected_on_time_share;
  const promised = stops.on_time + stops.late + stops.missed + stops.ahead;
  return h("section", {},
    h("h3", {}, t("today.on_time")),
    h("p", { class: "big" }, share === null ? "–" : percent(share, 1)),
    h("p", { class: "quiet" }, t("today.on_time.text", {
      expected: number(promised - stops.expected_late), n: number(promised), late: number(stops.late + stops.missed), ahead: number(stops.ahead),
    })));
}

function windows(rows) {
  const header = ["ahead", "promised", "covered", "width", "n"].map((name, place) => h("th", { scope: "col", class: place ? "number" : null }, t(`today.windows.head.${name}`)));
  const cell = (text) => h("td", { class: "number" }, text);
  return h("section", {},
    h("h3", {}, t("today.windows")),
    rows.length
      ? h("table", {}, h("thead", {}, h("tr", {}, header)), h("tbody", {}, rows.map((row) => h("tr", {},
        h("td", {}, t("today.windows.row", { n: row.ahead_min })), cell(percent(row.promised)), cell(percent(row.covered, 1)), cell(number(row.width_min)), cell(number(row.windows))))))
      : h("p", { class: "quiet" }, t("today.windows.none")));
}

function alerts(counts) {
  const values = { right: number(counts.came_true), decided: number(counts.decided), raised: number(counts.raised), share: counts.precision === null ? "–" : percent(counts.precision) };
  return h("section", {},
    h("h3", {}, t("today.alerts")),
    h("p", {}, counts.decided ? t("today.alerts.text", values) : t("today.alerts.none", values)),
    counts.mean_lead_min !== null && h("p", { class: "quiet" }, t("today.alerts.lead", { n: number(counts.mean_lead_min) })));
}

function feeds(known) {
  const rows = Object.keys(LIVE_FEEDS).filter((feed) => feed in known).map((feed) => {
    const limit = LIVE_FEEDS[feed];
    const isOld = limit !== null && known[feed].age_s > limit;
    return h("tr", {}, h("td", {}, tOr(`feed.${feed}`, feed)),
      h("td", { class: "number" }, h("span", { class: isOld ? "tag high" : limit === null ? "tag" : "tag ok" }, t("today.feeds.age", { age: age(known[feed].age_s) }))));
  });
  return h("section", {}, h("h3", {}, t("today.feeds")), h("table", {}, h("tbody", {}, rows)));
}

function model({ model: serving }, summary) {
  return h("section", {},
    h("h3", {}, t("today.model")),
    h("p", {}, serving ? t("today.model.text", serving) : t("today.model.none")),
    summary.behind > 0 && h("p", { class: "quiet" }, t("today.behind", { n: summary.behind })));
}

function weather(today) {
  const at = new Date(today.as_of).getTime();
  const ahead = new Map();
  for (const hour of today.weather) {
    if (new Date(hour.valid_at).getTime() + 3_600_000 <= at) continue;
    if (!ahead.has(hour.valid_at) || hour.kind === "observed") ahead.set(hour.valid_at, hour);
  }
  const rows = [...ahead.values()].slice(0, 6).map((hour) => h("tr", {},
    h("td", {}, clock(hour.valid_at)),
    h("td", { class: "number" }, `${number(hour.temperature_c ?? 0)} °C`),
    h("td", { class: "number" }, `${number(hour.precipitation_mm ?? 0, 1)} mm`),
    h("td", { class: "number" }, `${number(hour.wind_mps ?? 0)} m/s`)));
  return rows.length ? h("section", {}, h("h3", {}, t("today.weather")), h("table", {}, h("tbody", {}, rows))) : null;
}
