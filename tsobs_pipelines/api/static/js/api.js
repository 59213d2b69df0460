// Polls the API, but not while the page is hidden.

const PATIENCE_MS = 12000;
const RETRY_MS = 5000; // after a failure: who waits for the API should not wait for a whole turn more

/** An error response of the API; `status` is 0 when there was no response. */
export class Problem extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

/** The path, with the tailnet that is meant; the API takes the first one where none is named. */
export function inTailnet(path, tailnet) {
  if (!tailnet) return path;
  return `${path}${path.includes("?") ? "&" : "?"}tailnet=${encodeURIComponent(tailnet)}`;
}

export async function get(path, patience = PATIENCE_MS) {
  let answer;
  try {
    // no-cache: the browser asks whether what it has still holds, and gets 304 when it does.
    answer = await fetch(path, { cache: "no-cache", signal: AbortSignal.timeout(patience) });
  } catch {
    throw new Problem(0, "the API does not answer");
  }
  const body = await answer.json().catch(() => null);
  if (!answer.ok) throw new Problem(answer.status, body?.detail ?? `the API answered ${answer.status}`);
  if (body === null) throw new Problem(0, "the answer broke off");
  return { body, at: Date.parse(answer.headers.get("date") ?? "") || Date.now() };
}

/** Polls `path()` every `every` ms while the page is seen; `run()` asks at once, and only the newest answer counts. */
export class Poll {
  constructor(path, every, onAnswer, onProblem) {
    this.path = path;
    this.every = every;
    this.onAnswer = onAnswer;
    this.onProblem = onProblem;
    this.turn = 0;
    this.timer = 0;
    this.lastRun = 0;
    document.addEventListener("visibilitychange", () => {
      clearTimeout(this.timer);
      if (!document.hidden) this.later(Math.max(0, this.lastRun + this.every - Date.now()));
    });
  }

  later(wait) {
    clearTimeout(this.timer);
    if (!document.hidden) this.timer = setTimeout(() => this.run(), wait);
  }

  async run() {
    const turn = ++this.turn;
    const path = this.path();
    let wait = this.every;
    this.lastRun = Date.now();
    clearTimeout(this.timer);
    if (path) {
      try {
        const { body, at } = await get(path);
        if (turn === this.turn) this.onAnswer(body, at);
      } catch (error) {
        if (!(error instanceof Problem)) throw error;
        wait = Math.min(wait, error.status === 404 ? wait : RETRY_MS);
        if (turn === this.turn) this.onProblem(error);
      }
    }
    if (turn === this.turn) this.later(wait);
  }
}
