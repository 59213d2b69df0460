// The page: what is asked when, and which part shows it. What is chosen is in the address: #node=git&range=24,
// and tailnet=… where it is not the first one.

import { showAlerts, showAlertsProblem } from "./js/alerts.js";
import { get, inTailnet, Poll, Problem } from "./js/api.js";
import { isOld, showCards, stateNow } from "./js/cards.js";
import { byId, setClass, setHidden, setText } from "./js/dom.js";
import { ForecastPanel } from "./js/forecast.js";
import { momentOf, span, stateOf, zone } from "./js/format.js";
import { HistoryPanel, isRange } from "./js/history.js";
import { offerTailnets } from "./js/tailnets.js";

const state = { about: null, tailnet: null, tailnets: [], nodes: [], sidecar: null, chosen: null, hours: 24, heardAt: null, clockOff: 0, problem: null, empty: false, answer: null, limit: null };
const announced = new Map();

/** The API's own time: the reader's clock may be wrong. */
const now = () => Date.now() + state.clockOff;

const history = new HistoryPanel((hours) => select(state.chosen, hours));
const forecast = new ForecastPanel();

const nodesPoll = new Poll(() => inTailnet("/health-monitoring/nodes", state.tailnet), 15000, heardNodes, nodesProblem);
const historyPoll = new Poll(historyPath, 30000, heardHistory, (problem) => history.showProblem(problem));
const alertsPoll = new Poll(() => "/alerts", 30000, (answer) => showAlerts(answer, now()), showAlertsProblem);
const forecastPoll = new Poll(() => "/models/metrics-history?limit=1000", 300000, (answer) => forecast.show(answer, now()), (problem) => forecast.showProblem(problem));

function historyPath() {
  if (!state.chosen) return null;
  return inTailnet(`/health-monitoring/latency-history/${encodeURIComponent(state.chosen)}?hours=${state.hours}`, state.tailnet);
}

function heardNodes({ nodes, sidecar }, at) {
  const wasDown = state.problem !== null;
  Object.assign(state, { nodes, sidecar, heardAt: Date.now(), problem: null });
  if (Math.abs(at - Date.now()) > 60000) state.clockOff = at - Date.now();
  state.empty = nodes.every((node) => node.measured_at === null);
  if (!state.chosen && nodes.length) select((nodes.find((node) => node.measured_at !== null) ?? nodes[0]).hostname, state.hours);
  announce(nodes);
  show();
  // The history may have come before the nodes, which know the limit.
  if (state.answer && limitOf(state.answer.hostname) !== state.limit) heardHistory(state.answer);
  if (wasDown) for (const poll of [historyPoll, alertsPoll, forecastPoll]) poll.run();
}

function nodesProblem(problem) {
  state.problem = problem;
  // No node is known: nothing else would ask for a history, and say why there is none.
  if (!state.chosen) history.showProblem(problem);
  show();
}

const limitOf = (hostname) => state.nodes.find((node) => node.hostname === hostname)?.threshold_ms ?? null;

function heardHistory(answer) {
  Object.assign(state, { answer, limit: limitOf(answer.hostname) });
  history.show(answer, state.limit, now());
}

function select(hostname, hours) {
  Object.assign(state, { chosen: hostname, hours, answer: null });
  const { tailnet } = state;
  const chosen = new URLSearchParams({ ...(tailnet && { tailnet }), ...(hostname && { node: hostname }), range: hours });
  window.history.replaceState(null, "", `#${chosen}`);
  history.expect(hostname ?? "", hours);
  showCards(state.nodes, state.tailnet, state.chosen, now(), choose);
  historyPoll.run();
}

const choose = (hostname) => select(hostname, state.hours);

/** Show another tailnet: nothing that is known of the one before says anything about it. */
function enter(tailnet, hostname) {
  Object.assign(state, { tailnet, nodes: [], sidecar: null, heardAt: null, problem: null });
  announced.clear();
  offerTailnets(state.tailnets, tailnet, (name) => enter(name, null));
  showDemo();
  select(hostname, state.hours);
  show();
  nodesPoll.run();
}

