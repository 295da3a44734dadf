// The note beside the pointer.

import { element, make } from "./elements.js";
import { numberText } from "./numbers.js";

const canHover = matchMedia("(hover: hover)");
const FAR = 14; // pixels from the pointer
let last = 0;

export async function showTip(run, view, place, x, y) {
  const own = ++last;
  const tip = element("tip");
  if (place < 0 || !canHover.matches) {
    tip.hidden = true;
    return;
  }
  const { name } = await run.texts();
  if (own !== last) return; // the pointer has moved on
  tip.replaceChildren(make("b", { textContent: name(place) }));
  const said = valueText(view, place);
  if (said) tip.append(make("span", { textContent: said }));
  tip.hidden = false;
  const { clientWidth: width, clientHeight: height } = tip.parentElement;
  const left = x + FAR + tip.offsetWidth > width ? x - FAR - tip.offsetWidth : x + FAR;
  const top = Math.min(y + FAR, height - tip.offsetHeight - 4);
  tip.style.transform = `translate(${Math.max(4, left)}px, ${top}px)`;
}

function valueText(view, place) {
  if (view?.kind === "groups") {
    const group = view.values[place];
    return `Group ${group + 1}: ${view.descriptions[group]}`;
  }
  if (view?.kind !== "column") return "";
  return `${view.name}: ${numberText(view.values[place], view.unit)}`;
}
