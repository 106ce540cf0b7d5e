// All jobs of a build as a table that can be sorted and filtered.
import { duration, h, moment, replace } from "../dom.js";
import { state, stateOf, wordOf } from "../marks.js";
import { jobName, jobPath } from "./names.js";
import { count } from "./steps.js";

const FIRST = 300;
const seconds = (job) => (job.started_at ? new Date(job.finished_at ?? Date.now()) - new Date(job.started_at) : -1);
const COLUMNS = [
  ["name", "Job", (job) => jobName(job).toLowerCase()],
  ["state", "State", (job) => wordOf(stateOf(job))],
  ["agent", "Agent", (job) => job.agent?.name ?? ""],
  ["start", "Started", (job) => job.started_at ?? "9"],
  ["time", "Took", seconds],
];

/** The table; `update(build)` brings it up to date. */
export function jobTable(query) {
  let sort = query.get("sort") ?? "";
  let only = query.get("state") ?? "";
  let limit = FIRST;
  let build = null;
  const counts = h("div", { class: "row", role: "group", "aria-label": "Filter by state" });
  const body = h("tbody");
  const heads = COLUMNS.map(([name, text]) => {
    const cell = h("th", { scope: "col" }, h("button", { type: "button", class: "plain", onclick: () => sortBy(name) }, text));
    cell.dataset.name = name;
    return cell;
  });
  const more = h("button", { type: "button", hidden: true, onclick: () => ((limit += FIRST), draw()) }, "Show more");
  const element = h("div", null, counts, h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "Table of jobs" }, h("table", null, h("caption", { class: "visually-hidden" }, "Jobs"), h("thead", null, h("tr", null, heads)), body)), more);

  function sortBy(name) {
    sort = sort === name ? `-${name}` : name;
    keep("sort", sort);
    draw();
  }

  function keep(name, value) {
    const next = new URLSearchParams(location.search);
    if (value) next.set(name, value);
    else next.delete(name);
    history.replaceState(null, "", `${location.pathname}?${next}`);
  }

  function draw() {
    const all = build.jobs.filter((job) => job.type !== "waiter");
    // Several states have one word, which is what people choose by.
    const states = Map.groupBy(all, (job) => wordOf(stateOf(job)));
    const names = new Map(all.map((job) => [wordOf(stateOf(job)), stateOf(job)]));
    const choose = (name, text) => h("button", { type: "button", "aria-pressed": String(only === name), onclick: () => ((only = name), keep("state", name), draw()) }, text);
    replace(counts, choose("", `all ${all.length.toLocaleString("en")}`), [...states].map(([word, jobs]) => choose(word === wordOf(only) ? only : names.get(word), `${word} ${jobs.length.toLocaleString("en")}`)));
    const jobs = only ? [...(states.get(wordOf(only)) ?? [])] : [...all];
    const name = sort.replace("-", "");
    const key = COLUMNS.find((column) => column[0] === name)?.[2];
    if (key) {
      const keyed = jobs.map((job) => [key(job), job]).sort(([one], [other]) => (one < other ? -1 : one > other ? 1 : 0));
      jobs.splice(0, jobs.length, ...keyed.map(([, job]) => job));
      if (sort.startsWith("-")) jobs.reverse();
    }
    for (const head of heads) {
      if (head.dataset.name === name) head.setAttribute("aria-sort", sort.startsWith("-") ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    }
    replace(body, jobs.slice(0, limit).map(row));
    if (jobs.length === 0) replace(body, h("tr", null, h("td", { colspan: COLUMNS.length }, `No ${only ? "such " : ""}jobs.`)));
    more.hidden = jobs.length <= limit;
    replace(more, `Show more: ${count(jobs.length - limit, "job")} left`);
  }

  function row(job) {
    return h(
      "tr",
      null,
      h("td", null, h("a", { href: jobPath(build, job) }, jobName(job)), job.retried && h("span", { class: "muted" }, " (retried)")),
      h("td", null, state(stateOf(job))),
      h("td", null, job.agent?.name ?? ""),
      h("td", null, job.started_at ? moment(job.started_at) : ""),
      h("td", null, duration(job.started_at, job.finished_at)),
    );
  }

  return { element, update: (next) => ((build = next), draw()) };
}
