// What fires now, and what fired lately: each incident with its message and the way to its data.

import { byId, keyed, make, setHidden, setText } from "./dom.js";
import { momentOf, ms, price, span, times } from "./format.js";

/** How a figure is written, by the unit of its rule; those of other units to three digits. */
const writers = { ms, "EUR/kWh": price, times };
const writerOf = (unit) => writers[unit] ?? ((value) => `${Number(value.toPrecision(3))} ${unit}`);

const keyOf = (alert) => `${alert.tailnet} ${alert.topic} ${alert.since}`;

/** The tailnet, where it is not the first one, which has one of these names. */
const further = ({ tailnet }) => (tailnet && !["default", "demo"].includes(tailnet) ? ` (${tailnet})` : "");

/** `find(alert)` is called for the one that the reader wants to see in the latency chart. */
export function showAlerts(answer, now, find) {
  setHidden(byId("firing"), answer.firing.length === 0);
  keyed(byId("firing-list"), answer.firing, keyOf, newFiring, (line, alert) => {
    setText(line.children[0], title(alert));
    setText(line.children[1], [figures(alert), `for ${span(now - Date.parse(alert.since))}`].filter(Boolean).join(" · "));
    showLinks(line.children[2], alert);
  });
  const past = answer.recent.filter((alert) => alert.state !== "firing");
  setHidden(byId("recent-empty"), past.length > 0);
  setHidden(byId("recent"), past.length === 0);
  keyed(byId("recent"), past, keyOf, (alert) => newPast(alert, find), (line, alert) => {
    line.alert = alert;
    const [, summary] = line.firstElementChild.firstElementChild.children;
    setText(summary.children[0], title(alert));
    setText(summary.children[1], [lasted(alert), figures(alert)].filter(Boolean).join(" · "));
    showMore(line.firstElementChild.lastElementChild, alert);
  });
}

/** No answer: what was shown before stays. */
export function showAlertsProblem(problem) {
  if (byId("recent").children.length) return;
  setText(byId("recent-empty"), `Not known: ${problem.message}.`);
  setHidden(byId("recent-empty"), false);
}

/** The incidents of one node, for marks in its chart. */
export function marksOf({ firing, recent }, node, isShown, now) {
  const going = new Set(firing.map(keyOf));
  return [...firing, ...recent.filter((alert) => !going.has(keyOf(alert)))]
    .filter((alert) => alert.subject === node && isShown(alert.tailnet))
    .map((alert) => {
      const from = Date.parse(alert.since);
      const until = alert.until === null ? (alert.state === "firing" ? now : from) : Date.parse(alert.until);
      const lines = [alert.title, lasted(alert), figures(alert)].filter(Boolean);
      return { key: keyOf(alert), icon: alert.icon, tone: alert.severity.toLowerCase(), from, until, lines };
    });
}

/** The likely cause of each relay that fires, by node, as the rule says it: [cause, what to try]. */
export function causesOf({ firing }, isShown) {
  const relays = firing.filter((alert) => alert.topic === `relay_${alert.subject}` && isShown(alert.tailnet));
  // The detail is "<region>: <cause>; try: <remedy>".
  const parts = relays.map(({ subject, detail }) => [subject, detail.split(/: (.*)/s)[1]?.split("; try: ") ?? []]);
  return new Map(parts.filter(([, [cause]]) => cause));
}

/** Open an incident in the lists, and take the reader there. */
export function openIncident(key) {
  for (const list of ["firing-list", "recent"]) {
    const line = [...byId(list).children].find((each) => each.dataset.key === key);
    if (!line) continue;
    const box = line.querySelector("details");
    if (box) box.open = true;
    const target = line.querySelector("summary, a") ?? line;
    target.focus({ preventScroll: true });
    line.scrollIntoView({ block: "nearest", behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
    return;
  }
}

function newFiring() {
  const line = make("li");
  line.append(make("strong"), make("span", "when"), make("span", "links"));
  return line;
}

function newPast(alert, find) {
  const line = make("li");
  const box = make("details");
  const summary = make("summary");
  const dot = make("span", `mark ${alert.icon} ${alert.severity.toLowerCase()}`);
  dot.setAttribute("aria-hidden", "true");
  const words = make("span", "words");
  words.append(make("span", "what"), make("span", "when"));
  summary.append(dot, words);
  const more = make("div", "more");
  const show = make("button", "plain", "Show in the chart");
  show.type = "button";
  show.addEventListener("click", () => find(line.alert));
  more.append(make("p", "text"), make("p", "links"), show);
  box.append(summary, more);
  line.append(box);
  return line;
}

function showMore(more, alert) {
  const [text, links, show] = more.children;
  const { message } = alert;
  const fate = message === null ? "Found in the past by a backfill: no message was sent." : `${message.text}\n${momentOf(Date.parse(message.at))}: ${message.fate}${message.reason ? ` (${message.reason})` : ""}`;
  setText(text, fate);
  showLinks(links, alert);
  setHidden(show, alert.tailnet === null);
}

function showLinks(place, { source_url }) {
  setHidden(place, source_url === null);
  if (source_url === null || place.firstElementChild?.href === source_url) return;
  const link = make("a", "", source_url.includes("/runs/") ? "Run in Dagster" : "That day’s data in Dagster");
  link.href = source_url;
  place.replaceChildren(link);
}

const title = (alert) => `${[alert.title, alert.subject].filter(Boolean).join(": ")}${further(alert)}`;

function lasted(alert) {
  const since = Date.parse(alert.since);
  if (alert.until === null) return `from ${momentOf(since)}`;
  return `${momentOf(since)}, for ${span(Date.parse(alert.until) - since)}`;
}

/** The worst value and the limit, in the rule's own unit. */
function figures({ unit, worst, value, threshold }) {
  const write = writerOf(unit);
  const most = worst ?? value;
  if (!unit || most === null) return "";
  return threshold === null ? `up to ${write(most)}` : `up to ${write(most)}, limit ${write(threshold)}`;
}
