// The trust bar of a build: one row below the header, drawn from nothing but what the worker found.
import { h, replace } from "../dom.js";
import { ApiError } from "../api.js";
import { checkBuild, keyPath, placeOf } from "./check.js";
import { comparisonDigits } from "./digits.js";
import { drawLost } from "./lost.js";
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
  const { results, more, lacking } = checked;
  const { state, sentence } = outcomeOf(results, { running: !isOver(build), more, lacking });
  const all = [...results.values()];
  const pinned = all.some((one) => one.signer?.how === "pin");
  const help = helpFor(all.find((one) => one.state === state) ?? {});
  const lost = await drawLost(placeOf(), results, { signal, again: () => drawTrust(element, build, { signal }) });
  if (signal?.aborted) return results;
  replace(
    element,
    mark(state, sentence),
    state !== "cannot_check" && state !== "missing" && state !== "unsigned" && speaker("checked here"),
    h("a", { href: `${buildPath()}/trust` }, "Details"),
    pinned && h("p", { class: "hint" }, "Checked against the pin in your link."),
    drawFirst(all),
    help && h("p", { class: "hint" }, help),
    lost,
  );
  return results;
}

/** What readers are told to do whose keys nobody has compared yet. */
function drawFirst(all) {
  const found = all.find((one) => one.state === "verified" && one.signer.how === "first")?.signer;
  if (!found) return null;
  const when = found.since ? `on ${found.since.slice(0, 10)}, when this browser first came here` : "just now: this browser saw these keys here for the first time";
  return h(
    "p",
    { class: "hint" },
    `This server handed over the key ${when}. Ask your team whether ${found.kid} is `,
    h("span", { class: "digits" }, comparisonDigits(found.thumbprint)),
    ", and ",
    h("a", { href: keyPath(found.thumbprint) }, "say so"),
    ", or open the build by a link that ends in #pin=THUMBPRINT.",
  );
}

function buildPath() {
  return location.pathname.match(/^\/[^/]+\/[^/]+\/builds\/\d+/)[0];
}
