// One thing after the other: what the service cannot do now stays first in line, and nothing overtakes it.

import { byId } from "./dom.js";
import { alarm, askForKey, complain } from "./notices.js";

const todo = [];
let working = false;

/** Do something after all that was begun before. */
export function inTurn(work) {
  todo.push(work);
  return goOn();
}

/**
 * Go on with what is left to do; asks for a key where one is missing, and tells what goes wrong: at the field that
 * an error names, else at the top of the page.
 */
export async function goOn() {
  if (working) return;
  working = true;
  while (todo.length) {
    try {
      await todo[0]();
      todo.shift();
      alarm(null);
    } catch (error) {
      byId("ranking").setAttribute("aria-busy", "false");
      if (error.status === 401 && (await askForKey(error.plain))) continue;
      const stuck = isPassing(error);
      if (!stuck) todo.shift();
      if (error.field) complain(error.field, error.plain);
      else alarm(error.plain ?? "Something on this page went wrong. Load it anew.", stuck && goOn);
      if (error.plain === undefined) console.error(error);
      if (stuck) break;
    }
  }
  working = false;
}

/** Tell whether the same request may succeed later: nobody there, no key yet, too busy, a mistake over there. */
export const isPassing = ({ status }) => status === 0 || status === 401 || status === 429 || status >= 500;
