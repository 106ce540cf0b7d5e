// The notice that signing was lost: builds of this pipeline were signed, and this one is not.
import { h } from "../dom.js";
import { ask, asStranger, may } from "../api.js";
import { forget, recall, remember } from "./memory.js";
import { speaker } from "./states.js";

/**
 * Remember how a build's steps stand, and say so when they lack the signatures that others had; null when there is nothing
 * to say.
 *
 * `results`: job id to what `judge` says; `place`: { organization, slug, number } by the address, for the server may call
 * the build another.
 */
export async function drawLost(place, results, { signal, again }) {
  const all = [...results.values()];
  const { number } = place;
  if (all.length > 0 && all.every((one) => one.state === "verified")) remember(place, number);
  if (!all.some((one) => one.state === "unsigned")) return null;
  const known = recall(place);
  if (known !== null && number > known.first)
    return notice(
      [`Signing lost: this browser found the steps of #${Math.min(known.last, number - 1)} signed, last on ${known.day}; `, h("strong", null, "here there are steps without a signature"), "."],
      h("button", { type: "button", onclick: () => (forget(place), again()) }, "I know why: say it no more"),
    );
  // Whoever was never here before has the server's word for it.
  if (known === null && number > 1 && may("read_builds") && !asStranger && (await wasSigned(place, number - 1, signal)))
    return notice([`Signing lost: the steps of #${number - 1} carry signatures; `, h("strong", null, "here there are steps without one"), ". ", speaker("server says")]);
  return null;
}

async function wasSigned({ slug }, number, signal) {
  try {
    const steps = await ask(`/pipelines/${encodeURIComponent(slug)}/builds/${number}/signed-steps?per_page=100`, { signal });
    return steps.length > 0 && steps.every((one) => one.signature !== null);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    return false;
  }
}

function notice(words, ...more) {
  return h(
    "div",
    { class: "notice bad lost", role: "note", "aria-label": "Signing lost" },
    h("p", null, words),
    h("p", { class: "hint" }, "Usual causes: a new uploader without its key, a step that moved into the pipeline's settings, an upload by other means. Less usual: somebody took the signatures off. Ask whoever changed the pipeline; agents that enforce refuse such steps."),
    more,
  );
}
