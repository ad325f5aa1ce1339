// The map: zones, roads, stops and vehicles as GeoJSON that a worker reads and cuts into tiles.

import { get } from "./api.js";
import { fill, h } from "./dom.js";
import { colour, isDark, onTheme } from "./theme.js";
import { clock } from "./times.js";
import { number, percent, t } from "./words.js";

/** The page takes over what the worker has read, which takes a moment for each stop: so many are no trouble. */
const MOST_STOPS = 20_000;
const EMPTY = { type: "FeatureCollection", features: [] };
const LAYERS = {
  stops: ["stops"],
  vehicles: ["vehicles"],
  zones: ["zone-slow"],
  links: ["links"],
};
const AT_RISK = ["coalesce", ["get", "late_probability"], 0];

/** Draw the map; null where this browser cannot, or the library is not installed. */
export async function makeMap({ container, notes, layers, style, onStop, onVehicle }) {
  let library;
  try {
    library = await import("../vendor/maplibre-gl.mjs");
  } catch {
    notes.textContent = t("map.missing");
    return null;
  }
  let map;
  try {
    map = new library.Map({
      container,
      style: style ?? ownStyle(),
      attributionControl: false,
      fadeDuration: 0,
      dragRotate: false,
      pitchWithRotate: false,
      bounds: [4, 51, 6, 53],
    });
  } catch {
    notes.textContent = t("map.no_webgl");
    return null;
  }
  map.addControl(new library.NavigationControl({ showCompass: false }), "top-right");
  if (style) map.addControl(new library.AttributionControl({ compact: true }));
  await new Promise((resolve) => map.once("load", resolve));
  const view = new View(map, library, notes, { ownBase: !style });
  view.listen({ onStop, onVehicle });
  view.controls(layers);
  return view;
}

class View {
  constructor(map, library, notes, { ownBase }) {
    this.map = map;
    this.library = library;
    this.notes = notes;
    this.ownBase = ownBase;
    this.hidden = new Set();
    this.markers = [];
    this.zoneShapes = EMPTY;
    this.addLayers();
    onTheme(() => this.recolour());
  }

  addLayers() {
    const { map } = this;
    const source = (id, more = {}) => map.addSource(id, { type: "geojson", data: EMPTY, ...more });
    for (const id of ["zones", "links", "selected"]) source(id);
    source("stops", { tolerance: 0, buffer: 16, maxzoom: 14 });
    source("vehicles", { tolerance: 0, buffer: 32, maxzoom: 14 });
    for (const layer of layersInColour(this.ownBase)) map.addLayer(layer);
  }

  /** Colours follow the theme; layers keep their data. */
  recolour() {
    for (const layer of layersInColour(this.ownBase)) {
      for (const [name, value] of Object.entries(layer.paint ?? {})) this.map.setPaintProperty(layer.id, name, value);
    }
    if (this.ownBase) this.map.setPaintProperty("ground", "background-color", colour("--map-ground"));
  }

  /** What there is, and where; may be asked again where it failed. */
  async firstLook() {
    const links = await get("/v1/links");
    this.map.getSource("links").setData(links);
    this.box = links.bbox;
    this.showAll(false);
    await Promise.all([this.refreshZones(), this.refreshVehicles()]);
    await this.refreshStops();
    this.map.on("moveend", () => this.refreshStopsSoon());
  }

  showAll(animate = true) {
    if (!this.box) return;
    const [west, south, east, north] = this.box;
    this.map.fitBounds([[west, south], [east, north]], { padding: 40, animate, maxZoom: 15 });
  }

  async refreshZones() {
    this.zoneShapes = await get("/v1/zones");
    this.map.getSource("zones").setData({ ...this.zoneShapes, features: this.zoneShapes.features.filter((zone) => zone.geometry) });
  }

  /** The worker fetches these itself: nothing of it runs where the page is drawn. */
  async refreshVehicles() {
    this.map.getSource("vehicles").setData(new URL("/v1/vehicles?limit=10000", location.href).href);
  }

