// What the right side shows of one stop or one route.

import { get, getIfKnown, send } from "./api.js";
import { h } from "./dom.js";
import { fanChart } from "./fan.js";
import { clock, day, minutesBetween, signed, span } from "./times.js";
import { number, percent, t, tOr } from "./words.js";

const HISTORY = 500;
const CHANGED = "eta.window.changed";

/** Everything about a stop; `opens` are the ways on from here. */
export async function stopDetail(stopId, opens) {
  const path = `/v1/stops/${encodeURIComponent(stopId)}`;
  const [stop, forecast, history, timeline, scored] = await Promise.all([
    get(path),
    getIfKnown(`${path}/eta`),
    getIfKnown(`${path}/history?limit=${HISTORY}`),
    get(`${path}/timeline?limit=200`),
    send("POST", "/v1/eta", { stop_ids: [stopId], reasons: true }).catch(() => null),
  ]);
  const live = scored?.forecasts[0];
  const now = live && "eta" in live ? live : forecast;
  const isOpen = stop.state === "ahead";
  const told = timeline.timeline.filter((line) => line.kind === CHANGED).reverse()
    .map((line) => ({ at: line.known_at, before: line.data.before, now: line.data.now, why: line.data.reason, reasons: line.data.reasons ?? [] }));
  return {
    place: stop.position && [stop.position.lon, stop.position.lat],
    element: h("article", {},
      head(t("stop.title", { id: stop.stop_id }), opens.close),
      h("p", {}, t("stop.on_route", { n: stop.sequence }), " ",
        h("button", { class: "plain", type: "button", onclick: () => opens.route(stop.route_id) }, stop.route_id)),
      facts(stop, isOpen ? now : null),
      isOpen && now && reasonsSection(now.reasons),
      linkMaker(stop.stop_id),
      h("h3", {}, t("stop.chart")),
      await fanChart(history?.forecasts ?? [], stop, told),
      h("h3", {}, t("stop.moves")),
      told.length ? moves(told) : h("p", { class: "quiet" }, t("stop.moves.none")),
      h("h3", {}, t("stop.timeline")),
      timelineList(timeline.timeline)),
  };
}

/** Everything about a route. */
export async function routeDetail(routeId, opens) {
  const path = `/v1/routes/${encodeURIComponent(routeId)}`;
  const [route, timeline] = await Promise.all([get(path), get(`${path}/timeline?limit=200`)]);
  const done = route.stops.filter((stop) => stop.state !== "ahead").length;
  const ahead = route.stops.filter((stop) => stop.state === "ahead" || stop.state === "at_door");
  const line = ahead.filter((stop) => stop.position).map((stop) => [stop.position.lon, stop.position.lat]);
  return {
    line,
    element: h("article", {},
      head(t("route.title", { id: route.route_id }), opens.close),
      h("p", {}, h("strong", {}, slip(route)), " · ", t("route.progress", { done: number(done), all: number(route.stops.length) })),
      h("p", { class: "quiet" }, [
        route.vehicle_id && t("route.vehicle", { id: route.vehicle_id }),
        route.courier_id && t("route.courier", { id: route.courier_id }),
        route.planned_departure_at && day(route.planned_departure_at),
      ].filter(Boolean).join(" · ")),
      h("h3", {}, t("route.stops")),
      h("div", { class: "rows" }, route.stops.filter((stop) => stop.state === "ahead" || stop.state === "at_door").map((stop) => stopRow(stop, opens))),
      h("h3", {}, t("stop.timeline")),
      timelineList(timeline.timeline, true)),
  };
}

/** A line about a stop ahead, which opens it. */
export function stopRow(stop, opens) {
  const risk = stop.late_probability;
  return h("button", { class: "row", type: "button", onclick: () => opens.stop(stop.stop_id) },
    h("b", {}, stop.stop_id),
    h("span", { class: `risk ${riskClass(risk)}` }, risk === null || risk === undefined ? "–" : percent(risk)),
    h("span", { class: "under" }, [
      stop.promise && t("late.promised", { span: span(stop.promise.first) }),
      stop.eta && `${t("chart.legend.median")} ${clock(stop.eta)}`,
      stop.promise && stop.eta && new Date(stop.eta) > new Date(stop.promise.first.end) && `${signed(minutesBetween(stop.promise.first.end, stop.eta))} min`,
    ].filter(Boolean).join(" · ")));
}

export function riskClass(probability) {
  if (probability === null || probability === undefined || probability < 0.3) return "r0";
  return probability < 0.5 ? "r1" : probability < 0.75 ? "r2" : "r3";
}

