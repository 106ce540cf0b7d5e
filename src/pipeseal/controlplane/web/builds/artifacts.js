// Files that jobs left behind.
import { h, moment, replace, size } from "../dom.js";
import { ask } from "../api.js";
import { jobName, jobPath } from "./names.js";

const FIRST = 200;

/** What finds an artifact of a build by its path; the newest one, where several jobs have one of that path. */
export function artifactFinder(build) {
  let all = null;
  return async (path) => {
    all ??= readArtifacts(build, null, {});
    const wanted = decodeURIComponent(path);
    return (await all).findLast((artifact) => artifact.path === path || artifact.path === wanted) ?? null;
  };
}

async function readArtifacts(build, job, { signal }) {
  const base = `/pipelines/${encodeURIComponent(build.pipeline.slug)}/builds/${build.number}`;
  const found = [];
  for (let page = 1; page <= 200; page++) {
    const more = await ask(`${base}${job ? `/jobs/${job.id}` : ""}/artifacts?per_page=100&page=${page}`, { signal });
    found.push(...more);
    if (more.length < 100) break;
  }
  return found;
}

/** Draw the artifacts of a build into `element`, or those of one job. */
export async function drawArtifacts(element, build, { signal, job = null }) {
  const all = await readArtifacts(build, job, { signal });
  if (all.length === 0) {
    replace(element, h("div", { class: "empty" }, h("p", null, "No artifacts. A step keeps files with:"), h("pre", null, 'artifact_paths: "out/**/*"')));
    return;
  }
  let limit = FIRST;
  const names = new Map(build.jobs.map((one) => [one.id, one]));
  const words = h("input", { type: "search", placeholder: "Find a file", "aria-label": "Find a file", oninput: () => ((limit = FIRST), draw()) });
  const told = h("span", { class: "muted", role: "status" });
  const body = h("tbody");
  const more = h("button", { type: "button", hidden: true, onclick: () => ((limit += FIRST), draw()) }, "Show more");

  function draw() {
    const wanted = words.value.trim().toLowerCase();
    const found = all.filter((artifact) => artifact.path.toLowerCase().includes(wanted));
    replace(told, `${Math.min(limit, found.length).toLocaleString("en")} of ${all.length.toLocaleString("en")}, ${size(found.reduce((sum, one) => sum + one.file_size, 0))}`);
    replace(body, found.slice(0, limit).map((artifact) => row(artifact)));
    more.hidden = found.length <= limit;
  }

  function row(artifact) {
    const by = names.get(artifact.job_id);
    const isThere = artifact.state === "finished";
    return h(
      "tr",
      null,
      h("td", { class: "mono" }, artifact.path),
      h("td", null, size(artifact.file_size)),
      h("td", { class: "mono sum" }, artifact.sha256sum || "–"),
      !job && h("td", null, by ? h("a", { href: jobPath(build, by) }, jobName(by)) : ""),
      h("td", null, isThere ? h("a", { class: "button", href: new URL(artifact.download_url).pathname, "aria-label": `Download ${artifact.path}` }, "Download") : artifact.deleted_at ? ["deleted ", artifact.deleted_by && `by ${artifact.deleted_by}, `, moment(artifact.deleted_at)] : `not there: ${artifact.state}`),
    );
  }

  replace(
    element,
    h("div", { class: "row", role: "search", "aria-label": "Find artifacts" }, words, told),
    h(
      "div",
      { class: "scroll", tabindex: "0", role: "group", "aria-label": "Artifacts" },
      h(
        "table",
        null,
        h("caption", { class: "visually-hidden" }, "Artifacts"),
        h("thead", null, h("tr", null, h("th", { scope: "col" }, "Path"), h("th", { scope: "col" }, "Size"), h("th", { scope: "col" }, "SHA-256 (server says)"), !job && h("th", { scope: "col" }, "Job"), h("th", { scope: "col" }, h("span", { class: "visually-hidden" }, "Download")))),
        body,
      ),
    ),
    more,
  );
  draw();
}
