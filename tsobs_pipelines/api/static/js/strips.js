// A strip for each node: its last hour round by round, its last thirty days day by day. What a round was like is
// told by the height and pattern of its mark as well as by its colour: a tall one was reached, a low one was not.

import { make, setText } from "./dom.js";
import { calendarDay, clockOf, count, ms, percent, stateOf } from "./format.js";
import { hideTip, showTip } from "./tip.js";

const SVG = "http://www.w3.org/2000/svg";
const SLOT = 10; // units of the picture, whose width is that of the strip
const GAP = 2;
const HEIGHT = 24;
const BASE = 20; // marks stand on this line; below it is what has not been collected yet
const LEAST = 3.5; // of a day's mark: one lost round of 1,440 must be seen

/** The states in the order in which a day's mark is built from the ground. */
const stacked = ["direct", "peer-relay", "relay", "unreachable", "offline", "absent", "unknown"];

/** Where the mark of a round begins and how high it is, in pieces. */
const shapes = {
  direct: [[0, 20]],
  "peer-relay": [[0, 8.5], [11.5, 8.5]],
  relay: [[4, 16]],
  unreachable: [[12, 8]],
  offline: [[12.5, 7]],
  absent: [[12, 2.5], [17, 2.5]],
  unknown: [[9, 2.5]],
  none: [[18.5, 1.5]],
  awaited: [[18.5, 1.5]],
};

const words = { unknown: "the round says nothing", none: "no round", awaited: "not collected yet" };

/** A strip without anything on it; `title` says what it shows. */
export function newStrip(title, hostname) {
  const box = make("div", "strip");
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  const cursor = make("span", "cursor");
  const slider = make("input");
  Object.assign(slider, { type: "range", min: "0", max: "0", value: "0" });
  slider.setAttribute("aria-label", `${hostname}, ${title}`);
  const head = make("p", "strip-head");
  head.append(make("span", "", title[0].toUpperCase() + title.slice(1)), make("span", "strip-sum"));
  const picture = make("div", "strip-picture");
  picture.append(svg, cursor, slider);
  box.append(head, picture);
  box.slots = [];
  listen(box, picture, slider);
  return box;
}

function listen(box, picture, slider) {
  const point = (place) => {
    const slot = box.slots[place];
    if (!slot) return;
    const { left, top, width, height, bottom } = picture.getBoundingClientRect();
    const each = width / box.slots.length;
    const cursor = picture.children[1];
    cursor.style.left = `${(place / box.slots.length) * 100}%`;
    cursor.style.width = `${100 / box.slots.length}%`;
    picture.classList.add("pointed");
    showTip(slot.lines, { left: left + each * place, width: each, top, bottom, height });
  };
  const leave = () => {
    picture.classList.remove("pointed");
    hideTip();
  };
  picture.addEventListener("pointermove", (event) => {
    const { left, width } = picture.getBoundingClientRect();
    point(Math.max(0, Math.min(box.slots.length - 1, Math.floor(((event.clientX - left) / width) * box.slots.length))));
  });
  picture.addEventListener("pointerleave", leave);
  slider.addEventListener("input", () => {
    say(box, slider);
    point(Number(slider.value));
  });
  slider.addEventListener("focus", () => slider.matches(":focus-visible") && point(Number(slider.value)));
  slider.addEventListener("blur", leave);
}

function say(box, slider) {
  slider.setAttribute("aria-valuetext", box.slots[Number(slider.value)]?.lines.join(", ") ?? "nothing");
}

/** Draw slots ({ marks: [state, top, height][], lines, fresh }) and keep the reader's place. */
function draw(box, slots, summary) {
  const [head, picture] = box.children;
  const [svg, , slider] = picture.children;
  const moved = slots.length - box.slots.length;
  const atEnd = box.slots.length === 0 || slider.value === slider.max;
  box.slots = slots;
  setText(head.lastElementChild, summary);
  slider.max = String(Math.max(0, slots.length - 1));
  if (atEnd) slider.value = slider.max;
  else if (moved) slider.value = String(Number(slider.value) + moved);
  say(box, slider);
  const paths = {};
  slots.forEach(({ marks, fresh }, place) => {
    const left = place * SLOT + GAP / 2;
    const all = fresh ? [...marks, ["fresh", HEIGHT - 2, 2]] : marks;
    for (const [state, top, height] of all) paths[state] = `${paths[state] ?? ""}M${left} ${top}h${SLOT - GAP}v${height}h${GAP - SLOT}z`;
  });
  const drawing = JSON.stringify(paths);
  if (box.drawing === drawing) return;
  box.drawing = drawing;
  svg.setAttribute("viewBox", `0 0 ${slots.length * SLOT} ${HEIGHT}`);
  svg.replaceChildren(...Object.entries(paths).map(([state, d]) => pathOf(state, d)));
}

