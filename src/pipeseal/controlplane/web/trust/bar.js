// The trust bar of a build: one row below the header, drawn from nothing but what the worker found.
import { h, replace } from "../dom.js";
import { ApiError } from "../api.js";
import { checkBuild } from "./check.js";
import { mark, speaker } from "./states.js";
import { helpFor, outcomeOf } from "./words.js";

const ENDED = new Set(["passed", "failed", "canceled", "skipped", "not_run"]);

/** Whether no more steps can come. */
export function isOver(build) {
  return Boolean(build.finished_at) || ENDED.has(build.state);
}

/** Check the steps of a build and say in `element` how they stand; returns job id to result. */
export async function drawTrust(element, build, { signal } = {}) {
  element.classList.add("trust-bar");
  // What was said of an earlier state of the build stays until there is something new to say.
  if (!element.firstChild) replace(element, mark("pending", "Checking the signatures of the steps …"));
  let checked;
  try {
    checked = await checkBuild(build, { signal });
  } catch (error) {
    if (error.name === "AbortError" || signal?.aborted) return new Map();
    if (!(error instanceof ApiError)) throw error;
    replace(element, mark("cannot_check", `Can't check the steps: ${error.message}`));
    return new Map();
  }
  if (signal?.aborted) return new Map();
  const { results, more } = checked;
  const { state, sentence } = outcomeOf(results, { running: !isOver(build), more });
  const all = [...results.values()];
  const first = all.some((one) => one.signer?.how === "first" && !one.signer.since);
  const pinned = all.some((one) => one.signer?.how === "pin");
  const help = helpFor(all.find((one) => one.state === state) ?? {});
  replace(
    element,
    mark(state, sentence),
    state !== "cannot_check" && state !== "missing" && state !== "unsigned" && speaker("checked here"),
    h("a", { href: `${buildPath()}/trust` }, "Details"),
    pinned && h("p", { class: "hint" }, "Checked against the pin in your link."),
    first && h("p", { class: "hint" }, "This browser saw these keys here for the first time, handed over by this server. Compare a thumbprint with your team, or open the build with #pin=THUMBPRINT."),
    help && h("p", { class: "hint" }, help),
  );
  return results;
}

function buildPath() {
  return location.pathname.match(/^\/[^/]+\/[^/]+\/builds\/\d+/)[0];
}
