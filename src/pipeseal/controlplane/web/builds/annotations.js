// What jobs have to say on the page of a build. Each stands in a frame that says who wrote it.
import { h, moment, replace } from "../dom.js";
import { ask } from "../api.js";
import { artifactLink } from "../log/embedded.js";
import { renderMarkdown } from "./markdown.js";
import { jobName, jobPath } from "./names.js";

const STYLES = { info: "info", success: "success", warning: "warning", error: "error" };

/**
 * Draw the annotations of a build into `element`, or those of one job.
 */
export async function drawAnnotations(element, build, { signal, job = null, findArtifact }) {
  const base = `/pipelines/${encodeURIComponent(build.pipeline.slug)}/builds/${build.number}`;
  const found = [];
  for (let page = 1; page <= 50; page++) {
    const more = await ask(`${base}${job ? `/jobs/${job.id}` : ""}/annotations?per_page=100&page=${page}`, { signal });
    found.push(...more);
    if (more.length < 100) break;
  }
  const context = { link: (content, address) => artifactLink(content, address, { findArtifact }) };
  replace(
    element,
    found.length === 0
      ? h("div", { class: "empty" }, h("p", null, "No annotations. A job writes one with:"), h("pre", null, "buildkite-agent annotate --style info \"what there is to say\""))
      : found.map((annotation) => frame(build, annotation, context)),
  );
}

function frame(build, annotation, context) {
  const writer = annotation.job_id ? build.jobs.find((job) => job.id === annotation.job_id) : null;
  const kind = STYLES[annotation.style] ?? "default";
  return h(
    "article",
    { class: `annotation ${kind}`, "aria-label": `Annotation ${annotation.context}` },
    h(
      "p",
      { class: "annotation-by" },
      h("strong", null, kind === "default" ? "Annotation" : kind),
      ` ${annotation.context}: written by `,
      writer ? ["job ", h("a", { href: jobPath(build, writer) }, jobName(writer))] : "a job of this build",
      ", the server says · ",
      moment(annotation.updated_at ?? annotation.created_at),
    ),
    h("div", { class: "annotation-body" }, renderMarkdown(annotation.body, context)),
  );
}
