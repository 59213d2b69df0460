// The one tooltip of the page, for what is drawn without text of its own. Screen readers get the same text
// from the element that it points at.

import { byId, make, setHidden } from "./dom.js";

/** Show lines of words above the middle of a box on the screen. */
export function showTip(lines, box) {
  const tip = byId("tip");
  tip.replaceChildren(...lines.map((line, place) => make("p", place ? "" : "first", line)));
  setHidden(tip, false);
  const { width, height } = tip.getBoundingClientRect();
  const left = Math.max(8, Math.min(box.left + box.width / 2 - width / 2, document.documentElement.clientWidth - width - 8));
  const above = box.top - height - 8;
  tip.style.left = `${left}px`;
  tip.style.top = `${above >= 4 ? above : box.bottom + 8}px`;
}

export const hideTip = () => setHidden(byId("tip"), true);

document.addEventListener("keydown", (event) => event.key === "Escape" && hideTip());
document.addEventListener("scroll", hideTip, { passive: true, capture: true });
