// The page: sends the user's inputs to the service and shows the rankings.
//
//   open     catalogue, then whoever this browser is
//   tell     an event or a sentence, then the ranking anew, then the step on the way
//   forget   everything, here and there

import { openApi, randomId } from "./api.js";
import { examplesOf, openScreen, showExamples } from "./asking.js";
import { becauseOf, sentenceOf } from "./because.js";
import { afterPause, byId, make, spoken } from "./dom.js";
import { apiKey, shortId, useId, userId } from "./identity.js";
import { keep, kept, planeOf, withStep } from "./journey.js";
import { askToForget, complain, say } from "./notices.js";
import { drawBump, drawMap } from "./plots.js";
import { choicesOf, ratingControls, ratingName } from "./rating.js";
import { closeReasons, showPopular, showRanking } from "./ranking.js";
import { openSearch } from "./search.js";
import { goOn, inTurn, isPassing } from "./turns.js";

const SHOWN = 10;
const ASKED = 50;
const LISTED = 200;
const PROBED = 100;
const QUESTIONS = 12;
const PAUSE_MS = 700;
const PATIENT_MS = 10_000;

const api = openApi({ key: apiKey, waiting: say });
/** The catalogue as this page needs it; the same for every user. */
const catalogue = { choices: [], probe: [], popular: new Map(), titles: new Map() };
/** Whoever is looked at. */
let me = nobody(userId());
/** Whether the service answers why. */
let explains = true;

function nobody(user) {
  return { user, about: "", attributes: {}, rated: new Map(), seq: 0, model: "", ranks: null, steps: [], plane: null };
}

async function open() {
  const { items, total, rating_scale: scale, attributes } = await api.items("", LISTED);
  catalogue.choices = choicesOf(scale);
  catalogue.probe = items.slice(0, PROBED).map(({ item }) => item);
  catalogue.popular = new Map(items.map(({ item }, index) => [item, index + 1]));
  catalogue.top = items.slice(0, SHOWN);
  learnTitles(items);
  byId("catalogue-size").textContent = `${total.toLocaleString("en")} titles`;
  showExamples(examplesOf(attributes, items), (sentence) => {
    byId("about").value = sentence;
    describing.now();
  });
  await meet();
}

/** Show this browser's user, with everything that the service has stored. */
async function meet() {
  const user = me.user;
  me = nobody(user);
  const ranking = await api.ranking(user, { n: ASKED });
  // An unknown user has no export.
  if (ranking.last_seq) restore(await api.stored(user));
  await learnRated();
  const known = me.rated.size + Boolean(me.about) > 0;
  me.steps = kept(user, worldOf(ranking), ranking.last_seq) ?? [await startingStep(known, ranking)];
  if (known && me.steps.length === 1) await addStep({ kind: "before", label: "Everything you entered before", ranking });
  byId("about").value = me.about;
  showMe();
  show(ranking);
  await screen.begin(!ranking.last_seq);
}

function restore(stored) {
  for (const { kind, body } of stored.log) {
    if (kind === "event") {
      me.rated.delete(body.item);
      me.rated.set(body.item, body);
    } else if (kind === "profile") {
      me.about = body.about ?? me.about;
      me.attributes = body.attributes ?? me.attributes;
    }
  }
}

/** Look up the titles of what was rated: the log holds ids alone. */
async function learnRated() {
  const unknown = [...me.rated.keys()].filter((item) => !catalogue.titles.has(item)).slice(-LISTED);
  if (unknown.length) {
    const found = await api.rankFor({ candidates: unknown, n: unknown.length }).catch(() => ({ items: [] }));
    learnTitles(found.items);
    // Hidden ones are in no ranking.
    if (found.items.length < unknown.length) learnTitles((await api.hidden(LISTED).catch(() => ({ items: [] }))).items);
  }
}

const learnTitles = (items) => items.forEach(({ item, title }) => catalogue.titles.set(item, title));
const titleOf = (item) => catalogue.titles.get(item) ?? `Item ${item}`;

/**
 * Tell the service something, then show what follows from it.
 *
 * @param undo   () => takes back what the page shows already, where the service refuses it
 * @param field  The field of the page that a refusal is about, if there is one
 */
function tell(body, { kind, label, undo, field }) {
  const [user, once] = [me.user, randomId()];
  let begun = performance.now();
  return inTurn(async () => {
    if (user !== me.user) return;
    byId("ranking").setAttribute("aria-busy", "true");
    try {
      const { first_seq: first } = await api.send(user, body, once);
      // Another client added entries meanwhile: start again from the service's log.
      if (first !== me.seq + 1) return await meet();
    } catch (error) {
      if (!isPassing(error)) {
        undo();
        error.field = field;
      } else if (error.plain) error.plain += " Your last change is not saved yet.";
      begun = performance.now();
      throw error;
    }
    let ranking = await api.ranking(user, { n: ASKED });
    if (ranking.stale) {
      tellTime(ranking);
      ranking = await api.ranking(user, { n: ASKED, budget_ms: PATIENT_MS });
    }
    if (ranking.model !== me.model) return await open();
    show(ranking, { begun });
    await addStep({ kind, label, ranking });
    showWay();
  });
}

