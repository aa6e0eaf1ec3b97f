// Making and finding elements. Text goes in as text, never as markup: titles and sentences are data.

const SVG = "http://www.w3.org/2000/svg";

/** Return the element with an id of the page. */
export const byId = (id) => document.getElementById(id);

/** Return a new HTML element; `on...` attributes are listeners, null and false ones are left out. */
export function make(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** Return a new SVG element, likewise. */
export function draw(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

/** Return a symbol of the page as a picture without a name of its own. */
export function symbol(name) {
  return draw("svg", { class: "symbol", "aria-hidden": "true" }, draw("use", { href: `#${name}` }));
}

/** Tell whether whoever looks prefers less movement. */
export const isStill = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

/** Return a function that calls another one once nobody has called it for a while; `now()` does not wait. */
export function afterPause(wait_ms, call) {
  let timer = null;
  const waiting = () => {
    clearTimeout(timer);
    timer = setTimeout(waiting.now, wait_ms);
  };
  waiting.now = () => {
    waiting.stop();
    call();
  };
  waiting.stop = () => {
    clearTimeout(timer);
    timer = null;
  };
  return waiting;
}

/** Return a number of milliseconds as a person reads it. */
export function spoken(ms) {
  return ms < 1000 ? `${Math.max(1, Math.round(ms))} ms` : `${(ms / 1000).toFixed(1)} s`;
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === false || value === undefined) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== false));
  return element;
}
