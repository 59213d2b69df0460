// The page: what is asked when, and which part shows it. What is chosen is in the address: #node=git&range=24,
// tailnet=… where it is not the first one, and zone=utc where times are to be in UTC.

import { causesOf, marksOf, openIncident, showAlerts, showAlertsProblem } from "./js/alerts.js";
import { get, inTailnet, Poll, Problem } from "./js/api.js";
import { expectCauses, expectRounds, isOld, showCards, showStrips, stateNow } from "./js/cards.js";
import { isUtc, useUtc, zone } from "./js/clock.js";
import { byId, setClass, setHidden, setText } from "./js/dom.js";
import { ForecastPanel } from "./js/forecast.js";
import { momentOf, span, stateOf } from "./js/format.js";
import { HistoryPanel, isRange, rangeFor } from "./js/history.js";
import { showNetwork, showNetworkProblem } from "./js/network.js";
import { PricePanel } from "./js/prices.js";
import { offerTailnets } from "./js/tailnets.js";

const state = { about: null, tailnet: null, tailnets: [], nodes: [], sidecar: null, chosen: null, hours: 24, heardAt: null, clockOff: 0, problem: null, empty: false, answer: null, limit: null, strips: null, alerts: null, network: null, errors: null, days: null, complete: false };
const announced = new Map();

/** The API's own time: the reader's clock may be wrong. */
const now = () => Date.now() + state.clockOff;

const history = new HistoryPanel((hours) => select(state.chosen, hours), openIncident);
const forecast = new ForecastPanel();
const prices = new PricePanel();

const nodesPoll = new Poll(() => inTailnet("/health-monitoring/nodes", state.tailnet), 15000, heardNodes, nodesProblem);
const historyPoll = new Poll(historyPath, 30000, heardHistory, (problem) => {
  history.showProblem(problem);
  askTheRest();
});
const alertsPoll = new Poll(() => "/alerts", 30000, heardAlerts, showAlertsProblem);
const stripsPoll = new Poll(() => inTailnet("/health-monitoring/strips", state.tailnet), 20000, heardStrips, () => {});
const networkPoll = new Poll(() => inTailnet("/health-monitoring/network", state.tailnet), 60000, heardNetwork, showNetworkProblem);
const errorsPoll = new Poll(() => "/models/metrics-history?limit=1000", 300000, heardErrors, (problem) => forecast.showProblem(problem));
// The middle one of three days is the present one, which the API names: the others follow from it.
const pricesPoll = new Poll(() => "/models/forecast", 300000, heardToday, (problem) => prices.showProblem(problem));

function historyPath() {
  if (!state.chosen) return null;
  return inTailnet(`/health-monitoring/latency-history/${encodeURIComponent(state.chosen)}?hours=${state.hours}`, state.tailnet);
}

function heardNodes({ nodes, sidecar, stale_after_s }, at) {
  expectRounds(stale_after_s);
  const wasDown = state.problem !== null;
  Object.assign(state, { nodes, sidecar, heardAt: Date.now(), problem: null });
  if (Math.abs(at - Date.now()) > 60000) state.clockOff = at - Date.now();
  state.empty = nodes.every((node) => node.measured_at === null);
  if (!state.chosen && nodes.length) select((nodes.find((node) => node.measured_at !== null) ?? nodes[0]).hostname, state.hours);
  announce(nodes);
  show();
  if (state.strips) showStrips(state.strips, state.tailnet);
  // The history may have come before the nodes, which know the limit.
  if (state.answer && limitOf(state.answer.hostname) !== state.limit) heardHistory(state.answer);
  if (wasDown) for (const poll of [historyPoll, stripsPoll, alertsPoll, networkPoll, errorsPoll, pricesPoll]) poll.run();
}

function heardStrips(strips) {
  state.strips = strips;
  showStrips(strips, state.tailnet);
}

function heardAlerts(alerts) {
  state.alerts = alerts;
  showAlerts(alerts, now(), find);
  showMarks();
  show();
}

function heardNetwork(network) {
  state.network = network;
  showNetwork(network);
}

function heardErrors(errors) {
  state.errors = errors;
  forecast.show(errors, now());
}

async function heardToday(today) {
  const others = [-1, 1].map((step) => new Date(Date.parse(`${today.day}T00:00:00Z`) + step * 86400000).toISOString().slice(0, 10));
  try {
    const [before, after] = await Promise.all(others.map((day) => get(`/models/forecast?day=${day}`)));
    state.days = [before.body, today, after.body];
    prices.show(state.days, now());
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    prices.showProblem(error);
  }
}