/** Rate a title; without a value it is liked. */
async function rate(item, value) {
  const event = value === null ? { item } : { item, rating: value };
  const before = me.rated.get(item);
  me.rated.delete(item);
  me.rated.set(item, event);
  const label = `${titleOf(item)}: ${value === null ? "liked" : ratingName(catalogue.choices, value)}`;
  const undo = () => {
    me.rated.delete(item);
    if (before) me.rated.set(item, before);
    showMe();
  };
  showMe();
  await tell({ events: [event] }, { kind: "event", label, undo });
}

function describe() {
  const about = byId("about").value.trim();
  if (about === me.about) return;
  complain("about", null);
  const before = me.about;
  me.about = about;
  const undo = () => {
    me.about = before;
  };
  tell({ about }, { kind: "about", label: about ? `“${about}”` : "Sentence taken back", undo, field: "about" });
}

/** Put a ranking on the screen, with the time that it took. */
function show(ranking, { begun = null } = {}) {
  learnTitles(ranking.items);
  me.model = ranking.model;
  me.seq = ranking.last_seq;
  closeReasons();
  const ranks = new Map(ranking.items.map(({ item, rank }) => [item, rank]));
  const shown = ranking.items.slice(0, SHOWN).filter(({ item }) => !me.rated.has(item));
  showRanking(shown, {
    former: begun === null ? null : me.ranks,
    popular: catalogue.popular,
    parts: { rating: ({ item, title }) => stars(item, title), explain, explains },
  });
  showPopular(catalogue.top, { mine: ranks, rated: me.rated });
  me.ranks = ranks;
  tellTime(ranking, begun);
  byId("ranking-note").textContent = ranking.last_seq ? "" : "You have no history yet, so you see the ranking for everybody.";
  byId("stored").textContent = ranking.last_seq ? `${ranking.last_seq} ${ranking.last_seq === 1 ? "entry" : "entries"} in your log, and what was derived from them.` : "Nothing.";
  byId("forget").disabled = byId("export").disabled = !ranking.last_seq;
}

function tellTime(ranking, begun = null) {
  const time = byId("time");
  time.classList.toggle("stale", ranking.stale);
  if (ranking.stale) {
    time.textContent = "still adapting";
    say("The service is busy. This is your ranking from before; the fresh one follows.");
    return;
  }
  if (begun === null) {
    time.textContent = "";
    return;
  }
  const whole = spoken(performance.now() - begun);
  const model = ranking.adapt_ms === null ? "" : spoken(ranking.adapt_ms);
  time.replaceChildren(make("b", {}, model ? `adapted in ${model}` : "ranked"), make("span", {}, `on screen after ${whole}`));
  say(`${model ? `Adapted in ${model}.` : "Ranked anew."} First for you: ${ranking.items[0]?.title ?? "nothing"}.`);
}

/** Show the user's inputs. */
function showMe() {
  byId("who").textContent = shortId(me.user);
  byId("user-id").value = me.user;
  const rows = [...me.rated].reverse().map(([item, { rating }]) =>
    make("li", {}, make("span", { class: "title" }, titleOf(item)), stars(item, titleOf(item), rating ?? null)),
  );
  byId("rated").replaceChildren(...rows);
  byId("ratings").hidden = !rows.length;
  screen.follow(me.rated);
  showWay();
}

const stars = (item, title, rating) => ratingControls({ title, choices: catalogue.choices, rating, rate: (value) => rate(item, value) });

async function explain(item, panel) {
  panel.replaceChildren(make("p", { class: "note", role: "status" }, "Leaving out one thing after the other …"));
  const [user, seq] = [me.user, me.seq];
  try {
    const { items } = await api.ranking(user, { n: 1, candidates: item, explain: true, budget_ms: PATIENT_MS });
    if (user !== me.user || seq !== me.seq) return;
    const parts = items.length ? becauseOf(items[0].explanation, catalogue.choices) : [make("p", {}, "The ranking has moved on; ask again.")];
    panel.replaceChildren(make("div", { role: "status" }, ...parts));
    // The language model takes a while; the template's sentence is there until then, and if it fails.
    const written = items.length && (await api.sentence(user, item).catch(() => null));
    if (written && user === me.user && seq === me.seq) panel.querySelector(".sentence").textContent = sentenceOf(written.sentence);
  } catch (error) {
    explains = error.status !== 501;
    panel.replaceChildren(make("p", { role: "status" }, error.plain ?? "No explanation could be shown."));
  }
}

async function startingStep(known, ranking) {
  const { probe } = catalogue;
  const [first, probed] = known
    ? await Promise.all([api.rankFor({ n: ASKED }), api.rankFor({ candidates: probe, n: probe.length })])
    : [ranking, await api.scores(me.user, probe)];
  learnTitles(first.items);
  return stepOf({ kind: "start", label: "A stranger: nothing is known", ranking: first, scores: scoresIn(probed), seq: known ? -1 : 0 });
}

