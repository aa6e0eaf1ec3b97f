// Finding a title by typing: a text field with a list below it, after the ARIA combobox pattern.

import { afterPause, byId, make } from "./dom.js";
import { holds, meant } from "./titles.js";

const PAUSE_MS = 120;
const MOST = 8;

/**
 * Bring the search field to life.
 *
 * @param find    (words, n, signal) => promise of {items}
 * @param choose  (item) => called with the one that was chosen
 * @param note    (item) => a few words beside its title, or ""
 * @param failed  (error) => called when the service refuses, and with null when it answers
 */
export function openSearch({ find, choose, note, failed }) {
  const field = byId("search");
  const list = byId("found");
  let found = [];
  let active = -1;
  let asking = null;

  const close = () => {
    looking.stop();
    asking?.abort();
    list.hidden = true;
    field.setAttribute("aria-expanded", "false");
    point(-1);
  };

  const point = (index) => {
    active = index;
    [...list.children].forEach((option, at) => option.setAttribute("aria-selected", String(at === index)));
    const option = list.children[index];
    if (option) {
      field.setAttribute("aria-activedescendant", option.id);
      option.scrollIntoView({ block: "nearest" });
    } else field.removeAttribute("aria-activedescendant");
  };

  const take = (item) => {
    if (!item) {
      byId("found-note").textContent = "Choose one with the arrow keys.";
      return;
    }
    close();
    field.value = "";
    byId("found-note").textContent = "";
    choose(item);
  };

  const show = (words) => {
    const options = found.map((item, index) =>
      make(
        "li",
        { id: `found-${index}`, role: "option", "aria-selected": "false", onclick: () => take(item) },
        make("span", {}, ...marked(item.title, words)),
        make("small", {}, note(item) || (holds(item, words) ? "" : "similar")),
      ),
    );
    list.replaceChildren(...options);
    list.hidden = !found.length;
    field.setAttribute("aria-expanded", String(Boolean(found.length)));
    byId("found-note").textContent = found.length ? `${found.length} found; choose with the arrow keys.` : "No title like this.";
    point(-1);
  };

  const look = async () => {
    const words = field.value.trim();
    asking?.abort();
    if (!words) {
      byId("found-note").textContent = "";
      close();
      return;
    }
    asking = new AbortController();
    const { signal } = asking;
    try {
      ({ items: found } = await find(words, MOST, signal));
      failed(null);
      if (!signal.aborted) show(words);
    } catch (error) {
      if (error.name !== "AbortError") failed(error);
    }
  };
  const looking = afterPause(PAUSE_MS, look);

  const keys = {
    ArrowDown: () => point((active + 1) % found.length),
    ArrowUp: () => point((active <= 0 ? found.length : active) - 1),
    Enter: () => take(found[active] ?? meant(found, field.value.trim())),
    Escape: close,
    Tab: close,
  };
  field.addEventListener("input", looking);
  field.addEventListener("keydown", (event) => {
    if (list.hidden && event.key === "ArrowDown") looking.now();
    if (list.hidden || !keys[event.key]) return;
    if (event.key !== "Tab") event.preventDefault();
    keys[event.key]();
  });
  // The pointer takes an option before the field loses its focus.
  list.addEventListener("pointerdown", (event) => event.preventDefault());
  field.addEventListener("blur", close);
}

function marked(title, words) {
  const at = title.toLowerCase().indexOf(words.toLowerCase());
  if (at < 0) return [title];
  const end = at + words.length;
  return [title.slice(0, at), make("mark", {}, title.slice(at, end)), title.slice(end)];
}
