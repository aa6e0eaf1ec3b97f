// Notices: the spoken status, the alert with a way out, and two questions.

import { apiKey, useKey } from "./identity.js";
import { byId, make } from "./dom.js";

const SEEN_MS = 7000;
let leaving = null;

/** Say something: screen readers read it out, eyes find it at the bottom for a while. */
export function say(sentence) {
  const status = byId("status");
  status.textContent = sentence;
  status.classList.remove("unseen");
  clearTimeout(leaving);
  leaving = setTimeout(() => status.classList.add("unseen"), SEEN_MS);
}

/** Show what went wrong, with a button that tries again; null takes it away. */
export function alarm(sentence, again) {
  const box = byId("alert");
  box.hidden = sentence === null;
  const retry = again && make("button", { type: "button", onclick: again }, "Try again");
  box.replaceChildren(...(sentence === null ? [] : [make("p", {}, sentence), ...(retry ? [retry] : [])]));
}

/** Say at a field of the page what is wrong with it; null takes it back. */
export function complain(field, sentence) {
  const box = byId(`${field}-error`);
  box.hidden = sentence === null;
  box.textContent = sentence ?? "";
  byId(field).setAttribute("aria-invalid", String(sentence !== null));
}

/** Ask for a key and keep it; resolves to false when nobody gives one. */
export async function askForKey(why) {
  byId("key-why").textContent = apiKey() ? why : "It is reached from other machines too, so it answers only to those who hold a key.";
  byId("key").value = "";
  // A plain button, so that Enter in the field does not press it.
  byId("no-key").onclick = () => byId("key-dialog").close("no");
  const given = (await answerOf(byId("key-dialog"))) === "yes" && byId("key").value.trim();
  if (given) useKey(given);
  byId("key").value = "";
  return Boolean(given);
}

/** Ask whether to forget; resolves to the answer. */
export async function askToForget(what) {
  byId("forget-what").textContent = what;
  return (await answerOf(byId("forget-dialog"))) === "yes";
}

function answerOf(dialog) {
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue), { once: true });
  });
}