  async refreshStops() {
    const bounds = this.map.getBounds();
    const wide = (bounds.getEast() - bounds.getWest()) / 4;
    const high = (bounds.getNorth() - bounds.getSouth()) / 4;
    const box = [bounds.getWest() - wide, bounds.getSouth() - high, bounds.getEast() + wide, bounds.getNorth() + high];
    const clipped = [Math.max(-180, box[0]), Math.max(-90, box[1]), Math.min(180, box[2]), Math.min(90, box[3])];
    this.loaded = clipped;
    const url = new URL("/v1/stops", location.href);
    url.searchParams.set("bbox", clipped.map((degree) => degree.toFixed(5)).join(","));
    url.searchParams.set("limit", MOST_STOPS);
    const source = this.map.getSource("stops");
    await source.setData(url.href);
    const { matched, features } = await source.getData();
    fill(this.notes, matched > features.length && t("map.matched", { n: number(features.length), all: number(matched) }));
  }

  /** After a move only if the view has left what was loaded. */
  refreshStopsSoon() {
    clearTimeout(this.soon);
    this.soon = setTimeout(() => {
      const bounds = this.map.getBounds();
      const [west, south, east, north] = this.loaded ?? [0, 0, 0, 0];
      const inside = bounds.getWest() >= west && bounds.getEast() <= east && bounds.getSouth() >= south && bounds.getNorth() <= north;
      if (!inside) this.refreshStops().catch(() => {}); // the next refresh tries again
    }, 250);
  }

  /** Incidents by rank, where their stops are. */
  showIncidents(places, onIncident) {
    for (const marker of this.markers) marker.remove();
    this.markers = places.filter((place) => place.at).map((place) => {
      const element = h("button", { class: place.done ? "marker done" : "marker", type: "button", "aria-label": place.title, onclick: (event) => {
        event.stopPropagation();
        onIncident(place.id);
      } }, String(place.rank));
      return new this.library.Marker({ element }).setLngLat(place.at).addTo(this.map);
    });
  }

  zoneMiddle(zoneId) {
    const zone = this.zoneShapes.features.find((each) => each.id === zoneId);
    if (!zone?.geometry) return null;
    const ring = zone.geometry.coordinates[0].slice(1);
    return [0, 1].map((axis) => ring.reduce((sum, point) => sum + point[axis], 0) / ring.length);
  }

  /** A route as a line through what is left of it, or one stop; null takes it away. */
  select(selection) {
    const features = [];
    if (selection?.line?.length > 1) features.push({ type: "Feature", properties: { kind: "line" }, geometry: { type: "LineString", coordinates: selection.line } });
    for (const point of selection?.points ?? []) features.push({ type: "Feature", properties: { kind: "point" }, geometry: { type: "Point", coordinates: point } });
    this.map.getSource("selected").setData({ type: "FeatureCollection", features });
  }

  goTo(points) {
    if (!points.length) return;
    const box = new this.library.LngLatBounds();
    for (const point of points) box.extend(point);
    const seen = this.map.getBounds();
    if (points.every((point) => seen.contains(point)) && points.length > 1) return;
    this.map.fitBounds(box, { padding: 90, maxZoom: 14 });
  }

  listen({ onStop, onVehicle }) {
    const popup = new this.library.Popup({ closeButton: false, closeOnClick: false, offset: 10 });
    const hover = (layer, describe) => {
      this.map.on("mousemove", layer, (event) => {
        this.map.getCanvas().style.cursor = "pointer";
        popup.setLngLat(event.lngLat).setText(describe(event.features[0].properties)).addTo(this.map);
      });
      this.map.on("mouseleave", layer, () => {
        this.map.getCanvas().style.cursor = "";
        popup.remove();
      });
    };
    hover("stops", (stop) => `${stop.stop_id} · ${stop.late_probability === undefined ? "–" : t("late.probability", { share: percent(stop.late_probability) })} · ${clock(stop.eta)}`);
    hover("vehicles", (vehicle) => `${vehicle.vehicle_id} · ${t("kpi.ahead")}: ${number(vehicle.remaining)} · ${t("kpi.at_risk")}: ${number(vehicle.at_risk)}`);
    this.map.on("click", (event) => {
      const around = [[event.point.x - 4, event.point.y - 4], [event.point.x + 4, event.point.y + 4]];
      const [hit] = this.map.queryRenderedFeatures(around, { layers: ["vehicles", "stops"] });
      if (hit?.layer.id === "vehicles") onVehicle(hit.properties);
      else if (hit) onStop(hit.properties.stop_id);
    });
  }

