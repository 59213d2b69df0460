// Ticks of a time axis at times that people name: midnights, hours, ten minutes, in the reader's own zone.

import { calendar } from "./clock.js";
import { clockOf, dateOf, dayOf } from "./format.js";

const MINUTE = 60000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const steps = [10 * MINUTE, 20 * MINUTE, HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR, DAY, 2 * DAY, 5 * DAY, 10 * DAY];

/** The ticks between two times, at most `most` of them: [{ value, label }]. */
export function timeTicks(start, end, most) {
  const step = steps.find((each) => (end - start) / each <= most) ?? steps.at(-1);
  return step >= DAY ? midnights(start, end, step) : hours(start, end, step);
}

/** Every so many midnights, back from the newest: counted from the oldest, few of them could lie between the two. */
function midnights(start, end, step) {
  const { midnight, addDays } = calendar();
  const ticks = [];
  const time = new Date(end);
  midnight(time);
  while (time.getTime() >= start) {
    ticks.unshift({ value: time.getTime(), label: labelOf(time, step) });
    // By the calendar, so that midnight stays midnight when the clocks change.
    addDays(time, -step / DAY);
  }
  return ticks;
}

function hours(start, end, step) {
  const { midnight, addHours, addMinutes } = calendar();
  const ticks = [];
  const time = new Date(start);
  midnight(time);
  while (time.getTime() <= end) {
    const value = time.getTime();
    if (value >= start) ticks.push({ value, label: labelOf(time, step) });
    // By the calendar, as above.
    if (step >= HOUR) addHours(time, step / HOUR);
    else addMinutes(time, step / MINUTE);
    if (time.getTime() <= value) time.setTime(value + step);
  }
  return ticks;
}

function labelOf(time, step) {
  if (step >= 2 * DAY) return dateOf(time);
  if (step === DAY) return dayOf(time);
  return calendar().isMidnight(time) ? dayOf(time) : clockOf(time);
}

/** What every time axis of the page has in common, as options of Chart.js. */
export function timeAxis(colour) {
  return {
    type: "linear",
    bounds: "data",
    border: { color: colour.line },
    grid: { color: colour.grid, drawTicks: false },
    ticks: { color: colour.muted, maxRotation: 0, autoSkip: false, padding: 6, callback: (_, index, ticks) => ticks[index].label },
    afterBuildTicks: (axis) => {
      // Four labels fit on a phone, too: they are at most 50 px wide.
      axis.ticks = timeTicks(axis.min, axis.max, Math.max(4, Math.floor(axis.width / 90)));
    },
  };
}
