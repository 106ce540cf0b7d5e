// What signed steps say there must be: a server can hold back a job, but not what the others say of it.

// More combinations of one matrix than any server makes jobs of.
const MOST = 5000;

/**
 * What the server leaves out, one sentence each; none when all is there that the signed steps speak of.
 *
 * `jobs`: every job that was checked, with `results` (job id to what `judge` says). Only verified steps are believed.
 *
 * 1. Of a step with a matrix, or one that runs several times, there is a job for each combination and number.
 * 2. Steps of one upload are numbered from 0 on: there is none missing between those that are shown.
 * 3. A step that says which step uploaded it says so by that one's seal: it is shown too.
 *
 * Does not check: that nothing is left out at the end of an upload, nor a whole upload of which nothing is shown. A step
 * that is shown in another way than it was signed, without its signature for one, is not shown.
 */
export function leftOut(jobs, results) {
  const steps = stepsOf(jobs, results);
  const said = [];
  // 1.
  for (const { jobs: shown, values, seal } of steps.values()) {
    const wanted = combinations(values.matrix);
    const count = seal?.step.parallelism ?? null;
    const there = new Set(shown.map((job) => placeOf(job.matrix ?? {}, count === null ? null : job.parallel_group_index)));
    let all = 0;
    let lacking = 0;
    for (const combination of wanted)
      for (let index = 0; index < Math.min(count ?? 1, MOST); index += 1) {
        all += 1;
        if (!there.has(placeOf(combination, count === null ? null : index))) lacking += 1;
      }
    if (lacking > 0) said.push(`${nameOf(shown[0])} was signed as ${all} jobs, and the server does not show ${lacking === 1 ? "one" : lacking} of them`);
  }
  const sealed = [...steps.values()].filter(({ seal }) => seal !== null);
  // What cannot be checked may be any of those that are not known to be there; it is said of it that it cannot be.
  const undecided = new Set(jobs.filter((job) => results.get(job.id)?.state === "cannot_check").map((job) => job.step?.id ?? job.id)).size;
  // 2. docs/spec/seal.md section 3, `parent`
  const uploads = Map.groupBy(sealed.filter(({ seal }) => seal.parent.upload !== null), ({ seal }) => seal.parent.upload);
  for (const found of uploads.values()) {
    const positions = new Set(found.map(({ seal }) => seal.parent.position));
    const gaps = [...positions].reduce((most, one) => Math.max(most, one), 0) + 1 - positions.size - undecided;
    if (gaps > 0) said.push(gaps === 1 ? "an upload had another step, which the server does not show as it was signed" : `an upload had ${gaps} more steps, which the server does not show as they were signed`);
  }
  // 3.
  const digests = new Set(sealed.map(({ digest }) => digest));
  const orphans = sealed.filter(({ seal }) => seal.parent.seal !== null && !digests.has(seal.parent.seal));
  if (orphans.length > 0 && undecided === 0) said.push(`${nameOf(orphans[0].jobs[0])} was uploaded by a step that the server does not show as it was signed`);
  return said;
}

function stepsOf(jobs, results) {
  const steps = new Map();
  for (const job of jobs) {
    const result = results.get(job.id);
    if (result?.state !== "verified") continue;
    const seal = result.seal?.seal ?? null;
    const digest = result.seal?.digest ?? "";
    // A seal is of one step alone; without one the server's word must do.
    const key = digest || `step ${job.step?.id ?? job.id}`;
    const known = steps.get(key);
    if (known) known.jobs.push(job);
    else steps.set(key, { jobs: [job], values: result.values, seal, digest });
  }
  return steps;
}

const nameOf = (job) => `step ${job.step_key || job.label || "without a name"}`;
const placeOf = (combination, index) => JSON.stringify([Object.entries(combination).sort(([one], [other]) => (one < other ? -1 : 1)), index]);

/** The combinations that a signed matrix makes jobs of; those it skips need not be shown. */
function combinations(matrix) {
  if (matrix === null) return [{}];
  const setup = Array.isArray(matrix) ? { "": matrix } : Array.isArray(matrix.setup) ? { "": matrix.setup } : (matrix.setup ?? {});
  let found = [{}];
  for (const [name, values] of Object.entries(setup)) found = found.flatMap((before) => (values ?? []).map((value) => ({ ...before, [name]: String(value) }))).slice(0, MOST);
  const wanted = new Map(found.map((one) => [placeOf(one), one]));
  for (const adjustment of (Array.isArray(matrix) ? null : matrix.adjustments) ?? []) {
    const about = adjustment?.with;
    if (about === undefined || about === null) continue;
    const combination = typeof about === "object" ? Object.fromEntries(Object.entries(about).map(([name, value]) => [name, String(value)])) : { "": String(about) };
    const { skip } = adjustment;
    if (skip === undefined || skip === null || skip === false) wanted.set(placeOf(combination), combination);
    else wanted.delete(placeOf(combination));
  }
  return [...wanted.values()];
}