export function head(title, close) {
  return h("div", { class: "detail-head" }, h("h2", {}, title), h("button", { class: "small", type: "button", onclick: close }, t("detail.close")));
}

/** Causes as bars, dearest first. */
export function reasonsSection(reasons) {
  const shown = (reasons ?? []).filter((reason) => reason.minutes >= 0.5);
  const most = Math.max(1, ...shown.map((reason) => reason.minutes));
  return [
    h("h3", {}, t("stop.reasons")),
    shown.length
      ? h("div", { class: "bars" }, shown.map((reason) => [
        h("span", {}, reasonName(reason.code)),
        h("span", { class: "bar-track" }, h("span", { class: "bar-fill", style: { width: `${(100 * reason.minutes) / most}%` } })),
        h("span", { class: "number" }, `+${number(reason.minutes)} min`),
      ]))
      : h("p", { class: "quiet" }, t("stop.reasons.none")),
  ];
}

export function reasonName(code) {
  return tOr(`reason.${code}`, String(code).toLowerCase().replaceAll("_", " "));
}

function facts(stop, forecast) {
  const late = forecast?.late;
  const rows = [
    [t(`stop.state.${stop.state}`), stop.reached_at ? clock(stop.reached_at) : t("stop.before", { n: stop.stops_before }), isLate(stop)],
    stop.promise && [t("stop.promise"), span(stop.promise.first)],
    stop.promise?.revisions > 0 && [t("stop.told"), span(stop.promise.told)],
    forecast && [t("stop.expected"), `${span(forecast.window)} · ${clock(forecast.eta)}`],
    late && [t("stop.late"), `${percent(late.probability)} · ${t("stop.minutes", { n: number(late.expected_minutes) })}`, late.probability >= 0.5],
    forecast && [t("stop.confidence"), [t(`confidence.${forecast.confidence.level}`), ...forecast.confidence.reasons.map((code) => tOr(`confidence.${code}`, code))].join(" · ")],
  ];
  return h("dl", { class: "facts" }, rows.filter(Boolean).map(([name, value, isBad]) => [h("dt", {}, name), h("dd", { class: isBad ? "bad" : null }, value)]));
}

/** Makes the signed link that the customer of a stop is sent. */
function linkMaker(stopId) {
  const place = h("p", {});
  const button = h("button", { class: "small", type: "button", onclick: async () => {
    try {
      const link = await send("POST", `/v1/stops/${encodeURIComponent(stopId)}/link`);
      place.replaceChildren(h("a", { href: link.path, target: "_blank", rel: "noopener" }, t("stop.link.made", { time: `${day(link.expires_at)}, ${clock(link.expires_at)}` })));
    } catch (error) {
      place.append(" ", h("span", { class: "error" }, error.message));
    }
  } }, t("stop.link"));
  place.append(button);
  return place;
}

function isLate(stop) {
  return Boolean(stop.reached_at && stop.promise && new Date(stop.reached_at) > new Date(stop.promise.first.end));
}

function moves(told) {
  return h("div", { class: "rows timeline" }, told.map((change) => h("div", { class: "row" },
    h("time", { datetime: change.at }, clock(change.at)),
    h("span", {}, t("stop.moved", { before: span(change.before), now: span(change.now) })),
    h("span", { class: "under" }, [tOr(`revise.${change.why}`, change.why), ...change.reasons.slice(0, 2).map((reason) => `${reasonName(reason.code)} +${number(reason.minutes)} min`)].join(" · ")))));
}

function timelineList(lines, withStop = false) {
  return h("div", { class: "rows timeline" }, lines.map((line) => h("div", { class: "row" },
    h("time", { datetime: line.occurred_at }, clock(line.occurred_at)),
    h("span", {}, tOr(`event.${line.kind}`, line.kind), withStop && line.stop_id ? ` · ${line.stop_id}` : "", toldText(line)))));
}

function toldText(line) {
  if (line.kind === CHANGED) return ` · ${span(line.data.now)}`;
  const reason = line.data?.main_reason;
  return reason ? ` · ${reasonName(reason.code)} +${number(reason.minutes)} min` : "";
}

function slip(route) {
  if (!route.has_departed) return t("route.waiting");
  if (route.slip_s === null || Math.abs(route.slip_s) < 120) return t("route.on_plan");
  const minutes = number(Math.abs(route.slip_s) / 60);
  return route.slip_s > 0 ? t("route.slip", { n: minutes }) : t("route.ahead_of_plan", { n: minutes });
}