async function addStep({ kind, label, ranking }) {
  // The user's state is adapted already, so these are scores alone. Without them the step is not on the map.
  const probed = await api.scores(me.user, catalogue.probe).catch(() => null);
  const known = probed && !probed.stale && probed.last_seq === ranking.last_seq;
  const step = stepOf({ kind, label, ranking, scores: known && scoresIn(probed), seq: ranking.last_seq });
  me.steps = withStep(me.steps, step);
  keep(me.user, worldOf(ranking), me.steps);
}

/** Return what steps must share to be compared: the model, and the titles that are probed. */
const worldOf = ({ model }) => `${model} ${catalogue.probe}`;

function stepOf({ kind, label, ranking, scores, seq }) {
  return { kind, label, seq, ms: ranking.adapt_ms, top: ranking.items.map(({ item }) => item), scores: scores || null };
}

function scoresIn({ items }) {
  const found = new Map(items.map(({ item, score }) => [item, score]));
  return catalogue.probe.map((item) => found.get(item) ?? null);
}

/** Draw how each step moved the vector and the ranking. */
function showWay() {
  const moved = me.steps.length > 1;
  byId("journey").hidden = !moved;
  byId("journey-empty").hidden = moved;
  if (!moved) return;
  byId("steps").replaceChildren(
    ...me.steps.map((step, number) =>
      make("li", {}, make("b", {}, number ? String(number) : "start"), make("span", {}, step.label), step.ms ? make("small", {}, spoken(step.ms)) : null),
    ),
  );
  byId("steps").scrollLeft = byId("steps").scrollWidth;
  const drawn = me.steps.map((step, number) => ({ ...step, number })).filter((step) => step.scores);
  me.plane = planeOf(drawn, me.plane);
  drawMap(me.plane, catalogue.probe.map(titleOf), drawn);
  byId("map-share").textContent = drawn.length > 3 ? `This view holds ${Math.round(100 * me.plane.share)}% of the way.` : "";
  drawBump(me.steps, catalogue.titles);
}

async function forget() {
  const { user } = me;
  if (!(await askToForget(`The ${me.seq} entries of your log, the states made from them and this page's memory are deleted. Nobody can bring them back.`))) return;
  inTurn(async () => {
    const gone = await api.forget(user);
    const { last_seq: left } = await api.ranking(user, { n: 1 });
    keep(user, "", null);
    await become(randomId());
    const bytes = gone.scrubbed ? "No byte of it is left in the service's database." : "The database overwrites the bytes later.";
    const proof = left ? "But new entries arrived under your id meanwhile." : "Asked again, the service knows nothing under your id.";
    say(`Forgotten: ${gone.entries} entries and ${gone.states} states. ${bytes} ${proof} You have a new id.`);
    byId("for-you").focus();
  });
}

/** Begin anew as somebody else; throws in plain words where the id cannot be. */
async function become(id) {
  me = nobody(useId(id));
  describing.stop();
  byId("chosen").hidden = true;
  byId("search").value = "";
  byId("about").value = "";
  complain("about", null);
  const inside = byId("identity").contains(document.activeElement);
  byId("identity").open = false;
  if (inside) byId("identity").querySelector("summary").focus();
  await meet();
}

async function download() {
  // As the service wrote it: no number goes through JavaScript's hands.
  const url = URL.createObjectURL(new Blob([await api.storedText(me.user)], { type: "application/json" }));
  make("a", { href: url, download: "warmprompt-about-me.json" }).click();
  URL.revokeObjectURL(url);
}

function choose({ item, title }) {
  learnTitles([{ item, title }]);
  const done = async (value) => {
    byId("chosen").hidden = true;
    byId("search").focus();
    await rate(item, value);
  };
  const controls = ratingControls({ title, choices: catalogue.choices, rating: me.rated.get(item)?.rating, rate: done });
  byId("chosen").replaceChildren(make("span", { class: "title" }, title), controls);
  byId("chosen").hidden = false;
  controls.querySelector("[tabindex='0']").focus();
}

const screen = openScreen({
  ask: (shown) => api.questions(me.user, QUESTIONS, shown),
  mark: ({ item, title }) => {
    learnTitles([{ item, title }]);
    rate(item, null);
  },
  failed: (error) => {
    byId("questions-note").textContent = error.plain ?? "No titles could be shown.";
  },
});
const describing = afterPause(PAUSE_MS, describe);
byId("about").addEventListener("input", describing);
byId("about").addEventListener("blur", () => describing.now());
byId("about").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  describing.now();
});
openSearch({
  find: api.items,
  choose,
  note: ({ item }) => (me.rated.has(item) ? "rated" : ""),
  failed: (error) => complain("search", error && (error.plain ?? "The search failed.")),
});
byId("identity-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const id = byId("user-id").value.trim();
  complain("user-id", null);
  inTurn(() => become(id).catch((error) => Promise.reject(error.status === undefined ? Object.assign(error, { plain: error.message, field: "user-id" }) : error)));
});
byId("new-id").addEventListener("click", () => inTurn(() => become(randomId())));
byId("forget").addEventListener("click", forget);
byId("export").addEventListener("click", () => inTurn(download));
addEventListener("resize", afterPause(PAUSE_MS, showWay));
addEventListener("online", goOn);
inTurn(open);
