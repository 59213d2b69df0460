// What the points of a latency history say: where the line breaks, which spans are relayed, what they sum to.

const relays = new Set(["relay", "peer-relay"]);

/** A history as numbers, with the spans in which nothing was measured or a relay was used. */
export function readHistory(answer, now) {
  const step = answer.step_s * 1000;
  const points = answer.history.map((point) => ({ ...point, x: Date.parse(point.timestamp) }));
  const start = now - answer.hours * 3600000;
  const freshFrom = points.find((point) => !point.collected)?.x ?? Infinity;
  return { ...answer, step, start, end: now, points, freshFrom, gaps: gapsOf(points, step, start, now), relayed: relayedSpans(points, step) };
}

/** Spans without rounds; the newest rounds take some minutes to be collected, which is no gap. */
function gapsOf(points, step, start, end) {
  const gaps = [];
  const least = Math.max(2.5 * step, 3 * 60000);
  let last = start;
  for (const { x } of points) {
    if (x - last > least) gaps.push([last, x]);
    last = x + step;
  }
  if (end - last > Math.max(least, 15 * 60000)) gaps.push([last, end]);
  return gaps;
}

function relayedSpans(points, step) {
  const spans = [];
  for (const { x, relayed } of points) {
    if (!(relayed > 0)) continue;
    const open = spans.at(-1);
    if (open && x - open[1] <= step) open[1] = x + step;
    else spans.push([x, x + step]);
  }
  return spans;
}

/** {x, y} of a field; not a number where the line has to break. */
export function line(series, field) {
  const result = [];
  let last = null;
  for (const point of series.points) {
    if (last !== null && point.x - last > 2.5 * series.step) result.push({ x: (point.x + last) / 2, y: NaN });
    result.push({ x: point.x, y: point[field] ?? NaN });
    last = point.x;
  }
  return result;
}

/** The whole range in figures, rounds weighing alike. */
export function totals(points) {
  let rounds = 0, sum = 0, answered = 0, lost = 0, probed = 0, direct = 0, relayed = 0;
  let least = null, most = null;
  for (const point of points) {
    rounds += point.rounds;
    relayed += point.relayed * point.rounds;
    if (point.loss !== null) {
      lost += point.loss * point.rounds;
      probed += point.rounds;
    }
    if (point.latency_ms === null) continue;
    answered += point.rounds;
    sum += point.latency_ms * point.rounds;
    direct += point.rounds * (1 - point.relayed);
    least = least === null ? point.latency_min : Math.min(least, point.latency_min ?? least);
    most = most === null ? point.latency_max : Math.max(most, point.latency_max ?? most);
  }
  return {
    rounds,
    mean: answered ? sum / answered : null,
    least,
    most,
    loss: probed ? lost / probed : null,
    direct: direct + relayed ? direct / (direct + relayed) : null,
    relayed: direct + relayed ? relayed / (direct + relayed) : null,
  };
}

/** At most `rows` groups of neighbouring points, for the table. */
export function grouped(points, rows) {
  const size = Math.max(1, Math.ceil(points.length / rows));
  const groups = [];
  for (let end = points.length; end > 0; end -= size) {
    const group = points.slice(Math.max(0, end - size), end);
    const relayed = group.some((point) => point.relayed > 0 && !relays.has(point.connection_type));
    groups.push({ ...totals(group), x: group[0].x, type: group.at(-1).connection_type, partly: relayed });
  }
  return groups;
}
