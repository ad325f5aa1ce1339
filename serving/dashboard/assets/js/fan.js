// The fan chart: over the day, when the arrival was expected, how sure that was, and what was promised.

import { h } from "./dom.js";
import { colour } from "./theme.js";
import { clock, span } from "./times.js";
import { t } from "./words.js";

const STEPS_S = [60, 120, 300, 600, 900, 1800, 3600, 7200, 14400];
const seconds = (instant) => new Date(instant).getTime() / 1000;

/** Draw the kept forecasts of a stop, the newest first as the API gives them; gives the element. */
export async function fanChart(forecasts, stop, told) {
  if (!forecasts.length) return h("p", { class: "quiet" }, t("stop.chart.none"));
  let uPlot;
  try {
    uPlot = (await import("../vendor/uPlot.esm.js")).default;
  } catch {
    return h("p", { class: "quiet" }, t("stop.chart.missing"));
  }
  const kept = [...forecasts].reverse();
  const data = columns(kept);
  const figure = h("figure", { class: "chart", role: "img", "aria-label": summary(kept, stop) });
  const hours = seconds(kept.at(-1).as_of) - seconds(kept[0].as_of);
  const options = {
    width: 396,
    height: 220,
    cursor: { y: false, points: { show: false } },
    legend: { show: false },
    scales: { x: { time: false, range: [data[0][0] - hours * 0.02 - 30, data[0].at(-1) + hours * 0.03 + 30] }, y: { time: false, range: yRange(data, stop, told) } },
    axes: [axis({ space: 60 }), axis({ side: 3, size: 46, space: 34 })],
    series: [{}, ...series()],
    bands: [
      { series: [5, 1], fill: colour("--band") },
      { series: [4, 2], fill: colour("--band-inner") },
    ],
    hooks: { drawAxes: [(plot) => drawPromise(plot, stop)], draw: [(plot) => drawTold(plot, stop, told)] },
  };
  const plot = new uPlot(options, data, figure);
  new ResizeObserver(([entry]) => {
    if (entry.contentRect.width > 50) plot.setSize({ width: Math.floor(entry.contentRect.width), height: 220 });
  }).observe(figure);
  return h("div", {}, figure, legend(stop));
}

export function columns(kept) {
  const quantile = (name) => kept.map((forecast) => seconds(forecast.quantiles[name]));
  return [kept.map((forecast) => seconds(forecast.as_of)), quantile("p05"), quantile("p25"), quantile("p50"), quantile("p75"), quantile("p95")];
}

function series() {
  const edge = { stroke: "transparent", width: 0, points: { show: false } };
  const median = { stroke: colour("--accent"), width: 2, points: { show: false } };
  return [edge, edge, median, edge, edge];
}

function axis(more) {
  return {
    stroke: colour("--quiet"),
    grid: { stroke: colour("--line"), width: 1 },
    ticks: { show: false },
    incrs: STEPS_S,
    font: "12px system-ui, sans-serif",
    values: (_, ticks) => ticks.map((tick) => clock(tick * 1000)),
    ...more,
  };
}

function yRange(data, stop, told) {
  const marks = [data[1], data[5]].flat();
  if (stop.promise) marks.push(seconds(stop.promise.first.start), seconds(stop.promise.first.end));
  if (stop.reached_at) marks.push(seconds(stop.reached_at));
  for (const change of told) marks.push(seconds(change.now.start), seconds(change.now.end));
  const low = Math.min(...marks);
  const high = Math.max(...marks);
  return [low - 300, high + 300];
}

function drawPromise(plot, stop) {
  if (!stop.promise) return;
  const { ctx, bbox } = plot;
  const top = plot.valToPos(seconds(stop.promise.first.end), "y", true);
  const bottom = plot.valToPos(seconds(stop.promise.first.start), "y", true);
  ctx.save();
  ctx.fillStyle = colour("--ok-soft");
  ctx.fillRect(bbox.left, top, bbox.width, bottom - top);
  ctx.strokeStyle = colour("--ok");
  ctx.lineWidth = 2;
  ctx.strokeRect(bbox.left, top, bbox.width, 0);
  ctx.strokeRect(bbox.left, bottom, bbox.width, 0);
  ctx.restore();
}

/** Windows told later as steps from when they were told, and when the stop was reached. */
function drawTold(plot, stop, told) {
  const { ctx, bbox } = plot;
  ctx.save();
  ctx.strokeStyle = colour("--watch");
  ctx.lineWidth = 2;
  ctx.setLineDash([5, 4]);
  told.forEach((change, place) => {
    const left = Math.max(bbox.left, plot.valToPos(seconds(change.at), "x", true));
    const next = told[place + 1];
    const right = next ? plot.valToPos(seconds(next.at), "x", true) : bbox.left + bbox.width;
    for (const edge of [change.now.start, change.now.end]) {
      const y = plot.valToPos(seconds(edge), "y", true);
      ctx.beginPath();
      ctx.moveTo(left, y);
      ctx.lineTo(Math.max(left, right), y);
      ctx.stroke();
    }
  });
  if (stop.reached_at) {
    const y = plot.valToPos(seconds(stop.reached_at), "y", true);
    ctx.setLineDash([]);
    ctx.strokeStyle = colour("--ink");
    ctx.beginPath();
    ctx.moveTo(bbox.left, y);
    ctx.lineTo(bbox.left + bbox.width, y);
    ctx.stroke();
  }
  ctx.restore();
}

function legend(stop) {
  const entry = (key, style) => h("span", {}, h("i", { style }), t(`chart.legend.${key}`));
  return h("div", { class: "legend" },
    entry("median", { background: "var(--accent)", height: "3px" }),
    entry("half", { background: "var(--band-inner)" }),
    entry("ninety", { background: "var(--band)" }),
    stop.promise && entry("promise", { background: "var(--ok-soft)", "border-top": "2px solid var(--ok)" }),
    stop.promise?.revisions > 0 && entry("told", { "border-top": "2px dashed var(--watch)", height: "0" }),
    stop.reached_at && entry("reached", { background: "var(--ink)", height: "2px" }));
}

function summary(kept, stop) {
  const [first, last] = [kept[0], kept.at(-1)];
  return t("stop.chart.summary", { first: clock(first.eta), last: clock(last.eta), from: clock(first.as_of), to: clock(last.as_of), promise: span(stop.promise?.first) });
}
