// The ranking as a list that glides into its new order, and the list of what is popular beside it.

import { byId, isStill, make } from "./dom.js";

const GLIDE_MS = 600;
const GLIDE = { duration: GLIDE_MS, easing: "cubic-bezier(.2,.8,.2,1)" };

/**
 * Put a ranking on the page. Rows that stay keep their element, and with it focus and open explanations.
 *
 * @param places   [{place, item, title}], best first
 * @param former   item -> place before, or null at first
 * @param popular  item -> place among the most popular
 * @param parts    {rating: (place) => element, explain: (place, panel) => void, explains: boolean}
 */
export function showRanking(places, { former, popular, parts }) {
  const list = byId("ranking");
  const before = rowsOf(list);
  const stood = new Map([...before].map(([item, row]) => [item, row.getBoundingClientRect().top]));
  const focus = focusIn(list);
  const rows = places.map((place) => {
    const row = before.get(String(place.item)) ?? newRow(place, parts);
    fill(row, place, { former, popular, parts });
    return row;
  });
  list.replaceChildren(...rows);
  list.setAttribute("aria-busy", "false");
  restore(focus, list);
  if (former && !isStill()) rows.forEach((row) => glide(row, stood.get(row.dataset.item)));
}

/** Put the list of popular titles on the page, each with the user's own place for it. */
export function showPopular(items, { mine, rated }) {
  const rows = items.map(({ item, title }) => {
    const place = mine.get(item);
    const mark = rated.has(item) ? "rated" : place ? `#${place}` : "lower";
    const spoken = rated.has(item) ? "You rated it" : place ? `Your place ${place}` : "Not among your first 50";
    return make(
      "li",
      {},
      make("span", { class: "title" }, title),
      make("span", { class: place && place <= 10 ? "mine near" : "mine", title: spoken }, make("span", { "aria-hidden": "true" }, mark), make("span", { class: "unseen" }, spoken)),
    );
  });
  byId("popular").replaceChildren(...rows);
}

/** Close all explanations: they belonged to the ranking before. */
export function closeReasons() {
  for (const button of byId("ranking").querySelectorAll(".why[aria-expanded=true]")) button.click();
}

function newRow({ item, title }, parts) {
  const panel = make("div", { class: "because", id: `because-${item}`, hidden: true });
  const why = make(
    "button",
    { type: "button", class: "why", "aria-expanded": "false", "aria-controls": panel.id, "aria-label": `Why ${title}?` },
    "Why?",
  );
  why.addEventListener("click", () => {
    const opens = panel.hidden;
    panel.hidden = !opens;
    why.setAttribute("aria-expanded", String(opens));
    if (opens) parts.explain(item, panel);
  });
  return make(
    "li",
    { "data-item": item },
    make("span", { class: "place" }),
    make("div", { class: "name" }, make("span", { class: "title" }, title), make("span", { class: "tags" })),
    make("div", { class: "acts" }, parts.rating({ item, title }), parts.explains ? why : null),
    panel,
  );
}

function fill(row, { place, item }, { former, popular }) {
  row.querySelector(".place").textContent = place;
  row.classList.toggle("first", place === 1);
  const tags = [];
  if (former) {
    const was = former.get(item);
    if (!was) tags.push(make("span", { class: "moved up" }, "new here"));
    else if (was > place) tags.push(make("span", { class: "moved up" }, `▲ ${was - place}`, make("span", { class: "unseen" }, " places up")));
    else if (was < place) tags.push(make("span", { class: "moved" }, `▼ ${place - was}`, make("span", { class: "unseen" }, " places down")));
  }
  const withAll = popular.get(item);
  tags.push(make("span", { class: "with-all" }, withAll ? `#${withAll} with everyone` : "beyond #200 with everyone"));
  row.querySelector(".tags").replaceChildren(...tags);
}

const rowsOf = (list) => new Map([...list.children].map((row) => [row.dataset.item, row]));

function focusIn(list) {
  const focused = document.activeElement;
  const row = focused?.closest?.("#ranking > li");
  if (!row) return null;
  return { focused, place: [...list.children].indexOf(row) };
}

/** Moving an element takes the focus from it: give it back, or to the row that is there now. */
function restore(focus, list) {
  if (!focus) return;
  const next = list.children[Math.min(focus.place, list.children.length - 1)];
  const to = focus.focused.isConnected ? focus.focused : next?.querySelector("[tabindex='0']");
  to?.focus({ preventScroll: true });
}

function glide(row, from) {
  if (from === undefined) {
    row.animate([{ opacity: 0, transform: "translateY(12px)" }, { opacity: 1, transform: "none" }], GLIDE);
    return;
  }
  const by = from - row.getBoundingClientRect().top;
  if (by) row.animate([{ transform: `translateY(${by}px)` }, { transform: "none" }], GLIDE);
}