/** Whether a tailnet is the one on the page. */
const isShown = (tailnet) => tailnet === (state.tailnet ?? state.about?.tailnet ?? tailnet);

/** The incidents of the node that is shown, above its chart; and why nodes are relayed, in their cards. */
function showMarks() {
  if (state.alerts) expectCauses(causesOf(state.alerts, isShown));
  history.setIncidents(state.alerts && state.chosen ? marksOf(state.alerts, state.chosen, isShown, now()) : []);
}

/** Show the node of an incident, over a range that reaches back to it. */
function find(alert) {
  const tailnet = alert.tailnet === state.about?.tailnet ? null : alert.tailnet;
  const hours = rangeFor(now() - Date.parse(alert.since));
  Object.assign(state, { hours });
  if (tailnet !== state.tailnet) enter(tailnet, alert.subject);
  else select(alert.subject, hours);
  byId("latency-panel").scrollIntoView({ block: "start" });
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
  askTheRest();
}

/** Fetch what the first chart does not need, after that chart is drawn, so as not to delay it. */
function askTheRest() {
  if (state.complete) return;
  state.complete = true;
  for (const poll of [stripsPoll, pricesPoll, errorsPoll, networkPoll]) poll.run();
}

function select(hostname, hours) {
  Object.assign(state, { chosen: hostname, hours, answer: null });
  const { tailnet } = state;
  const chosen = new URLSearchParams({ ...(tailnet && { tailnet }), ...(hostname && { node: hostname }), range: hours, ...(isUtc() && { zone: "utc" }) });
  window.history.replaceState(null, "", `#${chosen}`);
  showMarks();
  history.expect(hostname ?? "", hours);
  showCards(state.nodes, state.tailnet, state.chosen, now(), choose);
  historyPoll.run();
}

const choose = (hostname) => select(hostname, state.hours);

/** Show another tailnet, and drop all data of the previous one. */
function enter(tailnet, hostname) {
  Object.assign(state, { tailnet, nodes: [], sidecar: null, heardAt: null, problem: null, strips: null, network: null });
  announced.clear();
  offerTailnets(state.tailnets, tailnet, (name) => enter(name, null));
  showDemo();
  select(hostname, state.hours);
  show();
  nodesPoll.run();
  if (state.complete) for (const poll of [stripsPoll, networkPoll]) poll.run();
}

/** Show all times in UTC, or in the browser's zone again. */
function speakUtc(on) {
  useUtc(on);
  showZone();
  const { answer, strips, alerts, network, errors, days } = state;
  if (answer) heardHistory(answer);
  if (strips) heardStrips(strips);
  if (alerts) heardAlerts(alerts);
  if (network) heardNetwork(network);
  if (errors) heardErrors(errors);
  if (days) prices.show(days, now());
  show();
}

function showZone() {
  const button = byId("zone");
  button.setAttribute("aria-pressed", String(isUtc()));
  setText(button, isUtc() ? "Times in UTC" : `Times in ${zone()}`);
  button.title = isUtc() ? "Show them in this browser’s zone" : "Show them in UTC";
  setText(byId("zone-words"), `Times are in ${zone()}.`);
}

function readAddress() {
  const wanted = new URLSearchParams(location.hash.slice(1));
  if ((wanted.get("zone") === "utc") !== isUtc()) speakUtc(!isUtc());
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
  const fresh = state.nodes.some((node) => !node.collected && Date.parse(node.measured_at) === newest);
  setText(age, newest ? `Newest round ${span(now() - newest)} ago${fresh ? ", not collected yet" : ""}` : "");
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

/** Announce to screen readers that the path to a node has changed. */
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

/** Which data of this page are simulated; of the tailnets only the first one can be. */
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
    showMarks();
    byId("dagster").href = body.dagster_url;
    setHidden(byId("dagster"), false);
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    setTimeout(introduce, 10000);
  }
}

window.addEventListener("hashchange", readAddress);
setInterval(show, 10000);
byId("zone").addEventListener("click", () => {
  speakUtc(!isUtc());
  select(state.chosen, state.hours);
});
showZone();
introduce();
nodesPoll.run();
readAddress();
alertsPoll.run();
setTimeout(askTheRest, 1500);
