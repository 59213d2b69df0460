// A card for each node: how it is reached now, and how the last day was.

import { byId, definitions, keyed, make, setClass, setHidden, setText, shareBar } from "./dom.js";
import { ago, bytes, ms, msNumber, percent, span, stateOf } from "./format.js";
import { get, inTailnet, Problem } from "./api.js";
import { newStrip, showDays, showRounds } from "./strips.js";

const SVG = "http://www.w3.org/2000/svg";
const USUAL_STALE_S = 15 * 60;
const WIDTH = 100;
const HEIGHT = 32;
const LOOK_PATIENCE_MS = 30000; // five pings at an unreachable node take their time

/** Evidence of rounds that were taken without a result for the node. */
const withoutVerdict = new Set(["absent", "ambiguous", "not-sampled", "not-probed", "no-answer"]);

/** After how many seconds without a round the newest one is too old to speak of now, as the API says. */
let staleAfter = USUAL_STALE_S;

/** Whether the newest round is too old to speak of now. */
export const isOld = (node, now) => node.measured_at !== null && now - Date.parse(node.measured_at) > staleAfter * 1000;

/** Why nodes are relayed, by host name: [the likely cause, what to try]. */
let causes = new Map();

export function expectCauses(found) {
  causes = found;
}

/** The state to show: what the control server says now counts more than the last round. */
export function stateNow(node) {
  if (node.online === false && node.state !== "self") return "offline";
  return node.state === "unknown" && withoutVerdict.has(node.evidence) ? "absent" : node.state;
}

/** How old the newest round may be, which depends on how often rounds are taken. */
export function expectRounds(seconds) {
  staleAfter = seconds ?? USUAL_STALE_S;
}

/** Show a tailnet's nodes; `choose(hostname)` is called for the one that the reader wants to see. */
export function showCards(nodes, tailnet, chosen, now, choose) {
  const keyOf = (node) => `${tailnet ?? ""}/${node.hostname}`;
  keyed(byId("cards"), nodes, keyOf, (node) => newCard(node.hostname, tailnet, choose), (card, node) => fill(card, node, chosen, now));
}

function newCard(hostname, tailnet, choose) {
  const card = make("article", "card");
  const title = make("h3");
  const button = make("button", "", hostname);
  button.type = "button";
  button.addEventListener("click", () => choose(hostname));
  title.append(button);
  const head = make("header");
  head.append(title, make("span", "pill"));
  const latest = make("div", "now");
  const spark = document.createElementNS(SVG, "svg");
  spark.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
  spark.setAttribute("preserveAspectRatio", "none");
  spark.setAttribute("class", "spark");
  spark.setAttribute("aria-hidden", "true");
  latest.append(make("p", "value"), spark);
  const handshake = make("p", "handshake");
  handshake.append("Last handshake ", make("span"));
  const strips = make("div", "strips");
  strips.append(newStrip("last hour", hostname), newStrip("last 30 days", hostname));
  const cause = make("p", "cause");
  cause.append(make("strong"), make("span"));
  card.append(head, latest, make("p", "reason"), cause, handshake, strips, make("p", "period", "Last 24 hours"), make("dl", "facts"), newCheck(hostname, tailnet));
  return card;
}

/** Show the strips of a tailnet's nodes in their cards. */
export function showStrips({ nodes }, tailnet) {
  const cards = new Map([...byId("cards").children].map((card) => [card.dataset.key, card]));
  for (const { hostname, rounds, days } of nodes) {
    const card = cards.get(`${tailnet ?? ""}/${hostname}`);
    if (!card) continue;
    const [hour, month] = card.querySelectorAll(".strip");
    showRounds(hour, rounds);
    showDays(month, days);
  }
}

function fill(card, node, chosen, now) {
  const state = stateNow(node);
  const old = isOld(node, now);
  const isChosen = node.hostname === chosen;
  const [sign, words, tone] = node.measured_at === null && state === "unknown" ? ["…", "No rounds yet", ""] : stateOf(state, node.relay_node);
  setClass(card, isChosen ? "card chosen" : "card");
  card.querySelector("h3 button").setAttribute("aria-pressed", String(isChosen));
  const pill = card.querySelector(".pill");
  setClass(pill, `pill ${old ? "" : tone}`);
  setText(pill, old && state !== "offline" ? `? No round for ${span(now - Date.parse(node.measured_at))}` : `${sign} ${words}`);
  showLatest(card.querySelector(".value"), node, state, old);
  drawSpark(card.querySelector(".spark"), node.day.spark, now);
  setText(card.querySelector(".reason"), node.reason ? `${node.reason[0].toUpperCase()}${node.reason.slice(1)}.` : "");
  setHidden(card.querySelector(".reason"), !node.reason);
  showCause(card.querySelector(".cause"), state === "relay" ? causes.get(node.hostname) : undefined);
  setText(card.querySelector(".handshake span"), ago(node.last_handshake, now));
  definitions(card.querySelector(".facts"), facts(card, node, state));
  for (const part of [".handshake", ".period", ".strips"]) setHidden(card.querySelector(part), state === "self");
  setHidden(card.querySelector(".check"), state === "self");
}

