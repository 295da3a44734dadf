// Numbers as people read them.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const precise = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });

export function numberText(value, unit = "") {
  if (!Number.isFinite(value)) return "no value";
  return withUnit((Math.abs(value) >= 1000 ? whole : precise).format(value), unit);
}

export function shortText(value, unit = "") {
  return withUnit(compact.format(value), unit);
}

export const countText = (count) => whole.format(count);

function withUnit(text, unit) {
  if (!unit) return text;
  return unit === "%" ? `${text}%` : `${text}\u00a0${unit}`;
}

export function placeText([x, y], geographic) {
  if (!geographic) return `${x.toFixed(1)} km, ${y.toFixed(1)} km`;
  const east = ((x + 540) % 360) - 180; // the map may run past the 180th meridian
  return `${Math.abs(y).toFixed(2)}° ${y < 0 ? "S" : "N"}, `
    + `${Math.abs(east).toFixed(2)}° ${east < 0 ? "W" : "E"}`;
}
