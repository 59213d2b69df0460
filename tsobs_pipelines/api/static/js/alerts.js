// What fires now, and what fired lately.

import { byId, keyed, make, setHidden, setText } from "./dom.js";
import { momentOf, ms, price, span, times } from "./format.js";

/** How a figure is written, by the unit of its rule; without a unit there is none to show. */
const writers = { ms, "EUR/kWh": price, times };

const key = (alert) => `${alert.tailnet} ${alert.topic} ${alert.since}`;

/** The tailnet, where it is not the first one, which has one of these names. */
const further = ({ tailnet }) => (tailnet && !["default", "demo"].includes(tailnet) ? ` (${tailnet})` : "");

export function showAlerts(answer, now) {
  setHidden(byId("firing"), answer.firing.length === 0);
  keyed(byId("firing-list"), answer.firing, key, newFiring, (line, alert) => {
    setText(line.children[0], title(alert));
    setText(line.children[1], [figures(alert), `for ${span(now - Date.parse(alert.since))}`].filter(Boolean).join(" · "));
  });
  const past = answer.recent.filter((alert) => alert.state !== "firing");
  setHidden(byId("recent-empty"), past.length > 0);
  setHidden(byId("recent"), past.length === 0);
  keyed(byId("recent"), past, key, newPast, (line, alert) => {
    setText(line.children[1], title(alert));
    setText(line.children[2], [lasted(alert), figures(alert)].filter(Boolean).join(" · "));
  });
}

/** Nothing is known; what was shown before stays. */
export function showAlertsProblem(problem) {
  if (byId("recent").children.length) return;
  setText(byId("recent-empty"), `Not known: ${problem.message}.`);
  setHidden(byId("recent-empty"), false);
}

function newFiring() {
  const line = make("li");
  line.append(make("strong"), make("span", "when"));
  return line;
}

function newPast(alert) {
  const line = make("li");
  const dot = make("span", `mark ${alert.icon} ${alert.severity.toLowerCase()}`);
  dot.setAttribute("aria-hidden", "true");
  line.append(dot, make("span", "what"), make("span", "when"));
  return line;
}

const title = (alert) => `${[alert.title, alert.subject].filter(Boolean).join(": ")}${further(alert)}`;

function lasted(alert) {
  const since = Date.parse(alert.since);
  if (alert.until === null) return `from ${momentOf(since)}`;
  return `${momentOf(since)}, for ${span(Date.parse(alert.until) - since)}`;
}

/** The worst value and the limit, in the rule's own unit. */
function figures({ unit, worst, value, threshold }) {
  const write = writers[unit];
  const most = worst ?? value;
  if (!write || most === null) return "";
  return threshold === null ? `up to ${write(most)}` : `up to ${write(most)}, limit ${write(threshold)}`;
}
