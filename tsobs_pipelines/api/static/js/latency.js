// The latency chart: the mean with the band from minimum to maximum, and what a line can't say drawn behind it.

import { timeAxis } from "./axis.js";
import { ms, momentOf, percent, span, stateOf } from "./format.js";
import { line } from "./series.js";
import { colours, hatch, onThemeChange } from "./theme.js";

const LOSS_HEIGHT = 22; // px of a bar at 100 % loss; the least is drawn 3 px high, for one lost ping must be seen
const NOT_CUT = 0.995;
const MARKS_HEIGHT = 20; // px above the picture, for the marks of incidents

export class LatencyChart {
  constructor(canvas) {
    this.series = null;
    this.limit = null;
    this.colour = colours();
    const behind = { id: "behind", beforeDatasetsDraw: (chart) => this.drawBehind(chart), afterDatasetsDraw: (chart) => this.drawAbove(chart) };
    this.chart = new Chart(canvas, { type: "line", data: { datasets: [] }, options: this.options(), plugins: [behind] });
    onThemeChange(() => this.redress());
  }

  /** Show a series (see series.js) and the limit of its alert, in ms. */
  show(series, limit) {
    this.series = series;
    this.limit = limit;
    const { x, y } = this.chart.options.scales;
    x.min = series.start;
    x.max = series.end;
    y.max = this.top();
    const values = ["latency_min", "latency_max", "latency_ms"].map((field) => line(series, field));
    const [low, high, mean] = this.chart.data.datasets.length ? this.chart.data.datasets : this.newDatasets();
    [low.data, high.data, mean.data] = values;
    // A round between two gaps has no line: it is drawn as a point.
    mean.pointRadius = values[2].map((_, place, all) => (alone(all, place) ? 1.5 : 0));
    this.chart.update("none");
  }

  newDatasets() {
    const plain = { borderWidth: 0, pointRadius: 0, pointHoverRadius: 0, parsing: false, normalized: true };
    this.chart.data.datasets = [
      { ...plain, label: "minimum" },
      { ...plain, label: "maximum", fill: 0 },
      // What has not been collected yet is dashed.
      { ...plain, label: "mean", borderWidth: 1.75, borderJoinStyle: "round", pointHoverRadius: 4, segment: { borderDash: ({ p1 }) => (p1.parsed.x >= this.series.freshFrom ? [3, 3] : undefined) } },
    ];
    this.dress();
    return this.chart.data.datasets;
  }

  dress() {
    const [, high, mean] = this.chart.data.datasets;
    high.backgroundColor = this.colour.band;
    mean.borderColor = mean.pointBackgroundColor = mean.backgroundColor = this.colour.accent;
  }

  redress() {
    this.colour = colours();
    const { min, max } = this.chart.options.scales.x;
    this.chart.options = this.options();
    Object.assign(this.chart.options.scales.x, { min, max });
    if (this.series) {
      this.chart.options.scales.y.max = this.top();
      this.dress();
    }
    this.chart.update("none");
  }

  /** The upper end of the axis: single slow pings may be cut off (the figures below name the highest). */
  top() {
    const means = this.series.points.map((point) => point.latency_ms ?? 0);
    const highs = this.series.points.map((point) => point.latency_max ?? 0).sort((a, b) => a - b);
    const most = Math.max(1, ...means, highs[Math.floor(highs.length * NOT_CUT)] ?? 0);
    const limit = this.limit !== null && most > this.limit * 0.6 ? this.limit : 0;
    return Math.max(most, limit) * 1.12;
  }

  /** Where two times are from left to right, in px of the canvas; null when they are outside of the picture. */
  place(from, until) {
    const { chartArea: area, scales: { x } } = this.chart;
    if (!area || !x || until < x.min || from > x.max) return null;
    const [left, right] = [Math.max(area.left, x.getPixelForValue(from)), Math.min(area.right, x.getPixelForValue(until))];
    return [left, right];
  }

  /** Show the tooltip of one point, as the mouse would; -1 hides it. */
  mark(index) {
    const point = this.series?.points[index];
    const place = point ? this.chart.data.datasets[2]?.data.findIndex((each) => each.x === point.x) : -1;
    const active = place >= 0 ? [{ datasetIndex: 2, index: place }] : [];
    this.chart.setActiveElements(active);
    this.chart.tooltip.setActiveElements(active, { x: 0, y: 0 });
    this.chart.update("none");
  }

