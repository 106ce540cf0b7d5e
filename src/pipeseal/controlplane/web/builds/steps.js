// The steps of a build as a list: groups, steps with several jobs, jobs. What is folded has no elements.
import { duration, h, replace } from "../dom.js";
import { state, stateOf } from "../marks.js";
import { attemptsOf, commonName, isBad, jobName, jobPath, latestJobs, together, variant } from "./names.js";

const FIRST = 300;
const WORST_FIRST = ["refused", "failed", "timed_out", "expired", "blocked", "running", "accepted", "assigned", "scheduled", "limited", "limiting", "waiting"];

export class StepList {
  /**
   * @param options `current`: the id of the job that is shown; `query`: the page's query, of which `q`, `by` and
   *   `state` count; `compact`: beside a job.
   */
  constructor({ current = "", query, compact = false }) {
    this.current = current;
    this.compact = compact;
    this.by = query.get("by") === "state" ? "state" : "order";
    this.limit = FIRST;
    // What the reader opened and closed, of all steps and of those that a search left.
    this.opened = new Map();
    this.openedOfFound = new Map();
    this.drawn = new Map();
    this.words = h("input", {
      type: "search",
      placeholder: "Find a step",
      "aria-label": "Find a step",
      "aria-keyshortcuts": "s",
      value: query.get("q") ?? "",
      oninput: () => this.changed(),
    });
    this.only = h(
      "select",
      { "aria-label": "State of steps", onchange: () => this.changed() },
      [["", "any state"], ["failed", "failed"], ["running", "running"], ["waiting", "waiting"], ["passed", "passed"]].map(([value, text]) =>
        h("option", { value, selected: value === query.get("state") }, text),
      ),
    );
    this.order = h(
      "select",
      { "aria-label": "Order of steps", onchange: () => this.changed() },
      h("option", { value: "order" }, "in order"),
      h("option", { value: "state", selected: this.by === "state" }, "by state"),
    );
    this.count = h("p", { class: "muted steps-count", role: "status" });
    this.list = h("ul", { class: "steps" });
    this.more = h("button", { type: "button", hidden: true, onclick: () => ((this.limit += FIRST), this.update(this.build)) });
    this.element = h(
      "nav",
      { class: compact ? "build-steps compact" : "build-steps", "aria-label": "Steps" },
      h("div", { class: "row steps-bar", role: "search", "aria-label": "Steps" }, this.words, this.only, this.order),
      this.count,
      this.list,
      this.more,
    );
  }

  changed() {
    this.by = this.order.value;
    this.limit = FIRST;
    this.openedOfFound.clear();
    const query = new URLSearchParams(location.search);
    for (const [name, value] of [["q", this.words.value], ["state", this.only.value], ["by", this.by === "state" ? "state" : ""]]) {
      if (value) query.set(name, value);
      else query.delete(name);
    }
    history.replaceState(null, "", `${location.pathname}${query.size > 0 ? `?${query}` : ""}${location.hash}`);
    this.update(this.build);
  }

  /** Draw the build as it is now; what did not change stays as it is. */
  update(build) {
    this.build = build;
    const all = latestJobs(build);
    const words = this.words.value.trim().toLowerCase();
    const jobs = all.filter((job) => this.fits(job, words));
    const isFiltered = jobs.length < all.length;
    this.isFiltered = isFiltered;
    const rows = this.by === "state" ? this.rowsByState(jobs) : this.rowsInOrder(jobs);
    const shown = rows.slice(0, this.limit);
    patch(this.list, shown.map((row) => this.drawRow(row)));
    this.more.hidden = rows.length <= this.limit;
    replace(this.more, `Show more: ${(rows.length - this.limit).toLocaleString("en")} are left`);
    const steps = all.filter((job) => job.type !== "waiter").length;
    const found = jobs.filter((job) => job.type !== "waiter").length;
    const failed = all.filter(isBad).length;
    replace(
      this.count,
      isFiltered ? `${found.toLocaleString("en")} of ${count(steps, "job")}` : count(steps, "job"),
      failed > 0 && `, ${failed} failed`,
      isFiltered && [" · ", h("button", { type: "button", class: "plain link", onclick: () => this.clear() }, "Clear the filter")],
    );
  }

  clear() {
    this.words.value = "";
    this.only.value = "";
    this.changed();
  }

  fits(job, words) {
    const wanted = this.only.value;
    if (wanted === "failed" && !isBad(job)) return false;
    if (wanted === "running" && !["running", "accepted", "assigned"].includes(job.state)) return false;
    if (wanted === "passed" && job.state !== "passed") return false;
    if (wanted === "waiting" && !["waiting", "scheduled", "blocked", "limited", "limiting"].includes(job.state)) return false;
    if (job.type === "waiter" && (wanted || words)) return false;
    return words === "" || [jobName(job), job.step_key, job.group_key].some((text) => (text ?? "").toLowerCase().includes(words));
  }

  rowsByState(jobs) {
    const rank = (job) => (WORST_FIRST.indexOf(stateOf(job)) + WORST_FIRST.length + 1) % (WORST_FIRST.length + 1);
    return jobs
      .filter((job) => job.type !== "waiter")
      .map((job, at) => [rank(job) === 0 ? WORST_FIRST.length + 1 : rank(job), at, job])
      .sort((one, other) => one[0] - other[0] || one[1] - other[1])
      .map(([, , job]) => ({ job, depth: 0 }));
  }

