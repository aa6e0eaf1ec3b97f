// Talking to the service: keys, patience, and what its refusals mean in plain words.

import { asWritten } from "./titles.js";

const TRIES = 5;
const LONGEST_WAIT_S = 5;

/** A request without an answer. `plain` is for people, `status` 0 means that nobody was there. */
export class ServiceError extends Error {
  constructor(status, plain) {
    super(plain);
    this.status = status;
    this.plain = plain;
  }
}

/**
 * Return the service's requests as functions.
 *
 * @param key      () => the API key, or null
 * @param waiting  (sentence) => called while a busy service is asked again
 */
export function openApi({ key, waiting }) {
  const ask = (path, options) => asked(path, { ...options, key, waiting });
  const at = (user, rest = "") => `v1/users/${encodeURIComponent(user)}${rest}`;
  return {
    items: (words, n, signal) => ask(`v1/items?${new URLSearchParams({ q: words, n })}`, { signal }),
    ranking: (user, { n, ...more }) => ask(at(user, `/recommendations?${new URLSearchParams({ n, ...more })}`)),
    questions: (user, n, shown) => ask(at(user, `/questions?${new URLSearchParams([["n", n], ...shown.map((item) => ["shown", item])])}`)),
    scores: (user, items) => ask(at(user, `/recommendations?${new URLSearchParams([["n", items.length], ...items.map((item) => ["candidates", item])])}`)),
    sentence: (user, item) => ask(at(user, `/sentence?${new URLSearchParams({ item })}`)),
    // Named by `once`, so that it counts once however often it is sent.
    send: (user, body, once) => ask(at(user, "/events"), { method: "POST", body, once }),
    rankFor: (body) => ask("v1/rank?budget_ms=10000", { method: "POST", body }),
    hidden: (n) => ask(`v1/items?${new URLSearchParams({ hidden: true, n })}`),
    stored: (user) => ask(at(user)),
    storedText: (user) => ask(at(user), { read: (text) => text }),
    forget: (user) => ask(at(user), { method: "DELETE" }),
  };
}

/** Return a random UUID; `crypto.randomUUID` is missing where the page came over plain HTTP from elsewhere. */
export function randomId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 15) | 64;
  bytes[8] = (bytes[8] & 63) | 128;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}

/**
 * Return the value of a JSON text. Whole numbers of 16 digits and more, which may be ids and which JavaScript
 * would round, become text; the service takes an id either way.
 */
export function parsed(text) {
  const token = /"[^"\\]*(?:\\.[^"\\]*)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;
  return JSON.parse(text.replace(token, (found) => (/^-?\d{16,}$/.test(found) ? `"${found}"` : found)));
}

async function asked(path, { method = "GET", body, once, signal, key, waiting, read = (text) => named(parsed(text)) }) {
  const headers = {};
  if (key()) headers.Authorization = `Bearer ${key()}`;
  if (body) headers["Content-Type"] = "application/json";
  if (once) headers["Idempotency-Key"] = once;
  const request = { method, headers, signal, body: body && JSON.stringify(body), cache: "no-store" };
  for (let tries = 1; ; tries += 1) {
    const answer = await sent(path, request);
    if (answer.ok) return read(await answer.text());
    const wait_s = Number(answer.headers.get("Retry-After"));
    if (!wait_s || tries === TRIES || method === "DELETE") throw await refusal(answer);
    waiting(answer.status === 429 ? "Too many requests at once; going on in a moment." : "The service is busy; asking again.");
    await new Promise((resolve) => setTimeout(resolve, 1000 * Math.min(wait_s, LONGEST_WAIT_S)));
  }
}

/** Give items their titles as people write them, and a name to those that have none. */
function named(answer) {
  for (const one of answer.items ?? []) one.title = one.title ? asWritten(one.title) : `Item ${one.item}`;
  return answer;
}

async function sent(path, request) {
  try {
    return await fetch(path, request);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServiceError(0, "The service cannot be reached. Is it running, and are you online?");
  }
}

async function refusal(answer) {
  const problem = await answer.json().catch(() => ({}));
  const plain = {
    401: "This service needs a key, or the one you gave is no longer in force.",
    403: `Your key may not do this. ${problem.remedy ?? ""}`,
    421: "Open this page as localhost: without keys the service answers to this machine alone.",
    429: "Too many requests. Wait a moment, then try again.",
    500: "The service made a mistake. Try again; if it stays, tell whoever runs it.",
    501: "This service was started without explanations.",
    503: "The service is too busy, or its database is away. Nothing is lost that was saved; try again in a moment.",
  }[answer.status];
  const known = { "text about the user": "This is longer than can be read at once. Shorten it a little." }[problem.field];
  return new ServiceError(answer.status, plain ?? known ?? [problem.field, problem.remedy].filter(Boolean).join(": "));
}
