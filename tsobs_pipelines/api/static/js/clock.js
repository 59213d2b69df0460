// The time zone in which the page shows times: the browser's own, or UTC.

let utc = false;

export const isUtc = () => utc;

/** Switch to UTC, or back to the browser's zone; the caller redraws whatever shows times. */
export function useUtc(on) {
  utc = on;
  for (const remake of remakers) remake();
}

const remakers = [];

/** A function that formats times with these options, in the zone of the moment. */
export function timeFormat(options) {
  let format;
  const remake = () => (format = new Intl.DateTimeFormat(undefined, { ...options, ...(utc && { timeZone: "UTC" }) }));
  remakers.push(remake);
  remake();
  return (ms) => format.format(ms);
}

const offset = timeFormat({ timeZoneName: "shortOffset" });

/** The zone by its name, with its distance from UTC where the name does not say it. */
export function zone() {
  if (utc) return "UTC";
  const name = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const apart = offset(Date.now()).split(/\s/).at(-1);
  return name === "UTC" || !/^(GMT|UTC)/.test(apart) ? name : `${name.replaceAll("_", " ")} (${apart})`;
}

/** The calendar of that zone: what midnight and the hours of a Date are. */
export const calendar = () => (utc ? inUtc : inBrowser);

const inUtc = {
  midnight: (time) => time.setUTCHours(0, 0, 0, 0),
  addDays: (time, days) => time.setUTCDate(time.getUTCDate() + days),
  addHours: (time, hours) => time.setUTCHours(time.getUTCHours() + hours),
  addMinutes: (time, minutes) => time.setUTCMinutes(time.getUTCMinutes() + minutes),
  isMidnight: (time) => time.getUTCHours() + time.getUTCMinutes() === 0,
};

const inBrowser = {
  midnight: (time) => time.setHours(0, 0, 0, 0),
  addDays: (time, days) => time.setDate(time.getDate() + days),
  addHours: (time, hours) => time.setHours(time.getHours() + hours),
  addMinutes: (time, minutes) => time.setMinutes(time.getMinutes() + minutes),
  isMidnight: (time) => time.getHours() + time.getMinutes() === 0,
};
