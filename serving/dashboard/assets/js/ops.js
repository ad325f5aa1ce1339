// The ops room: what is wrong on the left, where in the middle, and one thing in depth on the right.

import { get, Refused } from "./api.js";
import { byId, fill, h } from "./dom.js";
import { incidentCards, IncidentDetail, loadIncidents, title } from "./incidents.js";
import { makeMap } from "./map.js";
import { signedIn, signOut } from "./session.js";
import { routeDetail, stopDetail, stopRow } from "./stop.js";
import { follow } from "./stream.js";
import { onTheme, themeControl } from "./theme.js";
import { clock, clockSeconds, day, depotZone, setDepotZone, showViewerZone, VIEWER, zoneName } from "./times.js";
import { kpis, todayPanel, weatherLine } from "./today.js";
import { languageControl, loadWords, t, translate } from "./words.js";

const EVERY_MS = 10_000;
const VEHICLES_EVERY_MS = 5_000;
const STOPS_EVERY_MS = 20_000;
const SETTLE_MS = 700;
const LATE_STOPS = 60;

const room = { tab: "incidents", incidents: [], today: null, summary: null, map: null, detail: null, opening: null, showResolved: false, viewerZone: false, staleSince: null };
window.punctual = room;

const opens = {
  stop: (id) => go("stop", id),
  route: (id) => go("route", id),
  incident: (id) => go("incident", id),
  close: () => { location.hash = ""; },
  changed: () => attempt(refreshIncidents).then(() => attempt(refreshDetail)),
};

await start();

async function start() {
  await loadWords();
  translate();
  document.title = `Punctual · ${t("ops.title")}`;
  themeControl(byId("theme"));
  languageControl(byId("language"));
  const session = await signedIn();
  byId("sign-out").hidden = session.csrf_token === null;
  byId("sign-out").addEventListener("click", signOut);
  byId("rooms").hidden = false;
  byId("clock").addEventListener("click", switchZone);
  for (const tab of document.querySelectorAll("[role=tab]")) tab.addEventListener("click", () => choose(tab));
  byId("tab-incidents").parentElement.addEventListener("keydown", moveTab);
  addEventListener("hashchange", openFromHash);
  onTheme(() => openFromHash());
  await untilDone(refreshToday);
  await untilDone(refreshIncidents);
  listen();
  setInterval(() => attempt(refreshToday).then(() => attempt(refreshIncidents)), EVERY_MS);
  if (!location.hash && room.incidents.length) history.replaceState(null, "", `#/incident/${encodeURIComponent(room.incidents[0].incident_id)}`);
  openFromHash();
  await startMap();
}

async function startMap() {
  let style;
  await untilDone(async () => { ({ basemap_style: style } = await get("/ops/settings")); });
  const map = await makeMap({
    container: byId("map"), notes: byId("map-notes"), layers: byId("layers"), style,
    onStop: opens.stop, onVehicle: (vehicle) => vehicle.route_id && opens.route(vehicle.route_id),
  });
  if (!map) return;
  await untilDone(() => map.firstLook());
  room.map = map;
  setInterval(() => attempt(() => room.map.refreshVehicles()), VEHICLES_EVERY_MS);
  setInterval(() => attempt(() => room.map.refreshStops()), STOPS_EVERY_MS);
  showOnMap();
  room.detail?.onMap?.();
}

/** Hear what happens; several events in a moment are one reason to look again. */
function listen() {
  let settling = null;
  const lookAgain = () => {
    settling ??= setTimeout(async () => {
      settling = null;
      await attempt(refreshIncidents);
      await attempt(refreshToday);
      attempt(refreshDetail);
    }, SETTLE_MS);
  };
  room.stream = follow("/v1/stream", {
    onEvent: (type, event) => {
      room.lastEvent = event;
      lookAgain();
    },
    onGap: () => {
      lookAgain();
      attempt(() => room.map?.refreshStops());
    },
    onState: (state) => {
      if (state === "connected" && byId("state").dataset.state !== "connected") lookAgain();
      if (state === "stale") room.staleSince ??= Date.now();
      else room.staleSince = null;
      room.streamState = state;
      showState();
    },
  });
}

/** Connected, and with the engine level with the log; else catching up, or stale. */
function showState() {
  const isBehind = (room.summary?.behind ?? 0) > 500;
  const state = room.streamState === "connected" && isBehind ? "catching_up" : room.streamState ?? "catching_up";
  const element = byId("state");
  if (element.dataset.state === state && element.textContent) return;
  element.dataset.state = state;
  element.textContent = t(`state.${state}`, { time: room.staleSince ? clockSeconds(room.staleSince, VIEWER) : "" });
}

async function refreshToday() {
  const [today, summary] = await Promise.all([get("/v1/today"), get("/v1/summary")]);
  Object.assign(room, { today, summary });
  setDepotZone(today.timezone);
  fill(byId("kpis"), kpis(today));
  fill(byId("weather"), weatherLine(today));
  showClock();
  showState();
  if (room.tab === "today") drawList();
  if (room.map) attempt(() => room.map.refreshZones());
}

async function refreshIncidents() {
  room.incidents = await loadIncidents(room.showResolved);
  if (room.tab === "incidents") drawList();
  showOnMap();
}

async function refreshDetail() {
  if (room.detail instanceof IncidentDetail) await room.detail.refresh();
}

