// The panel around the latency chart: which node and range, the figures below it, the same as a table.

import { byId, definitions, keyed, make, setHidden, setText, shareBar } from "./dom.js";
import { zone } from "./clock.js";
import { clockOf, momentOf, ms, percent, stateOf } from "./format.js";
import { LatencyChart, summaryOf, wordsOf } from "./latency.js";
import { grouped, readHistory, totals } from "./series.js";
import { hideTip, showTip } from "./tip.js";

const ranges = { 1: "1h", 24: "24h", 168: "7d", 720: "30d" };
const ROWS = 48;
const MOST_MARKS = 60;
const PICTURE = ["latencyChart", "latency-legend", "totals", "table-box"];

export const isRange = (hours) => hours in ranges;

/** The shortest range, in hours, that reaches so many milliseconds back. */
export const rangeFor = (age) => Object.keys(ranges).map(Number).find((hours) => hours * 3600000 > age) ?? 720;

export class HistoryPanel {
  /** `onRange(hours)` is called when the reader wants another range, `onIncident(key)` for an incident's mark. */
  constructor(onRange, onIncident) {
    this.incidents = [];
    this.onIncident = onIncident;
    this.chart = new LatencyChart(byId("latencyChart"));
    this.series = null;
    this.rows = null;
    byId("ranges").addEventListener("change", (event) => onRange(Number(event.target.value)));
    const scrub = byId("scrub");
    scrub.addEventListener("input", () => this.scrubbed());
    scrub.addEventListener("focus", () => scrub.matches(":focus-visible") && this.scrubbed());
    scrub.addEventListener("blur", () => this.chart.mark(-1));
    byId("table-box").addEventListener("toggle", () => this.showTable());
    new ResizeObserver(() => this.showMarks()).observe(byId("latencyChart"));
  }

  /** The incidents that may have marks above the picture: [{ key, icon, tone, title, from, until }]. */
  setIncidents(incidents) {
    this.incidents = incidents;
    this.showMarks();
  }

  showMarks() {
    const seen = this.series ? this.incidents.filter(({ from, until }) => until >= this.series.start && from <= this.series.end) : [];
    setHidden(byId("legend-incident"), seen.length === 0);
    keyed(byId("marks"), seen.slice(0, MOST_MARKS), (each) => each.key, (each) => this.newMark(each), (item, each) => {
      const place = this.chart.place(each.from, each.until);
      setHidden(item, place === null || byId("latencyChart").hidden);
      if (place === null) return;
      const button = item.firstElementChild;
      item.style.left = `${place[0]}px`;
      item.style.width = `${Math.max(10, place[1] - place[0])}px`;
      button.incident = each;
      button.setAttribute("aria-label", `${each.lines.join(", ")}: show`);
    });
  }

  newMark({ key, icon, tone }) {
    const item = make("li");
    const button = make("button", tone);
    button.type = "button";
    button.append(make("span", `mark ${icon} ${tone}`));
    button.addEventListener("click", () => this.onIncident(key));
    for (const kind of ["pointerenter", "focus"]) button.addEventListener(kind, () => showTip(button.incident.lines, button.getBoundingClientRect()));
    for (const kind of ["pointerleave", "blur"]) button.addEventListener(kind, hideTip);
    item.append(button);
    return item;
  }

  /** Name what is about to be shown; what is still there belongs to something else, and is dimmed. */
  expect(hostname, hours) {
    setText(byId("latency-title"), `Latency History (${ranges[hours]})`);
    setText(byId("latency-node"), hostname);
    for (const input of byId("ranges").querySelectorAll("input")) input.checked = Number(input.value) === hours;
    const other = this.series && (this.series.hostname !== hostname || this.series.hours !== hours);
    byId("latency-panel").classList.toggle("waiting", Boolean(other));
  }

