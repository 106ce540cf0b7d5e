// The Trust tab of one job: who signed its step, what exactly was signed, and what of it this page compared.
import { h, replace } from "../dom.js";
import { ApiError } from "../api.js";
import { checkJob, keyPath } from "./check.js";
import { drawCovered } from "./covered.js";
import { comparisonDigits } from "./digits.js";
import { timeText } from "./judge.js";
import { leopard } from "./leopard.js";
import { reason } from "./keyring.js";
import { SEAL_VARIABLE } from "./seal.js";
import { mark, speaker } from "./states.js";
import { drawTold } from "./told.js";
import { helpFor, sentenceOf } from "./words.js";

/** Check the step of a job and show everything about it; returns the result. */
export async function drawJobTrust(element, build, job, { signal } = {}) {
  element.classList.add("trust-details");
  replace(element, mark("pending", "Checking the signature of the step …"));
  let result;
  try {
    result = await checkJob(build, job, { signal });
  } catch (error) {
    if (error.name === "AbortError" || signal?.aborted) return null;
    if (!(error instanceof ApiError)) throw error;
    result = error.status === 404 && job.type === "script"
      ? { state: "missing", code: "page.payload", says: "the server shows this job and delivers no step of it", checks: [] }
      : { state: "cannot_check", code: error.code, says: error.message, checks: [] };
  }
  if (signal?.aborted) return null;
  const help = helpFor(result);
  const isChecked = ["verified", "unknown_signer", "failed", "revoked"].includes(result.state);
  replace(
    element,
    h("h2", null, "Signature of the step"),
    h("div", { class: "trust-bar" }, mark(result.state, sentenceOf(result)), isChecked && speaker("checked here")),
    help && h("p", { class: "hint" }, help),
    // Codes of the page's own are in no table.
    result.code && !result.code.startsWith("page.") && h("p", { class: "hint" }, h("code", null, `pipeseal explain ${result.code}`)),
    signerFacts(result.signer),
    drawTold(job, result),
    result.values && signedValues(result),
    result.seal && sealFacts(result.seal, job),
    await drawCovered({ sealed: Boolean(result.seal) }),
    leopard(),
  );
  return result;
}

function signerFacts(signer) {
  if (!signer?.thumbprint) return null;
  return h(
    "dl",
    { class: "facts" },
    h("dt", null, "Key"),
    h("dd", null, h("strong", null, signer.kid), ` · ${signer.alg}`),
    h("dt", null, "Thumbprint"),
    h("dd", null, h("code", null, signer.thumbprint)),
    h("dt", null, "In digits"),
    h("dd", { class: "digits" }, comparisonDigits(signer.thumbprint)),
    h("dt", null, signer.how ? "Trusted because" : "Not trusted"),
    h("dd", null, reason(signer), " ", h("a", { href: keyPath(signer.thumbprint) }, "Look at the key")),
  );
}

function signedValues({ values, checks, signer }) {
  const row = (name, value) => h("tr", null, h("th", { scope: "row" }, name), h("td", null, h("pre", null, textFor(value))));
  const env = values.env === null ? null : { ...values.env };
  if (env) delete env[SEAL_VARIABLE];
  const bound = Object.keys(values).filter((name) => name.startsWith("env::"));
  return h(
    "section",
    null,
    h("h2", null, "What was signed ", speaker(`signed by ${signer.kid}`)),
    h("p", { class: "muted" }, "These are the signed values themselves, not what the server shows elsewhere. Tokens of a matrix are signed unreplaced."),
    h(
      "div",
      { class: "scroll" },
      h(
        "table",
        { class: "signed" },
        h("tbody", null, row("command", values.command), row("variables", env), row("plugins", values.plugins), row("matrix", values.matrix), row("repository", values.repository_url), ["secrets", "checkout"].filter((name) => name in values).map((name) => row(name, values[name])), bound.sort().map((name) => row(name.slice(5), values[name]))),
      ),
    ),
    checks.length > 0 && h("h3", null, "Compared with what this page shows"),
    checks.length > 0 && h("ul", { class: "plain" }, checks.map((one) => h("li", null, mark(one.same ? "verified" : "failed", one.same ? `${one.what}: the same` : one.says)))),
  );
}

function textFor(value) {
  if (value === null || value === undefined) return "none";
  if (value === "") return "empty";
  if (typeof value === "string") return value;
  return JSON.stringify(value, null, 2);
}

function sealFacts({ seal, signer, checks }, job) {
  const step = seal.step;
  // What has started was judged by the time of its start; the rest must begin before the seal is over.
  const isOver = seal.expires !== null && !job.started_at && !job.finished_at && Date.now() / 1000 > seal.expires;
  const facts = [
    ["Sealed by", `${signer.kid} (${signer.thumbprint})`],
    ["Good", `${timeText(seal.not_before)} to ${seal.expires === null ? "no end" : timeText(seal.expires)}${isOver ? ": over, so agents refuse it now" : ""}`],
    ["Agents", seal.audience.agents.join(", ") || "any of the default queue"],
    ["Attempts", `${seal.attempts}${seal.exclusive ? ", never two of one" : ""}`],
    ["Tree", seal.build?.tree ?? "not said"],
    ["Plugins at", step.plugins.map((one) => `${one.source} ${one.commit ?? "(no commit)"}`).join(", ") || "none"],
    ["Artifacts", step.artifact_paths.join(", ") || "none"],
    ["Timeout", step.timeout_in_minutes === null ? "none" : `${step.timeout_in_minutes} minutes`],
    ["Everything else", Object.keys(step.rest).length ? JSON.stringify(step.rest) : "nothing"],
  ];
  return h(
    "section",
    null,
    h("h2", null, "Seal ", speaker(`signed by ${signer.kid}`)),
    h("dl", { class: "facts" }, facts.map(([name, value]) => [h("dt", null, name), h("dd", null, value)])),
    h("p", { class: "muted" }, `Compared with what this page shows, and the same: ${checks.join(", ")}.`),
  );
}
