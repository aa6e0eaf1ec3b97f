// The first minute: sentences to begin with, and a screen of titles to mark.

import { byId, make } from "./dom.js";

const FILMS = ["I love dark crime films with dry humour", "Slow science fiction with big ideas", "Something funny for an evening with children"];
const MOST_LETTERS = 42;

/**
 * Return three sentences to begin with: about films where the catalogue has genres, else about its most popular
 * titles.
 */
export function examplesOf(attributes, top) {
  if (attributes.includes("genres")) return FILMS;
  return top.slice(0, 3).map(({ title }) => `More like ${title.length > MOST_LETTERS ? `${title.slice(0, MOST_LETTERS - 1)}…` : title}`);
}

/** Put the sentences below the field; `take` is called with the one that was chosen. */
export function showExamples(sentences, take) {
  const chip = (one) => make("li", {}, make("button", { type: "button", class: "chip", onclick: () => take(one) }, one));
  byId("examples").replaceChildren(...sentences.map(chip));
}

/**
 * Bring the screen of titles to life.
 *
 * @param ask     (shown) => promise of {items}: what to ask about next
 * @param mark    (item) => called once with a title that was marked
 * @param failed  (error) => called when the service refuses
 */
export function openScreen({ ask, mark, failed }) {
  const [screen, list, more] = ["ask", "questions", "more"].map(byId);
  let shown = [];
  let coming = null;

  const fill = async () => {
    const before = shown;
    const { items } = await ask(before);
    if (before !== shown) return;
    shown = [...shown, ...items.map(({ item }) => item)];
    list.replaceChildren(...items.map(question));
    more.hidden = !items.length;
    byId("questions-note").textContent = items.length ? "Mark what you like: it counts at once." : "There is nothing more to ask about.";
  };

  /** Show the next titles; whoever asks meanwhile waits for the same ones. */
  const next = () => {
    coming ??= fill()
      .catch(failed)
      .finally(() => {
        coming = null;
      });
    return coming;
  };

  const question = (one) => {
    const choose = () => button.getAttribute("aria-pressed") === "false" && mark(one);
    const button = make("button", { type: "button", class: "chip", "aria-pressed": "false", "data-item": one.item, onclick: choose }, one.title);
    return make("li", {}, button);
  };

  more.addEventListener("click", () => next().then(() => list.querySelector("button")?.focus()));
  screen.addEventListener("toggle", () => screen.open && !list.children.length && next());

  return {
    /** Begin anew, opened or folded away; what is folded away is asked for when it is opened. */
    begin(opened) {
      shown = [];
      coming = null;
      list.replaceChildren();
      screen.open = opened;
      return opened && next();
    },
    /** Show which of the titles are rated. */
    follow(rated) {
      const items = new Set([...rated.keys()].map(String));
      for (const button of list.querySelectorAll("button")) {
        const isRated = items.has(button.dataset.item);
        button.setAttribute("aria-pressed", String(isRated));
        button.setAttribute("aria-disabled", String(isRated));
      }
    },
  };
}
