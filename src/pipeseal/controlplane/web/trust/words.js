// Sentences about trust: always a thing, a verb and a signer; never the bare word.
import { short } from "./judge.js";
import { STATES, worstOf } from "./states.js";

const HELP = {
  "page.insecure": "Open this page over https, or check on a command line: pipeseal verify.",
  "page.withheld": "Sign in to check it, if you may.",
  "page.algorithm": "Use a newer browser, or check on a command line: pipeseal verify.",
  "page.worker": "Load the page again; if that does not help, check on a command line: pipeseal tool verify.",
  "key.unknown": "If you know the signer, add their public key on the Keys page, or open the build with a link that ends in #pin=THUMBPRINT.",
};

/** What may help with an outcome that is not good; empty when nothing is known. */
export function helpFor(result) {
  return HELP[result.code] ?? "";
}

/** A job's outcome in one sentence. */
export function sentenceOf(result) {
  const kid = result.signer?.kid;
  switch (result.state) {
    case "verified":
      return `Step verified: signed by ${kid} (${short(result.signer.thumbprint)})`;
    case "unsigned":
      return "Step not signed";
    case "unknown_signer":
      return `Step ${result.says}`;
    case "cannot_check":
      return `Can't check this step: ${result.says}`;
    case "missing":
      return `Step evidence missing: ${result.says}`;
    case "revoked":
      return `Step ${result.says}`;
    default:
      return `Step check FAILED: ${result.says}`;
  }
}

/**
 * A build's outcome: { state, sentence }.
 *
 * `running`: more steps may come. `more`: so many jobs were not checked. `lacking`: what the server leaves out.
 */
export function outcomeOf(results, { running, more, lacking }) {
  const all = [...results.values()];
  if (lacking.length > 0 && !["failed", "missing"].includes(worstOf(all.map((one) => one.state))))
    return { state: "missing", sentence: `Steps missing: ${lacking[0]}${lacking.length > 1 ? `; ${lacking.length - 1} more like it` : ""}` };
  if (all.length === 0) return { state: "unsigned", sentence: running ? "No steps yet, so nothing is signed" : "No steps, so nothing is signed" };
  const states = all.map((one) => one.state);
  const worst = worstOf(states);
  const good = states.filter((state) => state === "verified").length;
  const signers = [...new Set(all.filter((one) => one.state === "verified").map((one) => `${one.signer.kid} (${short(one.signer.thumbprint)})`))].join(", ");
  const steps = (count) => `${count} ${count === 1 ? "job" : "jobs"}`;
  const example = all.find((one) => one.state === worst);
  if (STATES[worst].filled) {
    const count = states.filter((state) => state === worst).length;
    return { state: worst, sentence: `Steps of ${count} of ${steps(all.length)}: ${sentenceOf(example)}` };
  }
  if (worst === "verified" && more > 0) return { state: "partial", sentence: `Steps of ${good} of ${steps(good + more)} verified: signed by ${signers}; ${more} not checked yet` };
  if (worst === "verified" && running) return { state: "pending", sentence: `Running: the steps of ${steps(good)} so far are verified: signed by ${signers}` };
  if (worst === "verified") return { state: "verified", sentence: `Steps of all ${steps(good)} verified: signed by ${signers}` };
  if (good > 0) return { state: "partial", sentence: `Steps of ${good} of ${steps(all.length)} verified: signed by ${signers}; the worst of the rest: ${STATES[worst].words}` };
  if (all.length === 1) return { state: worst, sentence: sentenceOf(example) };
  const same = states.every((state) => state === worst);
  return { state: worst, sentence: worst === "unsigned" ? `Steps of ${same ? "all" : "some of"} ${steps(all.length)} not signed` : `Steps of ${same ? "all" : "some of"} ${steps(all.length)}: ${sentenceOf(example)}` };
}
