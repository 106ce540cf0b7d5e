// What agents say their policies made of jobs. It is the server's word, so it is never drawn as a state of trust.
import { h } from "../dom.js";
import { speaker } from "./states.js";

/** What a mode does, as a sentence about the policy. */
export const MODES = {
  enforce: "enforces",
  warn: "warns",
  observe: "observes",
};

/** What did not stop a job, as its agent told it; empty when there was nothing. */
export function observedOf(job) {
  return job.refusal ? [] : (job.decision?.findings ?? []);
}

function policy(mode) {
  if (mode === "off") return "the agent verifies nothing";
  return MODES[mode] ? `policy ${MODES[mode]}` : "the agent names a mode that this page does not know";
}

/** One line about a job that ran, and that an enforcing policy would have refused; null about any other. */
export function observedLine(job, path) {
  const findings = observedOf(job);
  if (findings.length === 0) return null;
  return h(
    "p",
    { class: "notice would-refuse" },
    "This job would have been refused: ",
    codes(findings.map((one) => one.code)),
    `; ${policy(job.decision.mode)}. `,
    path && [h("a", { href: path }, "What the agent told"), " "],
    speaker("server says"),
  );
}

/** The same about the jobs of a build; null when there are none. `pathOf`: a job's address. */
export function observedOfBuild(jobs, pathOf) {
  const found = jobs.filter((job) => observedOf(job).length > 0);
  if (found.length === 0) return null;
  const modes = [...new Set(found.map((job) => job.decision.mode))];
  const byCode = new Map();
  for (const job of found)
    for (const code of new Set(observedOf(job).map((one) => one.code))) byCode.set(code, [...(byCode.get(code) ?? []), job]);
  return h(
    "p",
    { class: "notice would-refuse" },
    `${found.length} of ${jobs.length} ${jobs.length === 1 ? "job" : "jobs"} would have been refused: `,
    [...byCode]
      .sort(([, one], [, other]) => other.length - one.length)
      .map(([code, of], at) => [at > 0 && ", ", h("a", { href: pathOf(of[0]) }, h("code", null, code)), of.length > 1 && ` (${of.length})`]),
    `; ${modes.map(policy).join(", ")}. `,
    speaker("server says"),
  );
}

function codes(names) {
  return [...new Set(names)].map((code, at) => [at > 0 && ", ", h("code", null, code)]);
}

const PROOFS = {
  seal: ["a seal", ""],
  signature: ["a signature", ", without a seal"],
  none: ["nothing", ""],
};

/** All that an agent told of a job, for the job's Trust tab; null where the reader is not shown any of it. */
export function drawTold(job, checked) {
  if (job.type !== "script" || job.decision === undefined) return null;
  return h("section", { class: "told" }, h("h2", null, "What the agent made of it ", speaker("server says")), job.decision ? told(job, checked) : untold(job));
}

function untold(job) {
  const words = job.finished_at
    ? "Its agent told nothing: it is another program or an older one, it keeps its decisions (no-decision-reporting), or it never came to decide."
    : "Agents tell when a job ends.";
  return h("p", { class: "muted" }, words);
}

function told(job, checked) {
  const { mode, proof, key, thumbprint, seal } = job.decision;
  const findings = observedOf(job);
  const [by, without] = PROOFS[proof] ?? ["something that this page does not know", ""];
  const isOther = Boolean(thumbprint && checked?.signer?.thumbprint && thumbprint !== checked.signer.thumbprint);
  const facts = [
    ["Mode of its policy", mode === "off" ? "none: the agent verifies nothing" : MODES[mode] ? mode : "one that this page does not know"],
    ["Proved by", [by, key && [" of ", h("strong", null, key)], without]],
    thumbprint && ["Thumbprint", h("code", null, thumbprint)],
    seal && ["Seal", h("code", null, `sha256 ${seal}`)],
  ].filter(Boolean);
  return [
    h("p", { class: "muted" }, "Agent ", job.agent?.name ?? "", " told the server so when the job ended. Its own log and decision log say the same, where this server cannot change them."),
    h("dl", { class: "facts" }, facts.map(([name, value]) => [h("dt", null, name), h("dd", null, value)])),
    isOther && h("p", { class: "notice bad" }, "The agent is said to have checked another key than this page did."),
    findings.length > 0 && [
      h("h3", null, "Would have been refused"),
      h("ul", null, findings.map((one) => h("li", null, h("code", null, one.code), one.fields.length > 0 && [": ", one.fields.map((name, at) => [at > 0 && ", ", h("code", null, name)])], " · ", h("code", null, `pipeseal explain ${one.code}`)))),
    ],
  ];
}
