// Rating a title: stars, or thumbs, as the catalogue's rating scale has it.

import { make, symbol } from "./dom.js";

const MOST = 5;

/**
 * Return what a person may choose, worst first: whole numbers where the scale has a few of them, five even
 * steps where it has many, thumbs where it has two ends or none. Without a scale an event is a like.
 */
export function choicesOf(scale) {
  if (!scale) return [{ value: null, name: "Like", sign: "like" }];
  const [lowest, highest] = scale;
  if (highest - lowest <= 1) {
    return [
      { value: lowest, name: "Dislike", sign: "dislike" },
      { value: highest, name: "Like", sign: "like" },
    ];
  }
  const whole = [];
  for (let value = Math.ceil(lowest); value <= Math.floor(highest); value += 1) whole.push(value);
  const even = Array.from({ length: MOST }, (_, step) => lowest + (step * (highest - lowest)) / (MOST - 1));
  const values = highest - lowest > MOST ? even : whole.slice(-MOST);
  return values.map((value, index) => ({ value, name: `${index + 1} of ${values.length} stars`, sign: "star" }));
}

/**
 * Return the controls that rate one title. One stop for the Tab key; arrows move inside, Enter or Space rates.
 *
 * @param title   Of what is rated
 * @param rating  Given before; undefined for none
 * @param rate    (value) => called with what was chosen
 */
export function ratingControls({ title, choices, rating, rate }) {
  const chosen = choices.findIndex((choice) => rating !== undefined && choice.value === nearest(choices, rating));
  const buttons = choices.map((choice, index) =>
    make(
      "button",
      {
        type: "button",
        class: choice.sign,
        "aria-label": choice.name,
        title: choice.name,
        "aria-pressed": String(index === chosen),
        tabindex: index === Math.max(0, chosen) ? "0" : "-1",
        onclick: () => rate(choice.value),
        onkeydown: (event) => moveBetween(event, buttons, index),
      },
      symbol(choice.sign),
    ),
  );
  const kind = choices[0].sign === "star" ? "rates stars" : "rates thumbs";
  return make("div", { class: kind, role: "group", "aria-label": `Rate ${title}` }, ...buttons);
}

/** Return a rating in words, for lists and speech. */
export function ratingName(choices, rating) {
  return choices.find((choice) => choice.value === nearest(choices, rating))?.name ?? "rated";
}

function nearest(choices, rating) {
  if (rating === null) return choices.at(-1).value;
  const by = (choice) => Math.abs(choice.value - rating);
  return choices.reduce((best, choice) => (by(choice) < by(best) ? choice : best)).value;
}

function moveBetween(event, buttons, index) {
  const to = { ArrowRight: index + 1, ArrowUp: index + 1, ArrowLeft: index - 1, ArrowDown: index - 1, Home: 0, End: buttons.length - 1 }[event.key];
  if (to === undefined || !buttons[to]) return;
  event.preventDefault();
  buttons[index].tabIndex = -1;
  buttons[to].tabIndex = 0;
  buttons[to].focus();
}
