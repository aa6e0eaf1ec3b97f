// The ranking as a list that glides into its new order, and the list of what is popular beside it.

import { byId, isStill, make } from "./dom.js";

const STRIP = 3;
const GLIDE_MS = 600;
const GLIDE = { duration: GLIDE_MS, easing: "cubic-bezier(.2,.8,.2,1)" };

/**
 * Put a ranking on the page. Rows that stay keep their element, and with it focus and open explanations.
 *
 * @param items    [{rank, item, title}], best first
 * @param former   item -> rank before, or null at first
 * @param popular  item -> rank among the most popular
 * @param parts    {rating: (row) => element, explain: (item, panel) => void, explains: boolean}
 */
export function showRanking(items, { former, popular, parts }) {
  const list = byId("ranking");
  const before = rowsOf(list);
  const stood = new Map([...before].map(([item, row]) => [item, row.getBoundingClientRect().top]));
  const focus = focusIn(list);
  const rows = items.map((one) => {
    const row = before.get(String(one.item)) ?? newRow(one, parts);
    fill(row, one, { former, popular, parts });
    return row;
  });
  list.replaceChildren(...rows);
  list.setAttribute("aria-busy", "false");
  byId("strip").replaceChildren(...items.slice(0, STRIP).map(({ rank, title }) => make("li", {}, `${rank}. ${title}`)));
  restore(focus, list);
  if (former && !isStill()) rows.forEach((row) => glide(row, stood.get(row.dataset.item)));
}

/** Put the list of popular titles on the page, each with the user's own rank for it. */
export function showPopular(items, { mine, rated }) {
  const rows = items.map(({ item, title }) => {
    const rank = mine.get(item);
    const mark = rated.has(item) ? "rated" : rank ? `#${rank}` : "lower";
    const spoken = rated.has(item) ? "You rated it" : rank ? `Your place ${rank}` : "Not among your first 50";
    return make(
      "li",
      {},
      make("span", { class: "title" }, title),
      make("span", { class: rank && rank <= 10 ? "mine near" : "mine", title: spoken }, make("span", { "aria-hidden": "true" }, mark), make("span", { class: "unseen" }, spoken)),
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
  const row = make(
    "li",
    { "data-item": item },
    make("span", { class: "rank" }),
    make("div", { class: "name" }, make("span", { class: "title" }, title), make("div", { class: "below" }, make("span", { class: "tags" }), parts.rating({ item, title }))),
    parts.explains ? why : null,
    panel,
  );
  // A tap shows the stars, as hovering does.
  row.addEventListener("click", (event) => {
    if (event.target.closest("button, .because")) return;
    for (const other of row.parentElement.children) other.classList.toggle("touched", other === row && !row.classList.contains("touched"));
  });
  return row;
}

function fill(row, { rank, item }, { former, popular }) {
  row.querySelector(".rank").textContent = rank;
  row.classList.toggle("first", rank === 1);
  const tags = [];
  if (former) {
    const was = former.get(item);
    if (!was) tags.push(make("span", { class: "moved up" }, "new here"));
    else if (was > rank) tags.push(make("span", { class: "moved up" }, `▲ ${was - rank}`, make("span", { class: "unseen" }, " places up")));
    else if (was < rank) tags.push(make("span", { class: "moved" }, `▼ ${rank - was}`, make("span", { class: "unseen" }, " places down")));
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
  return { focused, index: [...list.children].indexOf(row) };
}

/** Moving an element takes the focus from it: give it back, or to the row that is there now. */
function restore(focus, list) {
  if (!focus) return;
  const next = list.children[Math.min(focus.index, list.children.length - 1)];
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
