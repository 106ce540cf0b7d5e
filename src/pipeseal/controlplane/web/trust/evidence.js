// Evidence: what a build's steps were judged by, in one file that other programs can judge anew.
import { ask } from "../api.js";
import { h } from "../dom.js";
import { placeOf } from "./check.js";

export const EVIDENCE_TYPE = "pipeseal-evidence";
const PAGE = 100;

/** A button that saves the evidence of a build. Keys are not in it: whoever checks brings their own. */
export function evidenceButton(build) {
  return h("button", { onclick: () => save(build) }, "Save the evidence");
}

async function save(build) {
  const { organization, slug } = placeOf();
  const steps = [];
  for (let page = 1; ; page += 1) {
    const found = await ask(`/pipelines/${encodeURIComponent(slug)}/builds/${build.number}/signed-steps?per_page=${PAGE}&page=${page}`);
    steps.push(...found);
    if (found.length < PAGE) break;
  }
  const { id, number, commit, branch, tag, pull_request } = build;
  const jobs = build.jobs
    .filter((job) => job.type === "script")
    .map(({ id, label, command, step_key, matrix, parallel_group_index, step, started_at, agent_query_rules }) => ({ id, label, command, step_key, matrix, parallel_group_index, step: { id: step.id }, started_at, agent_query_rules }));
  const evidence = { type: EVIDENCE_TYPE, version: 1, server: location.origin, organization, slug, build: { id, number, commit, branch, tag, pull_request }, jobs, steps };
  const url = URL.createObjectURL(new Blob([JSON.stringify(evidence, null, 1)], { type: "application/json" }));
  const link = h("a", { href: url, download: `${slug}-${number}-evidence.json` });
  link.click();
  URL.revokeObjectURL(url);
}
