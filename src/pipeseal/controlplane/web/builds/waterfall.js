// When the jobs of a build waited and ran. The picture has all of its facts as text in the same table.
import { duration, h, replace } from "../dom.js";
import { state, stateOf } from "../marks.js";
import { jobName, jobPath } from "./names.js";
import { count } from "./steps.js";

const FIRST = 300;

/** The waterfall; `update(build)` brings it up to date. */
export function waterfall() {
  let limit = FIRST;
  let build = null;
  const body = h("tbody");
  const more = h("button", { type: "button", hidden: true, onclick: () => ((limit += FIRST), draw()) });
  const element = h(
    "div",
    null,
    h("p", { class: "legend" }, h("span", { class: "swatch wait" }), " waited for an agent ", h("span", { class: "swatch run" }), " ran"),
    h(
      "table",
      { class: "waterfall" },
      h("caption", { class: "visually-hidden" }, "When jobs waited and ran"),
      h("thead", null, h("tr", null, ["Job", "State", "Waited", "Ran", "From the start of the build on"].map((text) => h("th", { scope: "col" }, text)))),
      body,
    ),
    more,
  );

  function draw() {
    const jobs = build.jobs.filter((job) => job.type === "script" && job.runnable_at);
    const first = Math.min(...jobs.map((job) => new Date(job.runnable_at).getTime()));
    const last = Math.max(first + 1000, ...jobs.map((job) => new Date(job.finished_at ?? (job.started_at ? Date.now() : job.runnable_at)).getTime()));
    const share = (time) => (100 * (new Date(time).getTime() - first)) / (last - first);
    replace(body, jobs.slice(0, limit).map((job) => row(job, share)));
    if (jobs.length === 0) replace(body, h("tr", null, h("td", { colspan: 5 }, "No job has been ready to run yet.")));
    more.hidden = jobs.length <= limit;
    replace(more, `Show more: ${count(jobs.length - limit, "job")} left`);
  }

  function row(job, share) {
    const begin = job.started_at ?? job.finished_at;
    const bar = h("div", { class: "bar", "aria-hidden": "true" });
    const wait = h("span", { class: "wait" });
    const run = h("span", { class: "run" });
    const end = job.finished_at ?? new Date().toISOString();
    place(wait, share(job.runnable_at), share(begin ?? end));
    if (job.started_at) place(run, share(job.started_at), share(end));
    run.dataset.state = stateOf(job);
    bar.append(wait, job.started_at ? run : "");
    return h(
      "tr",
      null,
      h("td", null, h("a", { href: jobPath(build, job) }, jobName(job))),
      h("td", null, state(stateOf(job))),
      h("td", null, duration(job.runnable_at, begin ?? end)),
      h("td", null, duration(job.started_at, job.finished_at)),
      h("td", { class: "bar-cell" }, bar),
    );
  }

  return { element, update: (next) => ((build = next), draw()) };
}

function place(element, from, to) {
  element.style.setProperty("--from", `${Math.max(0, Math.min(100, from))}%`);
  element.style.setProperty("--width", `${Math.max(0.3, Math.min(100, to) - Math.max(0, from))}%`);
}
