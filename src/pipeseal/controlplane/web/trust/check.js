// Checking the steps of a build: gets what is needed from the server, and lets the worker judge it.
import { ask, asStranger, may } from "../api.js";
import { startWorker } from "../workers.js";
import { asShown } from "./judge.js";
import { keepFirst, readRing } from "./keyring.js";
import { leftOut } from "./whole.js";

const PAGE = 100;
// So many are checked unasked; more would be a long download for a question that nobody has asked.
const UNASKED = 1000;

let worker = null;
let last = 0;
const waiting = new Map();

function start() {
  worker = startWorker("trust");
  worker.addEventListener("message", ({ data: { id, result } }) => {
    waiting.get(id)?.(result);
    waiting.delete(id);
  });
  worker.addEventListener("error", () => {
    // It did not start, or broke: nothing is proved.
    for (const settle of waiting.values()) settle(UNCHECKED);
    waiting.clear();
    worker = null;
  });
}

const UNCHECKED = { state: "cannot_check", code: "page.worker", says: "this browser could not start the check", checks: [] };

function judge(found, shown, ring) {
  if (worker === null) start();
  last += 1;
  const id = last;
  return new Promise((settle) => {
    waiting.set(id, settle);
    worker.postMessage({ id, found, shown, ring });
  });
}

/** Which build it is: organisation, pipeline and number by the address, which is what the reader went to. */
export function placeOf() {
  const [organization, slug, , number] = location.pathname.slice(1).split("/").map(decodeURIComponent);
  return { organization, slug, number: Number(number) };
}

/** Where a key has its page. */
export function keyPath(thumbprint) {
  return `/${encodeURIComponent(placeOf().organization)}/keys?key=${encodeURIComponent(thumbprint)}`;
}

/** How the step of one job stands: what `judge` says, with the `found` it was judged by. */
export async function checkJob(build, job, { signal } = {}) {
  const { organization, slug, number } = placeOf();
  const found = await ask(`/pipelines/${encodeURIComponent(slug)}/builds/${number}/jobs/${job.id}/signed-step`, { signal });
  return { ...(await decide(organization, [[found, job]], build))[0], found };
}

/**
 * How the steps of a build stand: { results: Map(job id to result), more, lacking }.
 *
 * `more`: so many jobs were left; `all`: also those beyond the first thousand. A job that the build shows and the server's
 * list lacks is `missing`. `lacking`: sentences on what the signed steps speak of and the server leaves out altogether.
 */
export async function checkBuild(build, { signal, all = false } = {}) {
  const { organization, slug, number } = placeOf();
  const jobs = (build.jobs ?? []).filter((job) => job.type === "script");
  const wanted = all ? jobs : jobs.slice(0, UNASKED);
  const byId = new Map(wanted.map((job) => [job.id, job]));
  const results = new Map();
  for (let page = 1; results.size < wanted.length; page += 1) {
    const found = await ask(`/pipelines/${encodeURIComponent(slug)}/builds/${number}/signed-steps?per_page=${PAGE}&page=${page}`, { signal });
    const pairs = found.filter((one) => byId.has(one.job_id)).map((one) => [one, byId.get(one.job_id)]);
    const decided = await decide(organization, pairs, build);
    pairs.forEach(([, job], at) => results.set(job.id, decided[at]));
    if (found.length < PAGE) break;
  }
  for (const job of wanted)
    if (!results.has(job.id)) results.set(job.id, { state: "missing", code: "page.payload", says: "the server shows this job and delivers no step of it", checks: [] });
  const more = jobs.length - wanted.length;
  return { results, more, lacking: more > 0 ? [] : leftOut(jobs, results) };
}

async function decide(organization, pairs, build) {
  const ring = readRing(organization);
  const decided = await Promise.all(pairs.map(([found, job]) => judge(found, asShown(placeOf(), build, job), ring)));
  if (ring.fresh && decided.some((one) => one.signer?.how === "first")) {
    const listed = may("read_pipelines") && !asStranger ? (await ask("/keys?per_page=100")).filter((key) => key.revoked_at === null) : [];
    const used = decided.flatMap((one) => [one.signer, one.seal?.signer]).filter((one) => one?.how === "first");
    await keepFirst(organization, [...listed, ...used].map(({ jwk }) => jwk));
  }
  return decided;
}
