// Titles as people write them, and whether a title is what somebody typed.

const MOVED = /([^()\s][^()]*), (The|A|An|Le|La|Les|L'|Il|Lo|Gli|Der|Die|Das|El|Los|Las|Un|Une)(?=\s*(?:\(|\)|$))/g;
const YEAR = /\s*\(\d{4}\)\s*$/;

/** Return a title with its article in front: "Matrix, The (1999)" is "The Matrix (1999)". */
export const asWritten = (title) => title.replace(MOVED, (_, name, article) => article + (article.endsWith("'") ? "" : " ") + name);

/**
 * Return the title that words mean beyond doubt: the one spelled like them, with or without its year, or else
 * the only one that holds them. Titles that are merely similar are never meant.
 */
export function meant(items, words) {
  const wanted = words.toLowerCase();
  const spelled = items.filter(({ title }) => [title, title.replace(YEAR, "")].some((one) => one.toLowerCase() === wanted));
  const holding = items.filter((item) => holds(item, words));
  return [spelled, holding].find((some) => some.length === 1)?.[0] ?? null;
}

/** Tell whether an item's title holds the words. */
export const holds = ({ title }, words) => title.toLowerCase().includes(words.toLowerCase());
