// Explanation of an item's rank: the service's sentence, and the exact effects and the experts behind it.

import { make } from "./dom.js";
import { ratingName } from "./rating.js";
import { asWritten } from "./titles.js";

const MOST = 4;
const LEAST = 1e-3;
const EXPERTS = {
  user_vector: "your vector",
  popularity: "popularity",
  most_popular: "popularity, while nothing is known of you",
  user_neighbours: "people with your titles",
  user_posterior: "people with your taste",
  tfidf: "titles with similar words",
  user_text: "titles like your words",
};

/** Return an explanation as elements: sentence, effects as bars, nearest titles liked. */
export function becauseOf(explanation, choices) {
  const effects = [
    ...explanation.events.map((one) => ({
      name: asWritten(one.title),
      more: one.event.rating === null ? "liked" : ratingName(choices, one.event.rating),
      effect: one.effect,
      without: one.rank_without,
    })),
    ...explanation.words.map((one) => ({
      name: one.kind === "word" ? `“${one.text}”` : `${one.name} ${one.text}`,
      more: "your words",
      effect: one.effect,
      without: one.rank_without,
    })),
  ];
  effects.sort((one, other) => Math.abs(other.effect) - Math.abs(one.effect));
  const shown = effects.filter((one) => Math.abs(one.effect) > LEAST).slice(0, MOST);
  const parts = [make("p", { class: "sentence" }, sentenceOf(explanation.sentence))];
  if (shown.length) parts.push(bars("What raised and lowered its score", shown.map((one) => ({ ...one, note: moved(one.without, explanation.rank) }))));
  const experts = explanation.experts
    .filter(({ part }) => Math.abs(part) > LEAST)
    .map(({ name, part }) => ({ name: EXPERTS[name] ?? name.replaceAll("_", " "), effect: part }));
  parts.push(make("p", { class: "note" }, `What its score of ${explanation.score.toFixed(2)} is made of:`), bars("Parts of its score", experts));
  const near = explanation.nearest.filter((one) => one.similarity > 0.2).slice(0, 2);
  if (near.length) parts.push(make("p", { class: "note" }, `Nearest of what you liked: ${near.map((one) => asWritten(one.title)).join("; ")}.`));
  return parts;
}

const moved = (without, rank) => (without === rank ? "same place without it" : `place ${without} without it`);

/** Return a sentence of the service with the titles in it as people write them. */
export const sentenceOf = (sentence) => sentence.replace(/(?<=“)[^“”]+(?=”)/g, asWritten);

function bars(label, effects) {
  const largest = Math.max(...effects.map((one) => Math.abs(one.effect)));
  const rows = effects.map((one) => {
    const bar = make("span", { class: one.effect > 0 ? "bar" : "bar against", "aria-hidden": "true" });
    bar.style.setProperty("--share", Math.abs(one.effect) / largest);
    return make(
      "li",
      {},
      make("span", { class: "name" }, one.name, one.more ? make("small", {}, one.more) : null),
      make("span", { class: "effect" }, `${one.effect > 0 ? "+" : "−"}${Math.abs(one.effect).toFixed(2)}`),
      bar,
      one.note ? make("small", {}, one.note) : null,
    );
  });
  return make("ul", { class: "effects", "aria-label": label }, ...rows);
}
