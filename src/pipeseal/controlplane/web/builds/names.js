// What jobs are called and where their pages are.
import { withEmoji } from "../log/emoji.js";
import { stateOf } from "../marks.js";

/** The name of a job's step, for people. */
export function stepName(job) {
  if (job.label) return withEmoji(job.label);
  if (job.type === "waiter") return "wait";
  if (job.type === "manual") return job.prompt || "blocked until somebody unblocks it";
  const command = Array.isArray(job.command) ? job.command.join(" && ") : (job.command ?? "");
  return String(command).split("\n")[0].slice(0, 120) || job.step_key || "step";
}

/** The name that the jobs of one step have in common. */
export function commonName(jobs) {
  const names = jobs.map(stepName);
  let shared = names[0];
  for (const name of names) while (!name.startsWith(shared)) shared = shared.slice(0, -1);
  shared = shared === names[0] ? shared : shared.replace(/[^\s]*$/, "").replace(/[\s:,/(\[-]+$/, "");
  return shared || names[0];
}

/** What tells a job from the others of its step: values of its matrix, or its number. */
export function variant(job) {
  if (job.matrix) {
    const values = Object.values(job.matrix).join(", ");
    return stepName(job).includes(values) ? "" : values;
  }
  if (job.parallel_group_total > 1) return `${(job.parallel_group_index ?? 0) + 1} of ${job.parallel_group_total}`;
  return "";
}

/** The name of a job, for people. */
export function jobName(job) {
  const more = variant(job);
  return more ? `${stepName(job)} (${more})` : stepName(job);
}

/** The address of a build's page; below it `tab`. */
export function buildPath(build, tab = "") {
  const path = new URL(build.web_url).pathname;
  return tab ? `${path}/${tab}` : path;
}

/** The address of a job's page; below it `tab`. */
export function jobPath(build, job, tab = "") {
  const path = `${buildPath(build)}/jobs/${job.id}`;
  return tab ? `${path}/${tab}` : path;
}

const BAD = new Set(["failed", "refused", "timed_out", "expired"]);
const BUSY = new Set(["running", "assigned", "accepted", "canceling", "timing_out"]);

/** Whether a job went wrong, in a way that counts. */
export function isBad(job) {
  return BAD.has(stateOf(job)) && !job.soft_failed;
}

/** Whether a job is being run. */
export function isBusy(job) {
  return BUSY.has(job.state);
}

/** The latest attempt of every job. */
export function latestJobs(build) {
  return build.jobs.filter((job) => !job.retried);
}

/** All attempts of a job's step and place, the first one first. */
export function attemptsOf(build, job) {
  const before = new Map(build.jobs.filter((one) => one.retried_in_job_id).map((one) => [one.retried_in_job_id, one]));
  const byId = new Map(build.jobs.map((one) => [one.id, one]));
  let first = job;
  while (before.has(first.id)) first = before.get(first.id);
  const attempts = [];
  for (let one = first; one; one = byId.get(one.retried_in_job_id)) attempts.push(one);
  return attempts;
}

/** Several states as one: the worst first, then what goes on. */
export function together(jobs) {
  const states = jobs.map(stateOf);
  for (const name of ["refused", "failed", "timed_out", "blocked", "running", "accepted", "assigned", "scheduled", "limited", "limiting", "waiting", "expired", "broken", "canceled"]) {
    if (states.includes(name) && !(name === "failed" && jobs.every((job) => stateOf(job) !== "failed" || job.soft_failed))) return name;
  }
  return states.every((name) => name === "skipped") ? "skipped" : states.includes("passed") ? "passed" : states[0];
}
