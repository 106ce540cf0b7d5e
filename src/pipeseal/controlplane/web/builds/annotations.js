// What jobs have to say on the page of a build. Each stands in a frame that says who wrote it; the text itself is a
// document of its own, in which nothing runs, from which nothing is reached, and which knows nothing of this page.
import { h, moment, replace } from "../dom.js";
import { ask } from "../api.js";
import { jobName, jobPath } from "./names.js";

const STYLES = { info: "info", success: "success", warning: "warning", error: "error" };
const PAGE = 30;
// No scripts, no forms, no origin of ours, no moving of this page; a link that is clicked opens in a tab of its own.
// `allow-same-origin` would let this page measure how high the text is, and hand the text our origin in exchange: its
// requests would carry the reader's session. So the server counts the rows of the text, and the rest scrolls.
const SANDBOX = "allow-popups allow-popups-to-escape-sandbox allow-downloads";
const ROW_PIXELS = 27;
const CHARACTER_PIXELS = 7.4;
const MOST_PIXELS = 760;

/**
 * Draw the annotations of a build into `element`, or those of one job.
 */
export async function drawAnnotations(element, build, { signal, job = null }) {
  const base = `/pipelines/${encodeURIComponent(build.pipeline.slug)}/builds/${build.number}`;
  const found = [];
  for (let page = 1; page <= 50; page++) {
    const more = await ask(`${base}${job ? `/jobs/${job.id}` : ""}/annotations?per_page=${PAGE}&page=${page}`, { signal });
    found.push(...more);
    if (more.length < PAGE) break;
  }
  if (found.length === 0) {
    replace(element, h("div", { class: "empty" }, h("p", null, "No annotations. A job writes one with:"), h("pre", null, "buildkite-agent annotate --style info \"what there is to say\"")));
    return;
  }
  const frames = found.map((annotation) => ({ annotation, frame: frame(annotation) }));
  replace(element, frames.map((one) => article(build, one)));
  for (const one of frames) fit(one);
  addEventListener("resize", () => frames.forEach(fit), { signal });
  // A reader who chooses another theme sees it there too.
  const observer = new MutationObserver(() => frames.forEach((one) => (one.frame.src = address(one.annotation))));
  observer.observe(document.documentElement, { attributeFilter: ["data-theme"] });
  signal.addEventListener("abort", () => observer.disconnect());
}

function address(annotation) {
  const { theme } = document.documentElement.dataset;
  return new URL(annotation.frame.url).pathname + (theme ? `?theme=${theme}` : "");
}

function frame(annotation) {
  return h("iframe", {
    class: "annotation-frame",
    title: `Annotation ${annotation.context}`,
    sandbox: SANDBOX,
    referrerpolicy: "no-referrer",
    allow: "",
    loading: "lazy",
    src: address(annotation),
  });
}

/** Make a frame about as high as its text. */
function fit({ annotation, frame }) {
  const widths = Object.keys(annotation.frame.rows).map(Number).sort((one, other) => one - other);
  const width = widths.findLast((one) => one <= frame.clientWidth / CHARACTER_PIXELS) ?? widths[0];
  frame.style.height = `${Math.min(MOST_PIXELS, (annotation.frame.rows[width] + 1) * ROW_PIXELS)}px`;
}

function article(build, { annotation, frame }) {
  const writer = annotation.writer_job_id ? build.jobs.find((job) => job.id === annotation.writer_job_id) : null;
  const kind = STYLES[annotation.style] ?? "default";
  return h(
    "article",
    { class: `annotation ${kind}`, "aria-label": `Annotation ${annotation.context}` },
    h(
      "p",
      { class: "annotation-by" },
      h("strong", null, kind === "default" ? "Annotation" : kind),
      ` ${annotation.context}: written by `,
      writer ? ["job ", h("a", { href: jobPath(build, writer) }, jobName(writer))] : "a job of this build, or through the API",
      ", the server says · ",
      moment(annotation.updated_at ?? annotation.created_at),
      " · ",
      h("a", { href: address(annotation), target: "_blank", rel: "noopener", "aria-label": `Open annotation ${annotation.context} in a tab` }, "open in a tab"),
    ),
    frame,
  );
}
