// The verifier in one file: judges saved evidence with keys that the reader brings, and talks to nobody.
import { Flaw } from "./canonical.js";
import { h, replace } from "../dom.js";
import { asShown, judge } from "./judge.js";
import { soundKey, thumbprintOf } from "./keycheck.js";
import { mark } from "./states.js";
import { outcomeOf, sentenceOf } from "./words.js";
import { leftOut } from "./whole.js";

const MAX_BYTES = 64 * 1024 * 1024;

/** Set the page up: two files, one button, and what came of it. */
export function startVerifier(main) {
  const evidence = h("input", { type: "file", id: "evidence", accept: ".json,application/json" });
  const keys = h("input", { type: "file", id: "keys", accept: ".json,application/json" });
  const problem = h("p", { class: "problem", role: "alert" });
  const outcome = h("div", { "aria-live": "polite" });
  const check = async () => {
    replace(problem);
    replace(outcome);
    try {
      replace(outcome, await verify(await readFile(evidence, "the evidence"), await readFile(keys, "the public keys")));
    } catch (error) {
      replace(problem, error.message);
    }
  };
  replace(
    main,
    h("h1", null, "Check signatures without the server"),
    h("p", null, "Choose the evidence that a build's Trust tab saved, and the public keys of whoever signs your steps (verification.json), from a source that you trust. Nothing leaves this computer."),
    h("label", { for: "evidence" }, "Evidence"),
    evidence,
    h("label", { for: "keys" }, "Public keys"),
    keys,
    problem,
    h("p", null, h("button", { class: "primary", onclick: check }, "Check")),
    outcome,
  );
}

async function readFile(input, what) {
  const [file] = input.files;
  if (!file) throw new Flaw("page.file", `Choose ${what}.`);
  if (file.size > MAX_BYTES) throw new Flaw("page.file", `${file.name} is larger than 64 MB.`);
  try {
    return JSON.parse(await file.text());
  } catch {
    throw new Flaw("page.file", `${file.name} is not JSON.`);
  }
}

async function verify(evidence, jwks) {
  if (!globalThis.crypto?.subtle) throw new Flaw("page.insecure", "This browser does no cryptography for files; open the page at localhost, or use: pipeseal verify");
  if (evidence?.type !== "pipeseal-evidence" || evidence.version !== 1 || !Array.isArray(evidence.jobs) || !Array.isArray(evidence.steps))
    throw new Flaw("page.file", "That is no evidence: save it on a build's Trust tab.");
  const ring = { pins: [], keys: {}, refused: [], fresh: false };
  for (const jwk of Array.isArray(jwks?.keys) ? jwks.keys : [jwks]) {
    const key = soundKey(jwk);
    ring.keys[await thumbprintOf(key)] = { jwk: key, how: "added", since: null };
  }
  const byId = new Map(evidence.steps.map((step) => [step.job_id, step]));
  const results = new Map();
  for (const job of evidence.jobs) {
    const found = byId.get(job.id);
    const shown = asShown(evidence, evidence.build, job);
    // Keys in the evidence are the server's: only what the reader brought is tried.
    const result = found ? await judge({ ...found, keys: [] }, shown, ring) : { state: "missing", code: "page.payload", says: "the evidence names this job and has no step of it" };
    results.set(job.id, result);
  }
  const lacking = leftOut(evidence.jobs, results);
  const { state, sentence } = outcomeOf(results, { running: false, more: 0, lacking });
  return [
    h("h2", null, `${evidence.organization}/${evidence.slug} #${evidence.build.number}`),
    h("p", null, `Evidence from ${evidence.server}.`),
    h("div", { class: "trust-bar" }, mark(state, sentence)),
    h("ul", { class: "list" }, evidence.jobs.map((job) => h("li", null, h("strong", null, job.label || job.step_key || "a step"), " ", mark(results.get(job.id).state, sentenceOf(results.get(job.id)))))),
    lacking.length > 0 && h("ul", null, lacking.map((words) => h("li", null, words))),
    h("p", { class: "muted" }, "Checked: who signed each step, and that it is for this organisation, pipeline, build and commit, and has this command; and that nothing is left out that the signed steps speak of. Not checked: what happened then, and whether steps are left out at the end of an upload."),
  ];
}
