// Why a job did not pass, in words: what the server says of it, and which steps it waited for in vain.
import { h } from "../dom.js";
import { state, stateOf } from "../marks.js";
import { stepsOf } from "./graph.js";
import { isBad, jobName, jobPath, latestJobs } from "./names.js";

// https://pubs.opengroup.org/onlinepubs/9799919799/utilities/V3_chap02.html#tag_19_08_02, and what systems make of signals
const STATUS = {
  126: "the command was found, and could not be run",
  127: "a command was not found",
  130: "interrupted (SIGINT)",
  137: "killed (SIGKILL), often because memory ran out",
  139: "it crashed (SIGSEGV)",
  143: "told to stop (SIGTERM)",
};
const REASONS = {
  cancel: "It was cancelled.",
  agent_stop: "Its agent was stopped.",
  agent_lost: "Its agent was lost: it did not answer any more.",
  process_run_error: "Its agent could not prepare or start it.",
};

/** Why a job stands where it does: words and links; null when its state says all. */
export function reasonOf(build, job) {
  const words = wordsFor(build, job);
  // The server names the step just before; the one at the beginning of it says more.
  const isSaid = ["waiting_failed", "blocked_failed"].includes(job.state);
  return words && job.reason && !isSaid ? [words, ` (${job.reason})`] : words;
}

function wordsFor(build, job) {
  switch (stateOf(job)) {
    case "refused":
      return ["Its agent refused it, and nothing was run: ", job.refusal?.message ?? "its log says why", job.refusal && [" (", h("code", null, job.refusal.code), ")"], "."];
    case "failed":
      return failed(job);
    case "timed_out":
      return `It ran longer than it may${job.timeout_in_minutes ? `: ${job.timeout_in_minutes} minutes` : ""}.`;
    case "canceled":
      return "It was cancelled.";
    case "expired":
      return "No agent took it in time.";
    case "broken":
      return "It was left out of this build, as its `if` or `branches` says.";
    case "waiting_failed":
    case "blocked_failed":
      return ["It did not run, because what it waits for went wrong", roots(build, job), "."];
    case "skipped":
      return "It was skipped.";
    case "waiting":
      return "It waits for what it depends on.";
    case "limited":
    case "limiting":
      return "It waits for others of its concurrency group.";
    case "scheduled":
      return `It waits for an agent${job.agent_query_rules?.length ? ` with ${job.agent_query_rules.join(", ")}` : ""}.`;
    case "assigned":
      return "An agent is about to take it.";
    case "accepted":
      return "An agent took it and is about to start.";
    default:
      return null;
  }
}

function failed(job) {
  const reason = REASONS[job.signal_reason];
  if (reason) return reason;
  const status = job.exit_status;
  if (status === null || status === undefined) return null;
  if (status === -1) return "It ended without an exit status.";
  return `It ended with status ${status}${STATUS[status] ? `: ${STATUS[status]}` : ""}.`;
}

/** Links to the steps at the beginning of what kept a job from running. */
function roots(build, job) {
  const steps = stepsOf(build);
  const found = new Set();
  const seen = new Set();
  const look = (step) => {
    if (!step || seen.has(step)) return;
    seen.add(step);
    for (const need of step.needs) {
      const bad = need.jobs.find(isBad);
      if (bad) found.add(bad);
      else look(need);
    }
  };
  look(steps.find((step) => step.id === job.step.id));
  return found.size === 0 ? (job.reason ? ` (${job.reason})` : "") : [": ", [...found].slice(0, 5).map((one, at) => [at > 0 && ", ", h("a", { href: jobPath(build, one) }, jobName(one))])];
}

/** Jobs that there is something to say of: those that went wrong, or else those that did not run for it. */
export function unexplained(build) {
  return latestJobs(build).filter(isBad);
}

/** Say why these jobs did not pass, in a dialog. `trust`: the address of the Trust tab when a check failed. */
export function explain(build, jobs, trust) {
  const before = document.activeElement;
  const close = () => dialog.close();
  const one = (job) =>
    h(
      "li",
      null,
      h("div", { class: "row" }, h("a", { href: jobPath(build, job), onclick: close }, jobName(job)), state(stateOf(job))),
      h("p", null, reasonOf(build, job) ?? "The server gives no reason."),
      job.soft_failed && h("p", { class: "muted" }, "It may fail: the build goes on all the same."),
    );
  const dialog = h(
    "dialog",
    {
      "aria-labelledby": "explain-title",
      onclose: () => {
        dialog.remove();
        before?.focus?.();
      },
    },
    h("h2", { id: "explain-title" }, jobs.length === 1 ? `Why ${jobName(jobs[0])} did not pass` : "What went wrong"),
    trust && h("p", { class: "notice bad" }, "A signature does not fit what the server shows: ", h("a", { href: trust, onclick: close }, "see what differs"), "."),
    jobs.length > 0 && h("ul", { class: "list reasons" }, jobs.slice(0, 20).map(one)),
    jobs.length > 20 && h("p", { class: "muted" }, `${jobs.length - 20} more went wrong.`),
    h("p", { class: "muted" }, "The server says so."),
    h("p", null, h("button", { type: "button", class: "primary", onclick: close }, "Close")),
  );
  document.body.append(dialog);
  dialog.showModal();
}
