// Which of several tailnets is shown; with one, there is nothing to choose.

import { byId, keyed, make, setHidden } from "./dom.js";

/** Offer the tailnets; `choose(name)` is called with null for the first one. */
export function offerTailnets(names, chosen, choose) {
  setHidden(byId("tailnets"), names.length < 2);
  const [first] = names;
  const label = (name) => {
    const box = make("label");
    const radio = make("input");
    Object.assign(radio, { type: "radio", name: "tailnet", value: name });
    radio.addEventListener("change", () => choose(name === first ? null : name));
    box.append(radio, make("span", "", name));
    return box;
  };
  // The legend stays: it has no key, and is not one of these.
  const box = byId("tailnets");
  if (!box.querySelector("div")) box.append(make("div"));
  keyed(box.querySelector("div"), names, (name) => name, label, (each, name) => {
    each.firstElementChild.checked = name === (chosen ?? first);
  });
}
