// The network around the sidecar: what explains a relay.

import { byId, definitions, keyed, make, setHidden, setText } from "./dom.js";
import { clockOf, ms } from "./format.js";

const SHOWN = 6;

export function showNetwork(network) {
  const { sidecar, measured_at, regions } = network;
  const at = measured_at === null ? "" : clockOf(Date.parse(measured_at));
  setText(byId("network-sub"), measured_at === null ? "No netcheck in the last day." : sidecar.ok ? `As the sidecar sees it, ${at}` : `As last collected, ${at}: the sidecar does not answer`);
  definitions(byId("network-facts"), measured_at === null ? [] : facts(network));
  const slowest = Math.max(1, ...regions.slice(0, SHOWN).map((region) => region.latency_ms ?? 0));
  setHidden(byId("regions-box"), regions.length === 0);
  keyed(byId("regions"), regions.slice(0, SHOWN), (region) => region.id, newRegion, (line, region) => {
    setText(line.children[0], region.code ?? `region ${region.id}`);
    line.children[1].firstElementChild.style.width = `${((region.latency_ms ?? 0) / slowest) * 100}%`;
    setText(line.children[2], `${ms(region.latency_ms)}${region.home ? ", home" : ""}`);
    line.className = region.home ? "home" : "";
  });
  const more = regions.length - SHOWN;
  setText(byId("regions-more"), more > 0 ? `and ${more} farther ${more === 1 ? "one" : "ones"}` : "");
}

export function showNetworkProblem(problem) {
  if (byId("network-facts").children.length) return;
  setText(byId("network-sub"), `Not known: ${problem.message}.`);
}

const yes = (value, good, bad) => (value === null ? "– not known" : value ? `✓ ${good}` : `✕ ${bad}`);

function facts({ udp, ipv4, ipv6, nat, port_mapping, captive_portal }) {
  const pairs = [
    ["UDP", yes(udp, "gets through", "blocked: every path is a relay")],
    ["NAT", nat === null ? "– not known" : nat === "easy" ? "✓ easy: one port for all peers" : "▲ hard: another port for each peer"],
    ["Port mapping", port_mapping === null ? "– not known" : port_mapping.length ? `✓ ${port_mapping.join(", ")}` : "✕ none offered"],
    ["IPv6", yes(ipv6, "gets through", "none")],
  ];
  if (ipv4 === false) pairs.push(["IPv4", "✕ none"]);
  if (captive_portal) pairs.push(["Captive portal", "▲ yes"]);
  return pairs;
}

function newRegion() {
  const line = make("li");
  const bar = make("span", "bar");
  bar.setAttribute("aria-hidden", "true");
  bar.append(make("span"));
  line.append(make("span", "code"), bar, make("span", "reach"));
  return line;
}