  show(answer, limit, now) {
    const series = readHistory(answer, now);
    const sums = totals(series.points);
    this.series = series;
    byId("latency-panel").classList.remove("waiting");
    this.showPicture(true);
    this.chart.show(series, limit);
    byId("latencyChart").setAttribute("aria-label", summaryOf(answer.hostname, series, sums));
    this.note(series.points.length ? "" : `No round of ${answer.hostname} in the last ${ranges[answer.hours]}.`);
    setText(byId("limit-words"), limit === null ? "alert threshold" : `alert threshold, ${ms(limit)}`);
    this.showTotals(sums);
    setHidden(byId("legend-fresh"), !Number.isFinite(series.freshFrom));
    this.setScrub();
    this.showMarks();
    this.showTable();
    markFirst();
  }

  /** Say why there is no chart; an earlier one stays, and the banner says how old it is. */
  showProblem(problem) {
    if (this.series && !byId("latency-panel").classList.contains("waiting")) return;
    this.showPicture(false);
    byId("scrub").disabled = true;
    this.note(`Not known: ${problem.message}.`);
  }

  /** Draws nothing: an empty chart would mean that there were no rounds. */
  showPicture(known) {
    for (const id of PICTURE) setHidden(byId(id), !known);
    if (!known) byId("marks").replaceChildren();
  }

  note(text) {
    setText(byId("latency-note"), text);
    setHidden(byId("latency-note"), !text);
  }

  showTotals(sums) {
    this.bar ??= (() => {
      const box = make("div");
      const bar = make("div", "share");
      bar.setAttribute("aria-hidden", "true");
      box.append(make("span"), bar);
      return box;
    })();
    setText(this.bar.firstElementChild, sums.direct === null ? "–" : `${percent(sums.direct)} / ${percent(sums.relayed)}`);
    shareBar(this.bar.lastElementChild, sums.direct, sums.relayed);
    definitions(byId("totals"), [
      ["Mean", ms(sums.mean)],
      ["Lowest", ms(sums.least)],
      ["Highest", ms(sums.most)],
      ["Pings lost", percent(sums.loss)],
      ["Direct / relayed", this.bar],
    ]);
  }

  setScrub() {
    const scrub = byId("scrub");
    const last = Math.max(0, this.series.points.length - 1);
    const atEnd = scrub.value === scrub.max;
    scrub.max = String(last);
    if (atEnd) scrub.value = String(last);
    scrub.disabled = this.series.points.length === 0;
    if (document.activeElement === scrub) this.scrubbed();
    else this.sayScrub();
  }

  scrubbed() {
    this.chart.mark(Number(byId("scrub").value));
    this.sayScrub();
  }

  sayScrub() {
    const point = this.series?.points[Number(byId("scrub").value)];
    byId("scrub").setAttribute("aria-valuetext", point ? [momentOf(point.x), ...wordsOf(point)].join(", ") : "nothing");
  }

  /** Filled while it is open only: it has many cells. */
  showTable() {
    if (!byId("table-box").open || !this.series) return;
    const { hostname, hours, points } = this.series;
    setText(byId("table-caption"), `${hostname}, the last ${ranges[hours]}, newest first; times in ${zone()}`);
    keyed(byId("table-rows"), grouped(points, ROWS), (group) => group.x, newRow, (row, group) => {
      const [sign, path] = stateOf(group.type);
      const cells = [hours > 24 ? momentOf(group.x) : clockOf(group.x), ms(group.mean), ms(group.least), ms(group.most), percent(group.loss), `${sign} ${path}${group.partly ? ", partly relayed" : ""}`];
      cells.forEach((text, place) => setText(row.children[place], text));
    });
  }
}

function newRow() {
  const row = make("tr");
  const head = make("th");
  head.scope = "row";
  row.append(head, ...Array.from({ length: 5 }, () => make("td")));
  return row;
}

/** When the first chart was painted, for the benchmark. */
function markFirst() {
  if (performance.getEntriesByName("chart-drawn").length) return;
  requestAnimationFrame(() => setTimeout(() => performance.mark("chart-drawn")));
}
