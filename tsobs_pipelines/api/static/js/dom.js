// Small helpers to change the page only where it differs: nothing flickers, no focus is lost.

export const byId = (id) => document.getElementById(id);

export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function setHidden(element, hidden) {
  if (element.hidden !== hidden) element.hidden = hidden;
}

export function setClass(element, names) {
  if (element.className !== names) element.className = names;
}

export function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

/** Make the children of `list` match `items`, keeping the elements of those that stay. */
export function keyed(list, items, keyOf, create, update) {
  const old = new Map([...list.children].map((child) => [child.dataset.key, child]));
  let place = list.firstElementChild;
  for (const item of items) {
    const key = keyOf(item);
    let element = old.get(key);
    if (element) old.delete(key);
    else {
      element = create(item);
      element.dataset.key = key;
    }
    update(element, item);
    if (element === place) place = place.nextElementSibling;
    else list.insertBefore(element, place);
  }
  for (const element of old.values()) element.remove();
}

/** Fill a definition list with [term, text or element] pairs, in place. */
export function definitions(list, pairs) {
  keyed(
    list,
    pairs,
    ([term]) => term,
    ([term]) => {
      const box = make("div");
      box.append(make("dt", "", term), make("dd"));
      return box;
    },
    (box, [, value]) => {
      const place = box.lastElementChild;
      if (typeof value === "string") setText(place, value);
      else if (place.firstChild !== value) place.replaceChildren(value);
    },
  );
}

/** A bar of shares: direct, then relayed. The text beside it says the same. */
export function shareBar(bar, direct, relayed) {
  while (bar.children.length < 2) bar.append(make("span"));
  bar.children[0].style.width = `${(direct ?? 0) * 100}%`;
  bar.children[1].style.width = `${(relayed ?? 0) * 100}%`;
  setHidden(bar.children[0], !direct);
  setHidden(bar.children[1], !relayed);
}
