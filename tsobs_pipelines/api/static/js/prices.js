// The forecast itself: prices of yesterday, today and tomorrow beside the forecast that was issued for them.

import { timeAxis } from "./axis.js";
import { byId, definitions, keyed, make, setHidden, setText } from "./dom.js";
import { clockOf, dayOf, momentOf, percent, price, priceNumber, priceUnit } from "./format.js";
import { colours, onThemeChange } from "./theme.js";

const HOUR = 3600000;
const names = ["Yesterday", "Today", "Tomorrow"];

export class PricePanel {
  constructor() {
    this.days = [];
    this.hours = [];
    this.chart = null;
    onThemeChange(() => this.draw());
    byId("hours-box").addEventListener("toggle", () => this.showTable());
  }

  /** Show three delivery days, as `/models/forecast` answers them. */
  show(days, now) {
    this.days = days;
    this.now = now;
    this.hours = days.flatMap((day) => day.hours.map((each, place) => ({ ...each, x: Date.parse(each.hour), end: Date.parse(day.hours[place + 1]?.hour ?? "") || Date.parse(each.hour) + HOUR })));
    const drawn = this.hours.some((each) => each.price !== null || each.yhat !== null);
    for (const id of ["priceChart", "price-legend", "hours-box"]) setHidden(byId(id), !drawn);
    setText(byId("price-note"), drawn ? "" : "Neither prices nor a forecast of these days are there yet.");
    setHidden(byId("price-note"), drawn);
    setText(byId("price-sub"), `Delivery days of ${days[1].timezone.replaceAll("_", " ")}. ${this.tomorrow()}`);
    this.showFigures();
    byId("priceChart").setAttribute("aria-label", this.summary());
    this.draw();
    this.showTable();
  }

  /** What was shown before stays: the banner tells that the API has no answer. */
  showProblem(problem) {
    if (this.hours.length) return;
    for (const id of ["priceChart", "price-legend", "hours-box"]) setHidden(byId(id), true);
    setText(byId("price-note"), `Not known: ${problem.message}.`);
    setHidden(byId("price-note"), false);
  }

  tomorrow() {
    const { issued_at, due_at } = this.days[2];
    if (issued_at !== null) return `Tomorrow’s forecast was issued ${momentOf(Date.parse(issued_at))}.`;
    return `Tomorrow’s forecast is ${Date.parse(due_at) > this.now ? "due" : "late: it was due"} ${momentOf(Date.parse(due_at))}.`;
  }

  showFigures() {
    const current = this.hours.find((each) => each.x <= this.now && this.now < each.end);
    const both = this.hours.filter((each) => each.price !== null && each.yhat !== null);
    const inside = both.filter((each) => each.lower <= each.price && each.price <= each.upper).length;
    definitions(byId("price-figures"), [
      ["Price of this hour", price(current?.price)],
      ["Forecast for it", price(current?.yhat)],
      ["80 % interval", current?.lower == null ? "–" : `${priceNumber(current.lower)} to ${price(current.upper)}`],
      ["Prices within the interval", both.length ? `${percent(inside / both.length)} of ${both.length} hours` : "–"],
    ]);
  }

  summary() {
    const parts = this.days.map(({ hours }, place) => {
      const prices = hours.map((each) => each.price).filter((value) => value !== null);
      const issued = hours.filter((each) => each.yhat !== null).length;
      const range = prices.length ? `prices from ${price(Math.min(...prices))} to ${price(Math.max(...prices))}` : "no prices yet";
      return `${names[place]}: ${range}, ${issued ? `a forecast of ${issued} hours` : "no forecast yet"}`;
    });
    return `${parts.join(". ")}.`;
  }

  draw() {
    if (!this.hours.length || byId("priceChart").hidden) return;
    const colour = colours();
    const of = (field) => {
      const points = this.hours.map((each) => ({ x: each.x, y: each[field] ?? NaN }));
      // The last hour goes on to its end.
      const last = this.hours.at(-1);
      return [...points, { x: last.end, y: last[field] ?? NaN }];
    };
    const shape = { stepped: "before", pointRadius: 0, pointHoverRadius: 0, borderWidth: 0, parsing: false, normalized: true };
    const datasets = [
      { ...shape, label: "lower", data: of("lower") },
      { ...shape, label: "upper", data: of("upper"), fill: 0, backgroundColor: colour.band },
      { ...shape, label: "forecast", data: of("yhat"), borderColor: colour.accent, borderWidth: 2, borderDash: [5, 3] },
      { ...shape, label: "price", data: of("price"), borderColor: colour.text, borderWidth: 2 },
    ];
    this.colour = colour;
    if (!this.chart) {
      const days = { id: "days", beforeDatasetsDraw: (chart) => this.drawDays(chart), afterDatasetsDraw: (chart) => this.drawNow(chart) };
      this.chart = new Chart(byId("priceChart"), { type: "line", data: { datasets }, options: this.options(colour), plugins: [days] });
      return;
    }
    datasets.forEach((dataset, place) => Object.assign(this.chart.data.datasets[place], dataset));
    this.chart.options = this.options(colour);
    this.chart.update("none");
  }

