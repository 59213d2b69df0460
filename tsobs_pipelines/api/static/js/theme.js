// The colours of the style sheet, for what is drawn on a canvas.

const scheme = matchMedia("(prefers-color-scheme: dark)");

export function colours() {
  const style = getComputedStyle(document.documentElement);
  const of = (name) => style.getPropertyValue(`--${name}`).trim();
  return Object.fromEntries(
    ["text", "muted", "line", "grid", "card", "accent", "band", "warn-fill", "warn-bg", "bad-fill", "naive"].map((name) => [name, of(name)]),
  );
}

export const onThemeChange = (redraw) => scheme.addEventListener("change", redraw);

/** Diagonal lines, so that a shaded span is told apart without its colour. */
export function hatch(context, colour, direction) {
  const size = 6;
  const tile = document.createElement("canvas");
  tile.width = tile.height = size;
  const pen = tile.getContext("2d");
  pen.strokeStyle = colour;
  pen.lineWidth = 1;
  pen.beginPath();
  for (const shift of [-size, 0, size]) {
    pen.moveTo(shift, direction > 0 ? 0 : size);
    pen.lineTo(shift + size, direction > 0 ? size : 0);
  }
  pen.stroke();
  return context.createPattern(tile, "repeat");
}