  controls(fieldset) {
    const box = (name) => {
      const input = h("input", { type: "checkbox", id: `layer-${name}`, checked: true, onchange: () => this.show(name, input.checked) });
      return h("label", { for: `layer-${name}` }, input, t(`map.${name}`));
    };
    const dots = [0, 1, 2, 3].map((step) => h("i", { class: `r${step}` }));
    fieldset.append(
      ...Object.keys(LAYERS).map(box),
      h("div", { class: "scale" }, "0 %", dots, "100 %", h("span", {}, t("map.risk"))),
      h("div", { class: "scale" }, h("i", { class: "slow" }), t("map.slow")),
      h("button", { class: "small", type: "button", onclick: () => this.showAll() }, t("map.fit")),
    );
  }

  show(name, isVisible) {
    for (const layer of LAYERS[name]) this.map.setLayoutProperty(layer, "visibility", isVisible ? "visible" : "none");
  }
}

function ownStyle() {
  return {
    version: 8,
    sources: {},
    layers: [{ id: "ground", type: "background", paint: { "background-color": colour("--map-ground") } }],
  };
}

/** Late risk in colour and in size, so that it is seen without telling colours apart. */
function layersInColour(ownBase) {
  const risk = ["step", AT_RISK, colour("--risk-0"), 0.3, colour("--risk-1"), 0.5, colour("--risk-2"), 0.75, colour("--risk-3")];
  const size = ["interpolate", ["linear"], ["zoom"],
    9, ["step", AT_RISK, 1.6, 0.3, 2.2, 0.5, 3, 0.75, 3.6],
    14, ["step", AT_RISK, 4, 0.3, 5, 0.5, 6.5, 0.75, 7.5]];
  const base = ownBase
    ? [
      { id: "zone-fill", type: "fill", source: "zones", paint: { "fill-color": colour("--map-zone"), "fill-antialias": false } },
      { id: "zone-line", type: "line", source: "zones", paint: { "line-color": colour("--map-zone-line"), "line-width": 1 } },
    ]
    : [];
  return [
    ...base,
    { id: "links", type: "line", source: "links", filter: ["==", ["get", "kind"], "link"], layout: { "line-cap": "round" },
      paint: { "line-color": colour("--map-link"), "line-width": ["interpolate", ["linear"], ["get", "drives"], 2, 0.8, 60, 3.5] } },
    { id: "zone-slow", type: "fill", source: "zones",
      paint: { "fill-color": colour("--slow"), "fill-opacity": ["interpolate", ["linear"], ["coalesce", ["get", "slowdown"], 0], 0.25, 0, 0.8, isDark() ? 0.6 : 0.5], "fill-antialias": false } },
    { id: "depots", type: "circle", source: "links", filter: ["==", ["get", "kind"], "depot"],
      paint: { "circle-radius": 7, "circle-color": colour("--map-depot"), "circle-stroke-color": colour("--halo"), "circle-stroke-width": 2 } },
    { id: "selected-line", type: "line", source: "selected", filter: ["==", ["get", "kind"], "line"], layout: { "line-cap": "round", "line-join": "round" },
      paint: { "line-color": colour("--accent"), "line-width": 2.5, "line-dasharray": [1.5, 1.5] } },
    { id: "stops", type: "circle", source: "stops", layout: { "circle-sort-key": AT_RISK },
      paint: { "circle-color": risk, "circle-radius": size } },
    { id: "vehicles", type: "circle", source: "vehicles", layout: { "circle-sort-key": ["get", "at_risk"] },
      paint: { "circle-radius": ["interpolate", ["linear"], ["zoom"], 9, 3.5, 14, 7], "circle-color": colour("--vehicle"),
        "circle-stroke-width": ["case", [">", ["get", "at_risk"], 0], 3, 1.5], "circle-stroke-color": ["case", [">", ["get", "at_risk"], 0], colour("--risk-2"), colour("--halo")] } },
    { id: "selected-point", type: "circle", source: "selected", filter: ["==", ["get", "kind"], "point"],
      paint: { "circle-radius": 11, "circle-color": "rgba(0,0,0,0)", "circle-stroke-color": colour("--accent"), "circle-stroke-width": 3 } },
  ];
}
