// The journey of one user: the inputs, step by step, and how each step changed the ranking.
//
// A step's `scores` are those of a fixed set of popular titles. They follow the user vector linearly, and
// only their differences mean something; so the plane seen here is a view of the vector itself.
// T steps, C titles.

const KEPT = "warmprompt.journey";
const MOST_STEPS = 40;

/**
 * Return a way with one step more. A sentence replaces the sentence before it, as it does for the service.
 *
 * @param steps  [{kind, label, seq, ms, top, scores}], the start first
 */
export function withStep(steps, step) {
  const replaces = step.kind === "about" && steps.at(-1)?.kind === "about";
  const whole = [...(replaces ? steps.slice(0, -1) : steps), step];
  return whole.length <= MOST_STEPS ? whole : [whole[0], ...whole.slice(-(MOST_STEPS - 1))];
}

/** Keep a way until the tab is closed; null forgets it. */
export function keep(user, world, steps) {
  if (steps === null) sessionStorage.removeItem(KEPT);
  else sessionStorage.setItem(KEPT, JSON.stringify({ user, world, steps }));
}

/** Return the way kept for a user, or null where it does not end where the service's log ends. */
export function kept(user, world, seq) {
  try {
    const found = JSON.parse(sessionStorage.getItem(KEPT));
    return found.user === user && found.world === world && found.steps.at(-1).seq === seq ? found.steps : null;
  } catch {
    return null;
  }
}

/**
 * Return the plane in which the way moved most: principal directions of the steps, seen from the start.
 *
 * @param steps   Steps with `scores`, (T, C); null where a title has none
 * @param former  The plane before, whose directions this one keeps as far as it can; or null
 * @returns {{points, columns, loadings, share}} points (T, 2), the start at the origin; the titles used;
 *          their loadings on both directions; share of the squared way that the plane shows
 */
export function planeOf(steps, former = null) {
  const columns = steps[0].scores.map((_, c) => c).filter((c) => steps.every((step) => step.scores[c] !== null));
  const rows = steps.map((step) => centred(columns.map((c) => step.scores[c])));
  const from = rows[0];
  const way = rows.map((row) => row.map((value, c) => value - from[c]));
  const gram = way.map((one) => way.map((other) => dot(one, other)));
  const { values, vectors } = eigen(gram);
  const total = values.reduce((sum, value) => sum + Math.max(value, 0), 0);
  const order = values.map((_, k) => k).sort((one, other) => values[other] - values[one]).slice(0, 2);
  const directions = order.map((k) => {
    const length = Math.sqrt(Math.max(values[k], 0));
    const loading = columns.map((_, c) => (length > 1e-9 ? dot(vectors[k], way.map((row) => row[c])) / length : 0));
    const sign = signOf(loading, columns, former?.directions[order.indexOf(k)]);
    return { loading: loading.map((value) => sign * value), points: vectors[k].map((value) => sign * value * length) };
  });
  const shown = order.reduce((sum, k) => sum + Math.max(values[k], 0), 0);
  return {
    points: way.map((_, t) => [0, 1].map((axis) => directions[axis]?.points[t] ?? 0)),
    columns,
    loadings: [0, 1].map((axis) => directions[axis]?.loading ?? columns.map(() => 0)),
    directions: directions.map(({ loading }) => new Map(columns.map((c, index) => [c, loading[index]]))),
    share: total > 0 ? shown / total : 1,
  };
}

/** Keep a direction pointing where it pointed before; at first, let the way lead to the right and up. */
function signOf(loading, columns, before) {
  const along = before ? columns.reduce((sum, c, index) => sum + loading[index] * (before.get(c) ?? 0), 0) : 0;
  return along < 0 ? -1 : 1;
}

function centred(row) {
  const mean = row.reduce((sum, value) => sum + value, 0) / row.length;
  return row.map((value) => value - mean);
}

const dot = (one, other) => one.reduce((sum, value, index) => sum + value * other[index], 0);

/** Return eigenvalues and eigenvectors of a small symmetric matrix: cyclic Jacobi rotations. */
function eigen(matrix) {
  const a = matrix.map((row) => [...row]);
  const n = a.length;
  const v = a.map((_, row) => a.map((__, column) => Number(row === column)));
  for (let sweep = 0; sweep < 60; sweep += 1) {
    let off = 0;
    for (let p = 0; p < n; p += 1) for (let q = p + 1; q < n; q += 1) off += a[p][q] ** 2;
    if (off < 1e-18 * (1 + a.reduce((sum, row, p) => sum + row[p] ** 2, 0))) break;
    for (let p = 0; p < n; p += 1) for (let q = p + 1; q < n; q += 1) rotate(a, v, p, q);
  }
  return { values: a.map((row, p) => row[p]), vectors: v[0].map((_, column) => v.map((row) => row[column])) };
}

function rotate(a, v, p, q) {
  if (a[p][q] === 0) return;
  const theta = (a[q][q] - a[p][p]) / (2 * a[p][q]);
  const t = (theta < 0 ? -1 : 1) / (Math.abs(theta) + Math.hypot(theta, 1));
  const c = 1 / Math.hypot(t, 1);
  const s = t * c;
  for (const row of [...a, ...v]) [row[p], row[q]] = [c * row[p] - s * row[q], s * row[p] + c * row[q]];
  const [ofP, ofQ] = [[...a[p]], [...a[q]]];
  a[p] = ofP.map((value, k) => c * value - s * ofQ[k]);
  a[q] = ofP.map((value, k) => s * value + c * ofQ[k]);
}