function drawList() {
  const list = byId("list");
  if (room.tab === "incidents") {
    const box = h("input", { type: "checkbox", id: "show-resolved", checked: room.showResolved, onchange: () => {
      room.showResolved = box.checked;
      attempt(refreshIncidents);
    } });
    fill(list, incidentCards(room.incidents, selected("incident"), opens.incident), h("p", {}, h("label", {}, box, " ", t("incidents.filter.all"))));
  } else if (room.tab === "today") {
    fill(list, todayPanel(room.today, room.summary));
  } else {
    attempt(drawLate);
  }
}

async function drawLate() {
  const found = await get(`/v1/stops?limit=${LATE_STOPS}`);
  const stops = found.features.map((feature) => feature.properties).filter((stop) => stop.state === "ahead" && (stop.late_probability ?? 0) >= 0.3);
  if (room.tab !== "late") return;
  fill(byId("list"), h("h2", {}, t("late.title")), stops.length ? h("div", { class: "rows" }, stops.map((stop) => stopRow(stop, opens))) : h("p", { class: "quiet" }, t("late.none")));
}

/** Incidents on the map by rank: at the zone they are about, else in the middle of their deliveries' zones. */
function showOnMap() {
  if (!room.map) return;
  const places = room.incidents.map((incident, place) => {
    const zones = incident.subject.kind === "zone" ? [incident.subject.id] : incident.affected.zone_ids;
    const middles = zones.map((zone) => room.map.zoneMiddle(zone)).filter(Boolean);
    const at = middles.length ? [0, 1].map((axis) => middles.reduce((sum, middle) => sum + middle[axis], 0) / middles.length) : null;
    return { id: incident.incident_id, rank: place + 1, title: title(incident), done: incident.state !== "open", at };
  });
  room.map.showIncidents(places, opens.incident);
}

function openFromHash() {
  const [, kind, id] = location.hash.split("/").map(decodeURIComponent);
  const open = { stop: openStop, route: openRoute, incident: openIncident }[kind];
  if (room.tab === "incidents") drawList();
  if (open && id) attempt(() => open(id));
  else showDetail(h("p", { class: "quiet" }, t("detail.nothing")), null);
}

async function openStop(id) {
  const { element, place } = await stopDetail(id, opens);
  if (selected("stop") !== id) return;
  showDetail(element, { onMap: () => place && show({ points: [place] }) });
}

async function openRoute(id) {
  const { element, line } = await routeDetail(id, opens);
  if (selected("route") !== id) return;
  showDetail(element, { onMap: () => show({ line, points: line.slice(0, 1) }, line) });
}

async function openIncident(id) {
  // Asked for twice at once, it is still one: a second would take the note away that is being written in the first.
  const known = [room.detail, room.opening].find((detail) => detail instanceof IncidentDetail && detail.id === id);
  if (known) return known.refresh();
  const detail = new IncidentDetail(id, opens);
  room.opening = detail;
  try {
    await detail.refresh();
  } finally {
    if (room.opening === detail) room.opening = null;
  }
  if (selected("incident") !== id) return;
  showDetail(detail.element, detail);
}

function show(selection, points = selection.points) {
  room.map.select(selection);
  room.map.goTo(points);
}

function showDetail(element, detail) {
  room.detail = detail;
  fill(byId("detail"), element);
  byId("detail").scrollTop = 0;
  room.map?.select(null);
  if (room.map) detail?.onMap?.();
}

function selected(kind) {
  const [, asked, id] = location.hash.split("/").map(decodeURIComponent);
  return asked === kind ? id : null;
}

function go(kind, id) {
  location.hash = `#/${kind}/${encodeURIComponent(id)}`;
}

function choose(tab) {
  for (const each of document.querySelectorAll("[role=tab]")) {
    each.setAttribute("aria-selected", String(each === tab));
    each.tabIndex = each === tab ? 0 : -1;
  }
  room.tab = tab.id.replace("tab-", "");
  byId("list").setAttribute("aria-labelledby", tab.id);
  drawList();
}

function moveTab(event) {
  const tabs = [...document.querySelectorAll("[role=tab]")];
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!step) return;
  const next = tabs[(tabs.indexOf(document.activeElement) + step + tabs.length) % tabs.length];
  next.focus();
  choose(next);
}

function switchZone() {
  room.viewerZone = !room.viewerZone;
  showViewerZone(room.viewerZone);
  showClock();
  drawList();
  room.detail = null;
  openFromHash();
}

function showClock() {
  const where = room.viewerZone ? VIEWER : depotZone();
  const name = t(room.viewerZone ? "clock.viewer" : "clock.depot", { place: zoneName(where) });
  fill(byId("clock"), h("strong", {}, clock(room.today.as_of, where)), h("span", {}, `${day(room.today.as_of, where)} · ${name}`));
}

/** Do something as often as it takes, also while the service is away. */
async function untilDone(action) {
  while (!(await attempt(action))) await new Promise((again) => setTimeout(again, SETTLE_MS));
}

/** Do something that may fail while the service is away; what is shown stays. Gives whether it was done. */
async function attempt(action) {
  try {
    await action();
    byId("map-notes").dataset.failed && fill(byId("map-notes"));
    delete byId("map-notes").dataset.failed;
    return true;
  } catch (error) {
    if (error instanceof Refused && error.status === 401) location.reload();
    byId("map-notes").dataset.failed = "yes";
    fill(byId("map-notes"), t("error.load", { detail: error.message }));
    return false;
  }
}