  drawBehind({ ctx, chartArea: area, scales: { x } }) {
    if (!this.series) return;
    const spans = (list, fill, stroke) => {
      for (const [from, until] of list) {
        const left = Math.max(area.left, x.getPixelForValue(from));
        const width = Math.max(1.5, Math.min(area.right, x.getPixelForValue(until)) - left);
        if (left > area.right) continue;
        for (const style of [fill, stroke]) {
          ctx.fillStyle = style;
          ctx.fillRect(left, area.top, width, area.height);
        }
      }
    };
    ctx.save();
    spans(this.series.relayed, this.colour["warn-bg"], hatch(ctx, this.colour["warn-fill"], 1));
    spans(this.series.gaps, this.colour.card, hatch(ctx, this.colour.line, -1));
    ctx.restore();
  }

  drawAbove({ ctx, chartArea: area, scales: { x, y }, tooltip }) {
    if (!this.series) return;
    ctx.save();
    ctx.fillStyle = this.colour["bad-fill"];
    const width = Math.max(1.5, x.getPixelForValue(this.series.step) - x.getPixelForValue(0) - 0.5);
    for (const point of this.series.points) {
      if (!(point.loss > 0)) continue;
      const height = Math.max(3, point.loss * LOSS_HEIGHT);
      ctx.fillRect(x.getPixelForValue(point.x), area.bottom - height, width, height);
    }
    if (this.limit !== null && this.limit < y.max) this.drawLine(ctx, area.left, y.getPixelForValue(this.limit), area.right, null, "bad-fill", [6, 4]);
    const active = tooltip?.getActiveElements()[0]?.element;
    if (active) this.drawLine(ctx, active.x, area.top, active.x, area.bottom, "muted", []);
    ctx.restore();
  }

  drawLine(ctx, fromX, fromY, toX, toY, colour, dash) {
    ctx.beginPath();
    ctx.setLineDash(dash);
    ctx.strokeStyle = this.colour[colour];
    ctx.lineWidth = dash.length ? 1.5 : 1;
    ctx.moveTo(fromX, fromY);
    ctx.lineTo(toX, toY ?? fromY);
    ctx.stroke();
  }

  options() {
    const { colour } = this;
    return {
      animation: false,
      maintainAspectRatio: false,
      layout: { padding: { top: MARKS_HEIGHT } },
      interaction: { mode: "nearest", axis: "x", intersect: false },
      scales: {
        x: timeAxis(colour),
        y: {
          min: 0,
          border: { display: false },
          grid: { color: colour.grid, drawTicks: false },
          ticks: { color: colour.muted, maxTicksLimit: 6, padding: 8, includeBounds: false, callback: (value) => `${value} ms` },
        },
      },
      plugins: { legend: { display: false }, tooltip: this.tooltip() },
    };
  }

  tooltip() {
    const { colour } = this;
    const pointOf = (items) => this.series.points.find((point) => point.x === items[0].parsed.x);
    return {
      filter: (item) => item.datasetIndex === 2,
      displayColors: false,
      backgroundColor: colour.text,
      titleColor: colour.card,
      bodyColor: colour.card,
      padding: 10,
      caretPadding: 8,
      callbacks: {
        title: (items) => (items.length ? momentOf(items[0].parsed.x) : ""),
        label: (item) => wordsOf(pointOf([item])),
      },
    };
  }
}

/** Whether a point has no neighbour to draw a line to. */
function alone(values, place) {
  const broken = (at) => at < 0 || at >= values.length || Number.isNaN(values[at].y);
  return !broken(place) && broken(place - 1) && broken(place + 1);
}

/** What is known of one point, in lines of words. */
export function wordsOf(point) {
  if (!point) return [];
  const [, path] = stateOf(point.connection_type);
  const lines = point.latency_ms === null ? ["no pong"] : [`${ms(point.latency_ms)} (${ms(point.latency_min)} to ${ms(point.latency_max)})`];
  if (point.loss > 0) lines.push(`${percent(point.loss)} of the pings lost`);
  lines.push(point.relayed > 0 && point.relayed < 1 ? `${path}, ${percent(point.relayed)} relayed` : path);
  if (point.rounds > 1) lines.push(`${point.rounds} rounds`);
  if (!point.collected) lines.push("from the journal, not collected yet");
  return lines;
}

/** The chart in one sentence, for screen readers. */
export function summaryOf(hostname, series, sums) {
  const length = span(series.hours * 3600000);
  if (!series.points.length) return `No round of ${hostname} in the last ${length}.`;
  const gaps = series.gaps.length ? ` ${series.gaps.length} ${series.gaps.length === 1 ? "gap" : "gaps"} without rounds.` : "";
  return `Latency of ${hostname} over the last ${length}: mean ${ms(sums.mean)}, from ${ms(sums.least)} to ${ms(sums.most)}, ${percent(sums.loss)} of the pings lost, ${percent(sums.relayed)} relayed.${gaps}`;
}
