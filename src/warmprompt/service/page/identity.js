// Who asks: a random id that stays in this browser, and, where the service needs one, a key that does not.

import { randomId } from "./api.js";

const USER = "warmprompt.user";
const KEY = "warmprompt.key";
const LONGEST_BYTES = 512;

/** Return this browser's user id; a new random one the first time. */
export function userId() {
  return localStorage.getItem(USER) ?? useId(randomId());
}

/** Keep a user id and return it. Throws an Error in plain words for one that the service cannot have. */
export function useId(id) {
  const bytes = new TextEncoder().encode(id).length;
  if (bytes < 1 || bytes > LONGEST_BYTES) throw new Error(`A user id has 1 to ${LONGEST_BYTES} bytes.`);
  if (id.includes("\0") || !id.isWellFormed()) throw new Error("This id holds characters that cannot be sent.");
  if (id === "." || id === "..") throw new Error("Browsers read . and .. as folders; choose another id.");
  localStorage.setItem(USER, id);
  return id;
}

/** Return an id short enough to show. */
export function shortId(id) {
  const [first] = /^[0-9a-f]{8}(?=-[0-9a-f]{4}-)/.exec(id) ?? [id];
  return first.length > 24 ? `${first.slice(0, 23)}…` : first;
}

/** Return the key of this tab, or null. */
export const apiKey = () => sessionStorage.getItem(KEY);

/** Keep a key until the tab is closed. */
export const useKey = (key) => sessionStorage.setItem(KEY, key.trim());