function readAddress() {
  const wanted = new URLSearchParams(location.hash.slice(1));
  const hours = Number(wanted.get("range"));
  if (isRange(hours)) state.hours = hours;
  const tailnet = wanted.get("tailnet");
  if (tailnet !== state.tailnet) enter(tailnet, wanted.get("node"));
  else select(wanted.get("node") ?? state.chosen, state.hours);
}

/** Everything that follows from the nodes and the time; safe to call again and again. */
function show() {
  if (state.heardAt !== null) {
    showCards(state.nodes, state.tailnet, state.chosen, now(), choose);
    setHidden(byId("nodes-empty"), !state.empty || !state.sidecar.ok);
    setText(byId("title-state"), headline());
  }
  showAge();
  showBanner();
}

function headline() {
  const bad = state.nodes.filter((node) => ["bad", "warn"].includes(stateOf(stateNow(node))[2]));
  document.title = bad.length ? `(${bad.length}) VPN health` : "VPN health";
  return bad.length ? `${bad.length} of ${state.nodes.length} nodes not reached directly` : "";
}

function showAge() {
  const age = byId("age");
  if (state.heardAt === null) return setText(age, state.problem ? "" : "Loading…");
  const newest = Math.max(...state.nodes.map((node) => Date.parse(node.measured_at ?? "") || 0));
  const old = state.nodes.length > 0 && newest > 0 && state.nodes.every((node) => node.measured_at === null || isOld(node, now()));
  setClass(age, old || state.problem ? "age stale" : "age");
  setText(age, newest ? `Newest round ${span(now() - newest)} ago` : "");
}

function showBanner() {
  const [text, tone] = bannerOf();
  const banner = byId("banner");
  setClass(banner, `banner ${tone}`);
  setText(banner, text);
  setHidden(banner, !text);
}

function bannerOf() {
  const { problem, sidecar, heardAt } = state;
  const seen = heardAt === null ? "" : ` What you see is from ${momentOf(heardAt)}.`;
  if (problem?.status === 0) return [`The API can’t be reached.${seen} Trying again.`, "bad"];
  if (problem?.status === 403) return [`Not allowed: ${problem.message}.`, "bad"];
  if (problem) return [`The API has no answer: ${problem.message}.${seen} Trying again.`, "bad"];
  if (sidecar && !sidecar.ok) return [`The sidecar does not answer: ${sidecar.detail}. Latency and paths are as last collected.`, ""];
  return ["", ""];
}

/** Tell those who listen that a node is reached differently from before. */
function announce(nodes) {
  const news = [];
  for (const node of nodes) {
    const [, words] = stateOf(stateNow(node), node.relay_node);
    const before = announced.get(node.hostname);
    if (before !== undefined && before !== words) news.push(`${node.hostname}: ${words}`);
    announced.set(node.hostname, words);
  }
  if (news.length) setText(byId("announce"), news.join(". "));
}

/** What of this page is simulated; of the tailnets only the first one can be. */
function showDemo() {
  const { about, tailnet } = state;
  const demo = [about?.demo_tailnet && tailnet === null && "tailnet", about?.demo_prices && "prices"].filter(Boolean);
  setText(byId("demo"), demo.length === 2 ? "Demo data" : `Demo ${demo[0]}`);
  setHidden(byId("demo"), demo.length === 0);
  setText(byId("demo-words"), demo.length ? `The ${demo.join(" and the ")} on this page ${demo[0] === "tailnet" && demo.length === 1 ? "is" : "are"} simulated. ` : "");
}

async function introduce() {
  try {
    const { body } = await get("/about");
    Object.assign(state, { tailnets: body.tailnets, about: body });
    offerTailnets(state.tailnets, state.tailnet, (name) => enter(name, null));
    showDemo();
    setHidden(byId("demo-prices"), !body.demo_prices);
    setText(byId("user"), body.user ?? "");
    setHidden(byId("user"), !body.user);
    byId("dagster").href = body.dagster_url;
    setHidden(byId("dagster"), false);
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    setTimeout(introduce, 10000);
  }
}

window.addEventListener("hashchange", readAddress);
setInterval(show, 10000);
setText(byId("zone"), `Times are in ${zone}.`);
introduce();
nodesPoll.run();
readAddress();
alertsPoll.run();
forecastPoll.run();
