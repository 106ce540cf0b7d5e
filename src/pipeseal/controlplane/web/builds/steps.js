// The steps of a build as a tree: groups, steps with several jobs, jobs. What is folded has no elements.
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
    // https://www.w3.org/WAI/ARIA/apg/patterns/treeview/: one stop of the Tab key, and arrows inside.
    this.list = h("ul", { class: "steps", role: "tree", "aria-label": "Steps", onkeydown: (event) => this.move(event), onfocusin: (event) => this.stay(event.target) });
    this.isScrolled = false;
    this.more = h("button", { type: "button", hidden: true, onclick: () => ((this.limit += FIRST), this.update(this.build)) });
    const all = h("div", { class: "steps-all", id: "steps-all" }, h("div", { class: "row steps-bar", role: "search", "aria-label": "Steps" }, this.words, this.only, this.order), this.count, this.list, this.more);
    this.element = h("nav", { class: compact ? "build-steps compact" : "build-steps", "aria-label": "Steps" }, compact && this.drawHere(), all);
  }

  /** On a narrow page: which step this is, and the ways to the others. */
  drawHere() {
    this.toggle = h("button", { type: "button", class: "grow here-toggle", "aria-expanded": "false", "aria-controls": "steps-all", onclick: () => this.open(!this.isOpened) });
    this.before = h("a", { class: "button", rel: "prev", "aria-label": "Step before" }, "‹");
    this.after = h("a", { class: "button", rel: "next", "aria-label": "Next step" }, "›");
    return h("div", { class: "row steps-here" }, this.before, this.toggle, this.after);
  }

  open(isOpened) {
    this.isOpened = isOpened;
    this.element.classList.toggle("opened", isOpened);
    this.toggle.setAttribute("aria-expanded", String(isOpened));
    if (!isOpened || this.toggle.offsetParent === null) return;
    // The list is as high as most of a phone.
    this.toggle.scrollIntoView({ block: "start" });
    this.scrollToCurrent();
  }

  updateHere() {
    const jobs = latestJobs(this.build).filter((job) => job.type !== "waiter");
    const shown = attemptsOf(this.build, this.build.jobs.find((job) => job.id === this.current) ?? jobs[0]).at(-1);
    const at = jobs.findIndex((job) => job.id === shown?.id);
    const told = JSON.stringify([at, jobs.length, jobs[at] && [jobName(jobs[at]), stateOf(jobs[at])]]);
    if (told === this.toldHere) return;
    this.toldHere = told;
    replace(this.toggle, h("span", { class: "muted" }, `${(at + 1).toLocaleString("en")} of ${jobs.length.toLocaleString("en")}`), h("span", { class: "grow here-name" }, jobs[at] ? jobName(jobs[at]) : ""), h("span", { class: "here-mark", "aria-hidden": "true" }));
    for (const [link, job] of [[this.before, jobs[at - 1]], [this.after, jobs[at + 1]]]) {
      if (job) link.setAttribute("href", jobPath(this.build, job) + keptQuery());
      else link.removeAttribute("href");
      link.setAttribute("aria-disabled", String(!job));
    }
  }

  /** Let the step that is shown be in sight; the page itself stays where it is. */
  scrollToCurrent() {
    const item = this.list.querySelector("[aria-current]");
    if (!item || this.list.clientHeight === 0) return;
    this.list.scrollTop = item.offsetTop - (this.list.clientHeight - item.offsetHeight) / 2;
    this.isScrolled = true;
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
    // The step that is shown is among them, however many there are.
    const at = rows.findIndex((row) => row.job?.id === this.current);
    if (at >= this.limit && !this.isScrolled) this.limit = Math.ceil((at + 1) / FIRST) * FIRST;
    const shown = rows.slice(0, this.limit);
    const focused = this.list.contains(document.activeElement) ? document.activeElement.dataset.row : null;
    patch(this.list, shown.map((row) => this.drawRow(row)));
    // A row that was drawn anew keeps its focus.
    if (focused !== null && !this.list.contains(document.activeElement)) this.drawn.get(focused)?.element.firstElementChild.focus({ preventScroll: true });
    this.number(rows, shown);
    if (this.compact) this.updateHere();
    if (this.compact && !this.isScrolled) this.scrollToCurrent();
    this.more.hidden = rows.length <= this.limit;
    replace(this.more, `Show more: ${(rows.length - this.limit).toLocaleString("en")} are left`);
    const steps = all.filter((job) => job.type !== "waiter").length;
    const found = jobs.filter((job) => job.type !== "waiter").length;
    const failed = all.filter(isBad).length;
    const told = JSON.stringify([steps, found, failed, isFiltered, failed > 0 && this.failure(1)?.id]);
    if (told === this.toldCount) return;
    this.toldCount = told;
    replace(
      this.count,
      isFiltered ? `${found.toLocaleString("en")} of ${count(steps, "job")}` : count(steps, "job"),
      failed > 0 && [", ", h("a", { href: jobPath(build, this.failure(1)), title: "Go to the next one" }, `${failed.toLocaleString("en")} failed`)],
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

  /** Groups, steps and jobs as they stand in the pipeline; inside of what `isOpen` says is open. */
  rowsInOrder(jobs, isOpen = (key, inside) => this.isOpen(key, inside)) {
    const rows = [];
    for (const group of runs(jobs, (job) => job.group_key ?? "")) {
      const name = group[0].group_key;
      let depth = 0;
      if (name) {
        const key = `group ${name}`;
        rows.push({ fold: key, name, jobs: group, depth: 0 });
        if (!isOpen(key, group)) continue;
        depth = 1;
      }
      for (const step of runs(group, (job) => job.step.id)) {
        if (step.length === 1) {
          rows.push({ job: step[0], depth });
          continue;
        }
        const key = `step ${step[0].step.id}`;
        rows.push({ fold: key, name: commonName(step), jobs: step, depth });
        if (isOpen(key, step)) for (const job of step) rows.push({ job, depth: depth + 1, inner: true });
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
    element.firstElementChild.dataset.row = key;
    this.drawn.set(key, { told, element });
    return element;
  }

  drawFold(row, isOpen) {
    const toggle = () => {
      (this.isFiltered ? this.openedOfFound : this.opened).set(row.fold, !isOpen);
      this.update(this.build);
      this.drawn.get(row.fold).element.firstElementChild.focus();
    };
    const item = h(
      "button",
      { type: "button", class: "step-row fold", role: "treeitem", "aria-expanded": String(isOpen), onclick: toggle },
      h("span", { class: "group-mark", "aria-hidden": "true" }),
      h("span", { class: "grow step-name" }, `${row.name} (${row.jobs.length.toLocaleString("en")})`),
      h("span", { class: "muted step-tally" }, tally(row.jobs)),
      state(together(row.jobs)),
    );
    return h("li", { class: "step", role: "none" }, item);
  }

  drawJob({ job, inner }) {
    if (job.type === "waiter") return h("li", { class: "step wait", role: "none" }, h("span", { class: "step-row", role: "treeitem" }, "wait", job.state !== "passed" && state(job.state)));
    const attempts = job.retries_count > 0 ? attemptsOf(this.build, job).length : 1;
    const item = h(
      "a",
      { href: jobPath(this.build, job) + keptQuery(), class: "step-row", role: "treeitem", "aria-current": job.id === this.current ? "page" : null },
      h("span", { class: "grow step-name" }, inner ? variant(job) || jobName(job) : jobName(job)),
      attempts > 1 && h("span", { class: "muted" }, `attempt ${attempts}`),
      job.soft_failed && h("span", { class: "muted" }, "may fail"),
      job.started_at && h("span", { class: "muted step-time" }, duration(job.started_at, job.finished_at)),
      state(stateOf(job)),
    );
    return h("li", { class: "step", role: "none" }, item);
  }

  /** Say to each row where it is in the tree, and let one of them be what the Tab key comes to. */
  number(rows, shown) {
    const parents = [];
    const members = new Map();
    const places = rows.map((row, at) => {
      parents.length = row.depth;
      const parent = parents[row.depth - 1] ?? null;
      parents[row.depth] = at;
      members.set(parent, (members.get(parent) ?? 0) + 1);
      return [parent, members.get(parent)];
    });
    const items = shown.map((row) => this.drawn.get(row.fold ?? row.job.id).element.firstElementChild);
    const stop = items.find((item) => item.dataset.row === this.at) ?? items.find((item) => item.hasAttribute("aria-current")) ?? items[0];
    items.forEach((item, at) => {
      const [parent, position] = places[at];
      for (const [name, value] of [["aria-level", shown[at].depth + 1], ["aria-posinset", position], ["aria-setsize", members.get(parent)]]) if (item.getAttribute(name) !== String(value)) item.setAttribute(name, value);
      item.tabIndex = item === stop ? 0 : -1;
    });
  }

  stay(item) {
    for (const one of this.list.querySelectorAll('[tabindex="0"]')) one.tabIndex = -1;
    item.tabIndex = 0;
    this.at = item.dataset.row;
  }

  /** Arrows inside the tree. */
  move(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
    const items = [...this.list.querySelectorAll("[role=treeitem]")];
    const at = items.indexOf(event.target);
    const level = (item) => Number(item.getAttribute("aria-level"));
    const expanded = event.target.getAttribute("aria-expanded");
    let to = null;
    switch (event.key) {
      case "ArrowDown":
        to = items[at + 1];
        break;
      case "ArrowUp":
        to = items[at - 1];
        break;
      case "Home":
        [to] = items;
        break;
      case "End":
        to = items.at(-1);
        break;
      case "ArrowRight":
        if (expanded === "false") event.target.click();
        else if (expanded === "true") to = items[at + 1];
        break;
      case "ArrowLeft":
        if (expanded === "true") event.target.click();
        else to = items.slice(0, at).findLast((item) => level(item) < level(event.target));
        break;
      case " ":
        event.target.click();
        break;
      default:
        return;
    }
    // What the page does with these keys elsewhere it does not do here.
    event.preventDefault();
    event.stopPropagation();
    to?.focus();
  }

  /** The next job that went wrong behind the one that is shown, or before it. */
  failure(by) {
    const bad = latestJobs(this.build).filter(isBad);
    if (bad.length === 0) return null;
    const at = bad.findIndex((job) => job.id === this.current);
    return bad[(at + by + (at < 0 && by < 0 ? 1 : 0) + bad.length) % bad.length];
  }

  /** Go to the field that finds a step. */
  find() {
    if (this.compact) this.open(true);
    this.words.focus();
  }

  /** Open or close all groups. */
  toggleAll() {
    const folds = this.rowsInOrder(latestJobs(this.build), () => true).filter((row) => row.fold);
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
