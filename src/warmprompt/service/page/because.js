// Explanation of an item's rank: the service's sentence, and the exact effects and the experts behind it.

import { make } from "./dom.js";
import { ratingName } from "./rating.js";

const MOST = 4;
const LEAST = 1e-3;

/** Return an explanation as elements: sentence, effects as bars, nearest titles liked. */
export function becauseOf(explanation, choices) {
  const effects = [
    ...explanation.events.map((one) => ({
      name: one.title,
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
  const parts = [make("p", { class: "sentence" }, explanation.sentence)];
  if (shown.length) parts.push(bars(shown, explanation.rank));
  const experts = explanation.experts.map((one) => `${one.name.replaceAll("_", " ")} ${one.part > 0 ? "+" : "−"}${Math.abs(one.part).toFixed(2)}`);
  parts.push(make("p", { class: "note" }, `Score ${explanation.score.toFixed(2)}: ${experts.join(", ")}.`));
  const near = explanation.nearest.filter((one) => one.similarity > 0.2).slice(0, 2);
  if (near.length) parts.push(make("p", { class: "note" }, `Nearest of what you liked: ${near.map((one) => one.title).join("; ")}.`));
  return parts;
}

function bars(effects, rank) {
  const largest = Math.max(...effects.map((one) => Math.abs(one.effect)));
  const rows = effects.map((one) => {
    const bar = make("span", { class: one.effect > 0 ? "bar" : "bar against", "aria-hidden": "true" });
    bar.style.setProperty("--share", Math.abs(one.effect) / largest);
    const moved = one.without === rank ? "same place without it" : `place ${one.without} without it`;
    return make(
      "li",
      {},
      make("span", { class: "name" }, one.name, make("small", {}, one.more)),
      make("span", { class: "effect" }, `${one.effect > 0 ? "+" : "−"}${Math.abs(one.effect).toFixed(2)}`),
      bar,
      make("small", {}, moved),
    );
  });
  return make("ul", { class: "effects", "aria-label": "What raised and lowered its score" }, ...rows);
}
