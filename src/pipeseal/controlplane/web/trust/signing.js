// How signing stands in a pipeline: what its steps carry, what agents refused, and how to get from one mode to the next.
import { h, moment } from "../dom.js";
import { ask, session } from "../api.js";
import { speaker } from "./states.js";

/** The section "Signing" of a pipeline's settings. */
export async function drawSigning(pipeline, signal) {
  const facts = await session();
  const report = await ask(`/pipelines/${encodeURIComponent(pipeline.slug)}/signing`, { signal });
  const total = report.sealed_steps + report.signed_steps + report.unsigned_steps;
  const base = `/${facts.organization}/${pipeline.slug}`;
  return [
    h("p", { class: "notice" }, h("strong", null, "Agents decide. "), "Whether a step that is not signed runs is written in each agent's own policy, where this server cannot change it. This page reports, and asks; it enforces nothing."),
    h("h2", null, "Steps of the newest builds ", speaker("server says")),
    total === 0
      ? h("p", { class: "muted" }, "No builds yet.")
      : h(
          "div",
          { class: "scroll" },
          h(
            "table",
            null,
            h("thead", null, h("tr", null, ["Steps", "Carry", "Under enforce an agent"].map((text) => h("th", { scope: "col" }, text)))),
            h("tbody", null, [
              [report.sealed_steps, "a signature and a seal", "runs them, if the key is trusted and the policy lets it"],
              [report.signed_steps, "a signature alone", "runs them only where the policy says that a signature is proof enough"],
              [report.unsigned_steps, "no signature", "refuses them: signature.missing"],
            ].filter(([count]) => count > 0).map(([count, what, then]) => h("tr", null, h("td", { class: "number" }, String(count)), h("td", null, what), h("td", null, then)))),
          ),
        ),
    report.keys.length > 0 && h("p", null, "Signatures name ", report.keys.map((kid, at) => [at > 0 && ", ", h("strong", null, kid)]), ". ", h("a", { href: `/${facts.organization}/keys` }, "Keys")),
    h("h2", null, `Refused in the last ${report.days} days `, speaker("server says")),
    refused(report, base),
    h("h2", null, "From observing to enforcing"),
    h(
      "ol",
      null,
      h("li", null, h("strong", null, "Observe: "), h("code", null, 'mode = "observe"'), " in the agents' policy. Everything runs; what would have been refused is in each job's log, and ", h("code", null, "pipeseal policy report"), " sums it up from the agents' own records, which is more than this server knows."),
      h("li", null, h("strong", null, "Warn: "), "an agent without a policy and with ", h("code", null, "verification-failure-behavior = warn"), " runs unproved steps and says so in the job's log."),
      h("li", null, h("strong", null, "Enforce: "), h("code", null, 'mode = "enforce"'), ", once the report is empty. From then on a step that is not proved does not run, whatever this server says."),
    ),
  ];
}

function refused(report, base) {
  if (report.refused.length === 0) return h("p", { class: "muted" }, `None of ${report.jobs} jobs that agents ended.`);
  const byCode = Map.groupBy(report.refused, (job) => job.code || "no code");
  const rows = [...byCode].sort(([, one], [, other]) => other.length - one.length);
  return [
    h("p", null, `${report.refused.length} of ${report.jobs} jobs that agents ended.`),
    h(
      "div",
      { class: "scroll" },
      h(
        "table",
        null,
        h("thead", null, h("tr", null, ["Jobs", "Code", "The newest", "What to do"].map((text) => h("th", { scope: "col" }, text)))),
        h("tbody", null, rows.map(([code, jobs]) => h("tr", null, h("td", { class: "number" }, String(jobs.length)), h("td", null, h("code", null, code)), h("td", null, h("a", { href: `${base}/builds/${jobs[0].number}/jobs/${jobs[0].id}` }, jobs[0].label || "a step"), ` in #${jobs[0].number}, `, moment(jobs[0].finished_at), h("br"), h("span", { class: "muted" }, jobs[0].message)), h("td", null, h("code", null, `pipeseal explain ${code}`))))),
      ),
    ),
  ];
}