function pathOf(state, d) {
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("class", `s-${state}`);
  if (state === "relay") path.setAttribute("fill", "url(#hatch)");
  path.setAttribute("d", d);
  return path;
}

/** The last hour of a node, as `/health-monitoring/strips` answers it. */
export function showRounds(box, rounds) {
  const slots = rounds.map((round) => ({
    marks: shapes[round.state].map(([top, height]) => [round.state, top, height]),
    fresh: !round.collected,
    lines: wordsOfRound(round),
  }));
  const bad = rounds.filter(({ state }) => !["direct", "peer-relay", "awaited"].includes(state)).length;
  draw(box, slots, rounds.length ? `${bad ? `${bad} of ${rounds.length} rounds not direct` : "every round direct"}` : "");
}

function wordsOfRound({ at, state, relay_node, latency_ms, loss, collected, reason }) {
  const [, path] = stateOf(state, relay_node);
  const lines = [clockOf(Date.parse(at)), words[state] ?? path];
  if (reason) lines.push(reason);
  if (latency_ms !== null) lines.push(ms(latency_ms));
  if (loss > 0) lines.push(`${percent(loss)} of the pings lost`);
  if (!collected && state !== "awaited") lines.push("from the journal, not collected yet");
  return lines;
}

/** The last thirty UTC days of a node. */
export function showDays(box, days) {
  const known = days.filter((day) => day.availability !== null);
  const answered = known.length ? known.reduce((sum, day) => sum + day.availability * day.rounds, 0) / known.reduce((sum, day) => sum + day.rounds, 0) : null;
  draw(box, days.map((day) => ({ marks: marksOfDay(day), lines: wordsOfDay(day) })), answered === null ? "" : `${percent(answered)} available`);
}

/** A column whose pieces are the shares of the day's rounds; what lacks above it was not taken. */
function marksOfDay({ states, rounds, missing }) {
  if (!rounds) return [["none", 18.5, 1.5]];
  const pieces = stacked.filter((state) => states[state]).map((state) => [state, states[state] / (rounds + missing)]);
  if (missing) pieces.push(["", missing / (rounds + missing)]);
  // Small pieces are drawn higher than they are, at the cost of the others.
  const small = pieces.filter(([, share]) => share * BASE < LEAST);
  const room = BASE - small.length * LEAST;
  const large = pieces.reduce((sum, [, share]) => sum + (share * BASE < LEAST ? 0 : share), 0);
  let ground = BASE;
  const marks = [];
  for (const [state, share] of pieces) {
    const height = share * BASE < LEAST ? LEAST : (share / large) * room;
    ground -= height;
    if (state) marks.push([state, +ground.toFixed(2), +Math.max(0.5, height - (pieces.length > 1 ? 0.6 : 0)).toFixed(2)]);
  }
  return marks;
}

function wordsOfDay({ day, states, rounds, missing, availability, latency_ms, loss }) {
  const lines = [`${calendarDay(day)} (UTC)`];
  if (!rounds) return [...lines, "no rounds"];
  if (availability !== null) lines.push(`${percent(availability)} available`);
  for (const state of stacked) if (states[state]) lines.push(`${stateOf(state)[1]}: ${percent(states[state] / rounds)} (${count(states[state])} rounds)`);
  if (missing) lines.push(`${count(missing)} rounds missing`);
  if (latency_ms !== null) lines.push(`mean ${ms(latency_ms)}${loss > 0 ? `, ${percent(loss)} of the pings lost` : ""}`);
  return lines;
}