  /** The borders of the delivery days with their names. */
  drawDays({ ctx, chartArea: area, scales: { x } }) {
    ctx.save();
    ctx.font = `600 12px ${Chart.defaults.font.family}`;
    ctx.textBaseline = "top";
    this.days.forEach(({ hours }, place) => {
      const left = x.getPixelForValue(Date.parse(hours[0].hour));
      ctx.fillStyle = this.colour.muted;
      ctx.fillText(names[place], left + 6, area.top - 18);
      if (!place) return;
      ctx.fillStyle = this.colour.line;
      ctx.fillRect(left, area.top - 18, 1, area.height + 18);
    });
    ctx.restore();
  }

  drawNow({ ctx, chartArea: area, scales: { x }, tooltip }) {
    ctx.save();
    const line = (left, colour, width) => {
      ctx.fillStyle = this.colour[colour];
      ctx.fillRect(left - width / 2, area.top, width, area.height);
    };
    const active = tooltip?.getActiveElements()[0]?.element;
    if (active) line(active.x, "muted", 1);
    if (this.now >= x.min && this.now <= x.max) {
      const left = x.getPixelForValue(this.now);
      line(left, "bad-fill", 1.5);
      ctx.font = `600 11px ${Chart.defaults.font.family}`;
      const words = "now";
      const width = ctx.measureText(words).width + 10;
      ctx.beginPath();
      ctx.roundRect(left - width / 2, area.top - 1, width, 16, 8);
      ctx.fill();
      ctx.fillStyle = this.colour.card;
      ctx.textAlign = "center";
      ctx.textBaseline = "middle";
      ctx.fillText(words, left, area.top + 7.5);
    }
    ctx.restore();
  }

  options(colour) {
    const lows = this.hours.flatMap((each) => [each.price, each.lower]).filter((value) => value !== null);
    return {
      animation: false,
      maintainAspectRatio: false,
      layout: { padding: { top: 22 } },
      interaction: { mode: "index", axis: "x", intersect: false },
      scales: {
        x: { ...timeAxis(colour), min: this.hours[0].x, max: this.hours.at(-1).end },
        y: {
          // From 0 unless prices are negative, as they may be.
          min: Math.min(0, ...lows),
          border: { display: false },
          grid: { color: colour.grid, drawTicks: false },
          title: { display: true, text: priceUnit, color: colour.muted },
          ticks: { color: colour.muted, maxTicksLimit: 6, padding: 8, includeBounds: false, callback: (value) => Math.round(value * 1000) },
        },
      },
      plugins: {
        legend: { display: false },
        tooltip: {
          filter: (item) => item.datasetIndex === 3,
          displayColors: false,
          backgroundColor: colour.text,
          titleColor: colour.card,
          bodyColor: colour.card,
          padding: 10,
          caretPadding: 8,
          callbacks: {
            title: (items) => (items.length ? spanOf(this.hourAt(items[0].dataIndex)) : ""),
            label: (item) => wordsOf(this.hourAt(item.dataIndex)),
          },
        },
      },
    };
  }

  hourAt(place) {
    return this.hours[Math.min(place, this.hours.length - 1)];
  }

  /** Filled while it is open only. */
  showTable() {
    if (!byId("hours-box").open) return;
    keyed(byId("hours-rows"), this.hours, (each) => each.x, newRow, (row, each) => {
      const cells = [spanOf(each), price(each.price), price(each.yhat), price(each.lower), price(each.upper)];
      cells.forEach((text, place) => setText(row.children[place], text));
    });
  }
}

const spanOf = ({ x, end }) => `${dayOf(x)}, ${clockOf(x)} to ${clockOf(end)}`;

/** Price, forecast and how far they are apart, in lines of words. */
export function wordsOf({ price: actual, yhat, lower, upper }) {
  const lines = [actual === null ? "no price yet" : `price ${price(actual)}`];
  if (yhat === null) return [...lines, "no forecast"];
  lines.push(`forecast ${price(yhat)}`, `80 % interval ${priceNumber(lower)} to ${price(upper)}`);
  if (actual !== null) lines.push(`off by ${price(Math.abs(actual - yhat))}${actual < lower || actual > upper ? ", outside of the interval" : ""}`);
  return lines;
}

function newRow() {
  const row = make("tr");
  const head = make("th");
  head.scope = "row";
  row.append(head, ...Array.from({ length: 4 }, () => make("td")));
  return row;
}
