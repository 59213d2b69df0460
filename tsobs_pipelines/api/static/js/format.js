// Numbers and times as the reader writes them: their language, their time zone.

import { timeFormat } from "./clock.js";

const dash = "–";
const number = (digits) => new Intl.NumberFormat(undefined, { minimumFractionDigits: digits, maximumFractionDigits: digits });
const whole = number(0);
const one = number(1);
const percents = new Intl.NumberFormat(undefined, { style: "percent", maximumFractionDigits: 1 });
const percentsFine = new Intl.NumberFormat(undefined, { style: "percent", maximumFractionDigits: 2 });
export const clockOf = timeFormat({ hour: "2-digit", minute: "2-digit" });
export const dayOf = timeFormat({ weekday: "short", day: "numeric" });
export const dateOf = timeFormat({ day: "numeric", month: "short" });
export const momentOf = timeFormat({ weekday: "short", day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });

const utcDay = new Intl.DateTimeFormat(undefined, { weekday: "short", day: "numeric", month: "short", timeZone: "UTC" });

/** A calendar day, written YYYY-MM-DD, whose name is the same in every zone. */
export const calendarDay = (day) => utcDay.format(Date.parse(`${day}T00:00:00Z`));

export const count = (value) => whole.format(value);

export function msNumber(value) {
  if (value === null || value === undefined) return dash;
  return (value < 99.95 ? one : whole).format(value);
}

export const ms = (value) => (value === null || value === undefined ? dash : `${msNumber(value)} ms`);

export function percent(share) {
  if (share === null || share === undefined) return dash;
  // 99.98 % must not read as 100 %.
  return (share > 0.99 && share < 1 ? percentsFine : percents).format(share > 0.99 && share < 1 ? Math.floor(share * 10000) / 10000 : share);
}

export function bytes(value) {
  if (value === null || value === undefined) return dash;
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let power = 0;
  while (value >= 1000 && power < units.length - 1) {
    value /= 1000;
    power += 1;
  }
  return `${(power && value < 100 ? one : whole).format(value)} ${units[power]}`;
}

export function span(milliseconds) {
  const seconds = Math.max(0, Math.round(milliseconds / 1000));
  if (seconds < 90) return `${seconds} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 90) return `${minutes} min`;
  const hours = Math.round(minutes / 60);
  return hours < 48 ? `${hours} h` : `${Math.round(hours / 24)} days`;
}

export function ago(time, now) {
  if (time === null || time === undefined) return "never";
  const age = now - Date.parse(time);
  return Number.isNaN(age) ? dash : age < 5000 ? "just now" : `${span(age)} ago`;
}

export const priceUnit = "€/MWh";

export const priceNumber = (value) => one.format(value * 1000);

/** EUR/kWh as EUR/MWh, the unit in which prices are quoted. */
export const price = (value) => (value === null || value === undefined ? dash : `${one.format(value * 1000)} ${priceUnit}`);

/** A ratio, as 1.3 ×. */
export const times = (value) => (value === null || value === undefined ? dash : `${one.format(value)} ×`);

const states = {
  direct: ["●", "Direct", "good"],
  relay: ["▲", "Relayed", "warn"],
  "peer-relay": ["▲", "Peer relay", "warn"],
  unreachable: ["✕", "Unreachable", "bad"],
  offline: ["○", "Offline", "bad"],
  unknown: ["?", "Unknown", ""],
  absent: ["∅", "No verdict", "bad"],
  self: ["◆", "This node", ""],
};

/** [sign, words, class] of a path: never told apart by colour alone. */
export function stateOf(type, relayNode) {
  const [sign, words, tone] = states[type] ?? states.unknown;
  return [sign, relayNode && relayNode !== "none" ? `${words} · ${relayNode}` : words, tone];
}
