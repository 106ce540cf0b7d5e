// The Trust tab of a build: how each job's step stands, what signatures cover and what they do not.
import { h, replace } from "../dom.js";
import { ApiError } from "../api.js";
import { isOver } from "./bar.js";
import { checkBuild, keyPath } from "./check.js";
import { drawCovered } from "./covered.js";
import { comparisonDigits } from "./digits.js";
import { evidenceButton } from "./evidence.js";
import { dropPins, pins, reason } from "./keyring.js";
import { leopard } from "./leopard.js";
import { mark, speaker } from "./states.js";
import { outcomeOf, sentenceOf } from "./words.js";

/** Check the steps of a build and show them all. `all`: also those beyond the first thousand. */
export async function drawTrustTab(element, build, { signal, all = false } = {}) {
  element.classList.add("trust-details");
  replace(element, mark("pending", "Checking the signatures of the steps …"));
  const started = performance.now();
  let checked;
  try {
    checked = await checkBuild(build, { signal, all });
  } catch (error) {
    if (error.name === "AbortError" || signal?.aborted) return;
    if (!(error instanceof ApiError)) throw error;
    replace(element, mark("cannot_check", `Can't check the steps: ${error.message}`), leopard());
    return;
  }
  if (signal?.aborted) return;
  const { results, more, lacking } = checked;
  const took = ((performance.now() - started) / 1000).toFixed(2);
  const { state, sentence } = outcomeOf(results, { running: !isOver(build), more, lacking });
  const again = (everything) => drawTrustTab(element, build, { signal, all: everything });
  const asked = pins();
  const covered = await drawCovered({ sealed: [...results.values()].some((one) => one.seal) });
  replace(
    element,
    h("h2", null, "Steps"),
    h("div", { class: "trust-bar" }, mark(state, sentence), speaker("checked here"), h("span", { class: "muted" }, `${new Date().toLocaleTimeString()}, ${took} s`), h("button", { onclick: () => again(all) }, "Check again"), more > 0 && h("button", { onclick: () => again(true) }, `Check the other ${more}`)),
    asked.length > 0 && h("p", { class: "notice" }, "Your link pins the keys ", asked.map((one) => h("code", null, one)), ", and no others count. ", h("button", { onclick: () => (dropPins(), again(all)) }, "Forget the pin")),
    lacking.length > 0 && h("div", { class: "notice bad" }, h("p", null, "What the signed steps speak of, and the server leaves out:"), h("ul", null, lacking.map((words) => h("li", null, words)))),
    signers(results),
    h("div", { class: "scroll" }, h("table", { class: "by-job" }, h("thead", null, h("tr", null, ["Job", "Step", "Signer"].map((text) => h("th", { scope: "col" }, text)))), h("tbody", null, (build.jobs ?? []).filter((job) => results.has(job.id)).map((job) => row(job, results.get(job.id)))))),
    h("h2", null, "What that means"),
    covered,
    h("p", null, evidenceButton(build)),
    leopard(),
  );
}

function row(job, result) {
  const path = `${location.pathname.match(/^\/[^/]+\/[^/]+\/builds\/\d+/)[0]}/jobs/${job.id}/trust`;
  return h(
    "tr",
    null,
    h("td", null, h("a", { href: path }, job.name || job.label || job.step_key || "a step"), job.retried && h("span", { class: "muted" }, " retried")),
    h("td", null, mark(result.state, sentenceOf(result))),
    h("td", null, result.signer?.thumbprint ? h("a", { href: keyPath(result.signer.thumbprint) }, result.signer.kid) : (result.signer?.kid ?? "–")),
  );
}

function signers(results) {
  const found = new Map();
  for (const { signer } of results.values()) if (signer?.thumbprint) found.set(signer.thumbprint, signer);
  return h(
    "dl",
    { class: "facts" },
    [...found.values()].map((one) => [
      h("dt", null, one.kid),
      h("dd", null, h("code", null, one.thumbprint), h("br"), h("span", { class: "digits" }, comparisonDigits(one.thumbprint)), h("br"), h("span", { class: "muted" }, one.how ? `trusted because ${reason(one)}` : reason(one))),
    ]),
  );
}