  rowsInOrder(jobs) {
    const rows = [];
    for (const group of runs(jobs, (job) => job.group_key ?? "")) {
      const name = group[0].group_key;
      let depth = 0;
      if (name) {
        const key = `group ${name}`;
        rows.push({ fold: key, name, jobs: group, depth: 0 });
        if (!this.isOpen(key, group)) continue;
        depth = 1;
      }
      for (const step of runs(group, (job) => job.step.id)) {
        if (step.length === 1) {
          rows.push({ job: step[0], depth });
          continue;
        }
        const key = `step ${step[0].step.id}`;
        rows.push({ fold: key, name: commonName(step), jobs: step, depth });
        if (this.isOpen(key, step)) for (const job of step) rows.push({ job, depth: depth + 1, inner: true });
      }
    }
    return rows;
  }

  isOpen(key, jobs) {
    if (this.isFiltered) return this.openedOfFound.get(key) ?? true;
    return this.opened.get(key) ?? (jobs.some((job) => job.id === this.current) || (jobs.length <= 50 && jobs.some(isBad)));
  }

  drawRow(row) {
    const key = row.fold ?? row.job.id;
    const isOpen = row.fold && this.isOpen(row.fold, row.jobs);
    const told = row.fold
      ? JSON.stringify([row.name, row.depth, isOpen, together(row.jobs), row.jobs.length, tally(row.jobs)])
      : JSON.stringify([jobName(row.job), row.depth, row.inner, stateOf(row.job), row.job.started_at, row.job.finished_at, row.job.retries_count, row.job.soft_failed]);
    const before = this.drawn.get(key);
    if (before?.told === told) return before.element;
    const element = row.fold ? this.drawFold(row, isOpen) : this.drawJob(row);
    element.classList.add(`depth-${row.depth}`);
    this.drawn.set(key, { told, element });
    return element;
  }

  drawFold(row, isOpen) {
    const toggle = () => {
      (this.isFiltered ? this.openedOfFound : this.opened).set(row.fold, !isOpen);
      this.update(this.build);
      this.drawn.get(row.fold)?.element.querySelector("button")?.focus();
    };
    return h(
      "li",
      { class: "step fold" },
      h(
        "button",
        { type: "button", class: "plain step-fold", "aria-expanded": String(isOpen), onclick: toggle },
        h("span", { class: "group-mark", "aria-hidden": "true" }),
        h("span", { class: "grow" }, `${row.name} (${row.jobs.length.toLocaleString("en")})`),
      ),
      h("span", { class: "muted step-tally" }, tally(row.jobs)),
      state(together(row.jobs)),
    );
  }

  drawJob({ job, inner }) {
    if (job.type === "waiter") return h("li", { class: "step wait" }, h("span", null, "wait"), job.state !== "passed" && state(job.state));
    const attempts = job.retries_count > 0 ? attemptsOf(this.build, job).length : 1;
    return h(
      "li",
      { class: "step" },
      h(
        "a",
        { href: jobPath(this.build, job) + keptQuery(), class: "grow step-name", "aria-current": job.id === this.current ? "page" : null },
        inner ? variant(job) || jobName(job) : jobName(job),
      ),
      attempts > 1 && h("span", { class: "muted" }, `attempt ${attempts}`),
      job.soft_failed && h("span", { class: "muted" }, "may fail"),
      job.started_at && h("span", { class: "muted step-time" }, duration(job.started_at, job.finished_at)),
      state(stateOf(job)),
    );
  }

  /** The next job that went wrong behind the one that is shown, or before it. */
  failure(by) {
    const bad = latestJobs(this.build).filter(isBad);
    if (bad.length === 0) return null;
    const at = bad.findIndex((job) => job.id === this.current);
    return bad[(at + by + (at < 0 && by < 0 ? 1 : 0) + bad.length) % bad.length];
  }

  /** Open or close all groups. */
  toggleAll() {
    const folds = this.rowsInOrder(latestJobs(this.build)).filter((row) => row.fold);
    const wanted = !folds.some((row) => this.isOpen(row.fold, row.jobs));
    for (const row of folds) (this.isFiltered ? this.openedOfFound : this.opened).set(row.fold, wanted);
    this.update(this.build);
  }
}

function keptQuery() {
  const query = new URLSearchParams(location.search);
  query.delete("view");
  query.delete("as");
  return query.size > 0 ? `?${query}` : "";
}

/** Neighbours that have the same key, together. */
function runs(jobs, keyOf) {
  const found = [];
  let last;
  for (const job of jobs) {
    const key = keyOf(job);
    if (found.length > 0 && key === last && key !== "") found[found.length - 1].push(job);
    else found.push([job]);
    last = key;
  }
  return found;
}

function tally(jobs) {
  const bad = jobs.filter(isBad).length;
  const done = jobs.filter((job) => job.finished_at).length;
  return bad > 0 ? `${bad} failed` : done < jobs.length ? `${done} of ${jobs.length} done` : "";
}

/** "1 job", "4,000 jobs". */
export function count(number, word) {
  return `${number.toLocaleString("en")} ${word}${number === 1 ? "" : "s"}`;
}

/** Let `parent` hold `children`; what is in its place stays there, and keeps its focus. */
export function patch(parent, children) {
  for (let at = 0; at < children.length; at++)
    if (parent.children[at] !== children[at]) parent.insertBefore(children[at], parent.children[at] ?? null);
  while (parent.childElementCount > children.length) parent.lastElementChild.remove();
}
