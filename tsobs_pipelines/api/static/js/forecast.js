// The forecast: its error over the last month beside its baseline and the naive forecast.

import { timeAxis } from "./axis.js";
import { byId, definitions, setClass, setHidden, setText } from "./dom.js";
import { momentOf, price, priceUnit } from "./format.js";
import { colours, onThemeChange } from "./theme.js";

const MONTH_MS = 30 * 86400000;
const OLD_MS = 36 * 3600000;
const LIMIT = 2; // degraded: an error of more than twice the baseline

export class ForecastPanel {
  constructor() {
    this.rows = [];
    this.chart = null;
    onThemeChange(() => this.draw());
  }

  show(answer, now) {
    const newest = answer.metrics.at(-1);
    if (!newest) return this.showNothing("No forecast has been evaluated yet: it needs a day with both a forecast and actual prices.");
    // Errors on other prices (those of the demo, above all) say nothing about these.
    const source = sourceOf(newest);
    this.rows = answer.metrics
      .map((row) => ({ ...row, x: Date.parse(row.window_end) }))
      .filter((row) => sourceOf(row) === source && row.x > now - MONTH_MS && row.mae !== undefined);
    this.now = now;
    const { verdict } = answer;
    const last = this.rows.at(-1);
    setText(byId("forecast-sub"), verdict ? `${answer.model_name}, the 24 hours to ${momentOf(Date.parse(verdict.window_end))}` : answer.model_name);
    this.showState(verdict);
    definitions(byId("forecast-figures"), [
      ["Error now (MAE)", price(verdict?.mae ?? last?.mae)],
      ["Baseline", verdict?.baseline == null ? "too few days" : price(verdict.baseline)],
      ["Same hour yesterday", price(verdict?.naive_mae ?? last?.naive_mae)],
    ]);
    byId("maeChart").setAttribute("aria-label", verdict?.text ?? "Forecast error");
    setText(byId("forecast-note"), this.rows.length ? "" : "No evaluation in the last 30 days.");
    setHidden(byId("forecast-note"), this.rows.length > 0);
    this.draw();
  }

  /** What was shown before stays: the banner tells that the API has no answer. */
  showProblem(problem) {
    if (this.rows.length === 0) this.showNothing(`Not known: ${problem.message}.`);
  }

  /** A model that was never evaluated is no failure: prices may simply not be there yet. */
  showNothing(words) {
    this.rows = [];
    setHidden(byId("forecast-state"), true);
    definitions(byId("forecast-figures"), []);
    setText(byId("forecast-sub"), "");
    setText(byId("forecast-note"), words);
    setHidden(byId("forecast-note"), false);
    this.draw();
  }

  showState(verdict) {
    const state = byId("forecast-state");
    setHidden(state, !verdict);
    if (!verdict) return;
    const [words, tone] =
      this.now - Date.parse(verdict.window_end) > OLD_MS ? ["? No new prices", "warn"]
      : verdict.degraded === null ? ["No verdict yet", ""]
      : verdict.degraded ? [verdict.naive_failed ? "✕ Degraded, as is the naive forecast" : "✕ Degraded", "bad"]
      : verdict.skill_warning ? ["▲ Worse than yesterday’s prices", "warn"]
      : ["● Good", "good"];
    setClass(state, `pill ${tone}`);
    setText(state, words);
  }

  draw() {
    const drawn = this.rows.length > 0;
    setHidden(byId("maeChart"), !drawn);
    setHidden(byId("forecast-legend"), !drawn);
    if (!drawn) return;
    const colour = colours();
    const of = (value) => this.rows.map((row) => ({ x: row.x, y: value(row) ?? NaN }));
    const shape = { pointRadius: this.rows.length < 3 ? 2 : 0, pointHoverRadius: 4, borderWidth: 1.5, parsing: false };
    const datasets = [
      { ...shape, label: "MAE", data: of((row) => row.mae), borderColor: colour.accent, backgroundColor: colour.accent, borderWidth: 2 },
      { ...shape, label: "Same hour yesterday", data: of((row) => row.naive_mae), borderColor: colour.naive, backgroundColor: colour.naive, borderDash: [2, 3] },
      { ...shape, label: "Baseline", data: of((row) => row.baseline_mae), borderColor: colour.naive, backgroundColor: colour.naive, pointRadius: 0 },
      { ...shape, label: "Limit", data: of((row) => row.baseline_mae * LIMIT), borderColor: colour["bad-fill"], backgroundColor: colour["bad-fill"], borderDash: [6, 4], pointRadius: 0 },
    ];
    if (!this.chart) this.chart = new Chart(byId("maeChart"), { type: "line", data: { datasets }, options: {} });
    const known = this.chart.data.datasets;
    datasets.forEach((dataset, place) => Object.assign(known[place], dataset));
    this.chart.options = this.options(colour);
    this.chart.update("none");
  }

  options(colour) {
    return {
      animation: false,
      maintainAspectRatio: false,
      interaction: { mode: "nearest", axis: "x", intersect: false },
      scales: {
        x: { ...timeAxis(colour), min: Math.min(this.rows[0].x, this.now - MONTH_MS), max: this.now },
        y: {
          beginAtZero: true,
          border: { display: false },
          title: { display: true, text: priceUnit, color: colour.muted },
          grid: { color: colour.grid, drawTicks: false },
          ticks: { color: colour.muted, maxTicksLimit: 5, padding: 8, callback: (value) => Math.round(value * 1000) },
        },
      },
      plugins: {
        legend: { display: false },
        tooltip: {
          backgroundColor: colour.text,
          titleColor: colour.card,
          bodyColor: colour.card,
          padding: 10,
          boxPadding: 4,
          callbacks: {
            title: (items) => (items.length ? `24 hours to ${momentOf(items[0].parsed.x)}` : ""),
            label: (item) => `${item.dataset.label}: ${price(item.parsed.y)}`,
          },
        },
      },
    };
  }
}

/** The price source of an evaluation: what follows the @ of its version. */
const sourceOf = (row) => row.version.split("@")[1];