function showCause(place, found) {
  setHidden(place, !found);
  if (!found) return;
  const [cause, remedy] = found;
  setText(place.children[0], `Likely cause: ${cause}.`);
  setText(place.children[1], remedy ? ` Try: ${remedy}.` : "");
}

function showLatest(value, node, state, old) {
  const known = node.latency_ms !== null && state !== "offline";
  const high = known && !old && node.latency_ms > node.threshold_ms;
  setClass(value, known ? `value${high ? " high" : ""}${old ? " old" : ""}` : "value none");
  if (!known) {
    setText(value, { self: "not pinged", offline: "offline", unreachable: "no answer" }[state] ?? "–");
    return;
  }
  const text = msNumber(node.latency_ms);
  if (value.firstChild?.nodeValue === text && value.children.length) setText(value.lastElementChild, unit(high));
  else value.replaceChildren(text, make("small", "", unit(high)));
}

const unit = (high) => (high ? "ms, high" : "ms");

function facts(card, { day }, state) {
  if (state === "self") return [["Role", "the sidecar’s own node"]];
  return [
    ["Availability", percent(day.availability)],
    ["Pings lost", percent(day.loss)],
    ["Direct / relayed", share(card, day)],
    ["Traffic", day.rounds ? `${arrow("↑", day.tx_bytes)} ${arrow("↓", day.rx_bytes)}` : "–"],
  ];
}

/** Bytes in one direction, with no line break within. */
const arrow = (sign, count) => `${sign} ${bytes(count)}`.replaceAll(" ", "\u00a0");

/** The shares as numbers with a bar below, in an element that stays. */
function share(card, day) {
  card.shareBox ??= (() => {
    const box = make("div");
    const bar = make("div", "share");
    bar.setAttribute("aria-hidden", "true");
    box.append(make("span"), bar);
    return box;
  })();
  setText(card.shareBox.firstElementChild, day.direct === null ? "–" : `${percent(day.direct)} / ${percent(day.relayed)}`);
  shareBar(card.shareBox.lastElementChild, day.direct, day.relayed);
  return card.shareBox;
}

/** The latency of the last day as a line, broken where no ping was answered, shaded where a relay was used. */
function drawSpark(svg, spark, now) {
  const start = now - 86400000;
  const x = (time) => Math.max(0, Math.min(WIDTH, ((time - start) / 86400000) * WIDTH));
  const top = Math.max(1, ...spark.map((point) => point.latency_ms ?? 0)) * 1.1;
  const half = 1800000;
  let path = "";
  let last = null;
  for (const point of spark) {
    const time = Date.parse(point.timestamp);
    if (point.latency_ms !== null) {
      const joined = last !== null && time - last <= half;
      path += `${joined ? "L" : "M"}${x(time + half / 2).toFixed(1)} ${(HEIGHT - (point.latency_ms / top) * HEIGHT).toFixed(1)}`;
      if (!joined) path += "h0.1";
      last = time;
    }
  }
  const relayed = spark.filter((point) => point.relayed >= 0.5).map((point) => x(Date.parse(point.timestamp)).toFixed(1));
  const drawing = path + relayed.join();
  if (svg.drawing === drawing) return;
  svg.drawing = drawing;
  const line = document.createElementNS(SVG, "path");
  line.setAttribute("d", path);
  svg.replaceChildren(...relayed.map(relayedPart), line);
}

function relayedPart(left) {
  const part = document.createElementNS(SVG, "rect");
  const shape = { x: left, y: 0, width: WIDTH / 48, height: HEIGHT };
  for (const [name, value] of Object.entries(shape)) part.setAttribute(name, value);
  return part;
}

function newCheck(hostname, tailnet) {
  const box = make("div", "check");
  const button = make("button", "", "Check now");
  const output = make("output");
  button.type = "button";
  button.append(make("span", "hidden", ` ${hostname}`));
  button.addEventListener("click", async () => {
    if (button.getAttribute("aria-disabled") === "true") return;
    button.setAttribute("aria-disabled", "true"); // not disabled: that would lose the keyboard's place
    setText(output, "pinging…");
    setText(output, await look(hostname, tailnet));
    button.removeAttribute("aria-disabled");
  });
  box.append(button, output);
  return box;
}

async function look(hostname, tailnet) {
  try {
    const path = inTailnet(`/health-monitoring/connection-stats/${encodeURIComponent(hostname)}`, tailnet);
    const { body } = await get(path, LOOK_PATIENCE_MS);
    const [, words] = stateOf(body.connection_stats.connection_type, body.connection_stats.relay_node);
    const { avg, count } = body.ping_stats;
    return count ? `${words}, ${ms(avg)} (${count} ${count === 1 ? "pong" : "pongs"})` : `${words}, no pong`;
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    return error.message;
  }
}
