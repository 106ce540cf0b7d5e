// A build, and a job of it: steps, annotations, artifacts, trust; live.
import { announce, duration, h, moment, replace } from "../dom.js";
import { may } from "../api.js";
import { onKey } from "../frame.js";
import { go } from "../main.js";
import { state, stateOf, wordOf } from "../marks.js";
import { askCancel, askRebuild, askRetry, isOpen, isRetryable } from "../builds/actions.js";
import { drawAnnotations } from "../builds/annotations.js";
import { artifactFinder, drawArtifacts } from "../builds/artifacts.js";
import { drawForm } from "../builds/form.js";
import { explain, unexplained } from "../builds/explain.js";
import { followBuild } from "../builds/follow.js";
import { graph } from "../builds/graph.js";
import { JobPanel } from "../builds/job.js";
import { attemptsOf, buildPath, isBad, isBusy, jobPath, latestJobs } from "../builds/names.js";
import { StepList } from "../builds/steps.js";
import { jobTable } from "../builds/table.js";
import { waterfall } from "../builds/waterfall.js";
import { observedOfBuild } from "../trust/told.js";

const TABS = [
  ["", "Steps"],
  ["annotations", "Annotations"],
  ["artifacts", "Artifacts"],
  ["trust", "Trust"],
];
const VIEWS = [
  ["list", "List"],
  ["table", "Table"],
  ["graph", "Graph"],
  ["waterfall", "Waterfall"],
];
// What made a build, as the server says.
const SOURCES = { api: "made through the API", ui: "made by hand", webhook: "made by a push", schedule: "made on schedule", trigger_job: "made by another build" };
const DRAW_MILLISECONDS = 200;
const FOLLOW = "follow";

export async function show(main, { parameters, query, signal }) {
  let page = null;
  let isDue = false;
  let problem = null;

  const draw = (build) => {
    page ??= new BuildPage(main, build, { parameters, query, signal });
    page.update(build);
  };
  let latest = null;
  const onchange = (build) => {
    latest = build;
    if (page === null) draw(build);
    else if (!isDue) {
      isDue = true;
      // Many jobs change at once; the page follows a few times in a second.
      setTimeout(() => {
        isDue = false;
        if (!signal.aborted) draw(latest);
      }, DRAW_MILLISECONDS);
    }
  };
  const onproblem = (error, tryNow) => {
    problem?.remove();
    problem = null;
    if (error === null || page === null) return;
    problem = h("p", { class: "notice bad", role: "status" }, `As of ${new Date().toLocaleTimeString()}: the server does not answer. Trying again. `, tryNow && h("button", { type: "button", onclick: () => tryNow() }, "Try now"));
    page.head.after(problem);
  };
  await followBuild(parameters.slug, Number(parameters.number), { signal, onchange, onproblem });
}

class BuildPage {
  constructor(main, build, { parameters, query, signal }) {
    this.signal = signal;
    this.parameters = parameters;
    this.query = query;
    this.tab = parameters.tab ?? "";
    this.view = VIEWS.some(([name]) => name === query.get("view")) ? query.get("view") : "list";
    this.findArtifact = artifactFinder(build);
    this.head = h("div", { class: "build-head" });
    this.trust = h("div", { id: "trust", class: "trust-bar", tabindex: "-1", role: "group", "aria-label": "Trust" });
    this.skips = h("nav", { "aria-label": "Skip" });
    this.observed = h("div", { class: "build-observed" });
    this.tabs = h("nav", { class: "tabs", "aria-label": "Build" });
    this.notes = h("div", { class: "build-notes" });
    this.body = h("div", { class: "build-body", tabindex: "-1" });
    replace(main, this.skips, this.head, this.trust, this.observed, this.tabs, this.notes, this.body);
    this.lay(build);
    this.keys();
  }

  /** Put together what this address shows. */
  lay(build) {
    const { parameters, query, signal } = this;
    this.skipsTo = null;
    if (parameters.job) {
      const job = build.jobs.find((one) => one.id === parameters.job);
      this.steps = new StepList({ current: parameters.job, query, compact: true });
      this.panel = job ? new JobPanel(build, job, { signal, tab: parameters.jobTab, findArtifact: this.findArtifact }) : null;
      const panes = this.panel?.element ?? h("p", { class: "empty" }, "This build has no such job. ", h("a", { href: buildPath(build) }, "All its steps"));
      replace(this.body, h("div", { class: "build-panes" }, this.steps.element, panes));
      return;
    }
    if (this.tab !== "") {
      this.drawTab(build);
      return;
    }
    const link = ([name, text]) => h("a", { href: name === "list" ? buildPath(build) : `${buildPath(build)}?view=${name}`, class: "button", "aria-current": name === this.view ? "page" : null }, text);
    this.forms = h("div", { class: "build-forms" });
    const views = h("nav", { class: "row views", "aria-label": "View" }, VIEWS.map(link));
    if (this.view === "list") this.steps = new StepList({ query });
    else this.picture = { table: () => jobTable(query), graph, waterfall }[this.view]();
    replace(this.body, this.forms, views, this.steps?.element ?? this.picture.element);
  }

  /** Bring the page up to date. */
  update(build) {
    const before = this.build;
    this.build = build;
    document.title = `#${build.number} ${wordOf(build.state)} · ${build.pipeline.name} · Pipeseal`;
    if (before && before.state !== build.state) announce(`Build ${wordOf(build.state)}`);
    // An attempt that was just made is not in what was known before.
    if (this.parameters.job && !this.panel && build.jobs.some((job) => job.id === this.parameters.job)) this.lay(build);
    this.drawHead();
    this.drawSkips();
    this.drawNotes();
    this.drawObserved();
    this.steps?.update(build);
    this.picture?.update(build);
    this.panel?.update(build);
    if (this.forms) this.drawForms();
    this.drawTrust(before);
    this.goAlong();
  }

  /** Links for those who come by the keyboard, past what stands above (WCAG 2.4.1). The address keeps its pin and lines. */
  drawSkips() {
    const bad = latestJobs(this.build).find((job) => isBad(job) && job.id !== this.parameters.job);
    if (bad?.id === this.skipsTo) return;
    this.skipsTo = bad?.id;
    const to = (element) => (event) => {
      event.preventDefault();
      element.focus();
      element.scrollIntoView();
    };
    replace(
      this.skips,
      h("a", { class: "skip", href: "#trust", onclick: to(this.trust) }, "Skip to trust"),
      h("a", { class: "skip", href: "#build", onclick: to(this.body) }, this.parameters.job ? "Skip to the steps and the job" : "Skip to the steps"),
      this.panel && h("a", { class: "skip", href: "#job", onclick: to(this.panel.body) }, this.parameters.jobTab ? "Skip to what the job's tab shows" : "Skip to the log"),
      bad && h("a", { class: "skip", href: jobPath(this.build, bad) }, "Go to the first failure"),
    );
  }

  drawHead() {
    const { build } = this;
    const organization = new URL(build.web_url).pathname.split("/")[1];
    // Times go on; the rest is drawn when it has changed.
    const told = JSON.stringify([build.state, build.message, build.started_at, build.finished_at, build.cancel_asked_at]);
    if (this.told !== told) {
      this.told = told;
      const [first, ...rest] = (build.message || "(no message)").split("\n");
      this.spent = h("span", { class: "muted" });
      replace(
        this.head,
        h("ol", { class: "crumbs" }, h("li", null, h("a", { href: `/${organization}/${build.pipeline.slug}` }, build.pipeline.name)), h("li", null, h("a", { href: buildPath(build), "aria-current": this.parameters.job ? null : "page" }, `#${build.number}`))),
        h(
          "div",
          { class: "row spread" },
          h("h1", { class: "grow" }, state(build.state), " ", h("span", { class: "build-message" }, first)),
          h(
            "div",
            { class: "row" },
            !this.parameters.job && ["failed", "failing"].includes(build.state) && h("button", { type: "button", "aria-keyshortcuts": "e", onclick: () => this.explain() }, "Why?"),
            may("write_builds") && isOpen(build) && h("button", { type: "button", class: "danger", "aria-keyshortcuts": "c", disabled: Boolean(build.cancel_asked_at), onclick: () => askCancel(build) }, build.cancel_asked_at ? "Cancelling" : "Cancel"),
            may("write_builds") && h("button", { type: "button", onclick: () => askRebuild(build) }, "Rebuild"),
          ),
        ),
        rest.join("").trim() !== "" && h("details", { class: "build-rest" }, h("summary", null, "The whole message"), h("p", { class: "prose" }, rest.join("\n").trim())),
        h(
          "p",
          { class: "muted build-facts" },
          h("span", null, build.tag ? `tag ${build.tag}` : build.branch, " @ ", h("span", { class: "mono" }, build.commit.slice(0, 10))),
          build.pull_request && h("span", null, `pull request ${build.pull_request.id}`),
          build.creator?.name && h("span", null, build.creator.name),
          h("span", null, SOURCES[build.source] ?? build.source),
          h("span", null, moment(build.created_at)),
          this.spent,
        ),
      );
      replace(this.tabs, TABS.map(([name, text]) => h("a", { href: buildPath(build, name), "aria-current": !this.parameters.job && name === this.tab ? "page" : null }, text)));
    }
    replace(this.spent, build.started_at ? `took ${duration(build.started_at, build.finished_at)}`.replace("took", build.finished_at ? "took" : "for") : "");
  }

  drawNotes() {
    const warnings = this.build.warnings ?? [];
    const told = JSON.stringify(warnings);
    if (told === this.toldNotes) return;
    this.toldNotes = told;
    replace(this.notes, warnings.length > 0 && h("details", { class: "notice" }, h("summary", null, `${warnings.length} ${warnings.length === 1 ? "thing" : "things"} of the pipeline had no effect`), h("ul", null, warnings.map((text) => h("li", null, text)))));
  }

  /** What ran, and would have been refused; on a job's page the job says so itself. */
  drawObserved() {
    const jobs = this.parameters.job ? [] : this.build.jobs.filter((job) => job.type === "script");
    const told = JSON.stringify(jobs.map((job) => [job.id, job.decision ?? null]));
    if (told === this.toldObserved) return;
    this.toldObserved = told;
    replace(this.observed, observedOfBuild(jobs, (job) => jobPath(this.build, job, "trust")));
  }

  /** Forms of the steps that wait for somebody, on top of the steps. */
  drawForms() {
    const blocked = latestJobs(this.build).filter((job) => job.type === "manual" && job.state === "blocked");
    const told = blocked.map((job) => job.id).join();
    if (told === this.toldForms) return;
    this.toldForms = told;
    const places = blocked.slice(0, 5).map((job) => {
      const place = h("div");
      drawForm(place, this.build, job);
      return place;
    });
    replace(this.forms, places);
  }

  async drawTab(build) {
    const { body, signal, findArtifact } = this;
    body.setAttribute("aria-busy", "true");
    try {
      if (this.tab === "annotations") await drawAnnotations(body, build, { signal, findArtifact });
      else if (this.tab === "artifacts") await drawArtifacts(body, build, { signal });
      else if (this.tab === "trust") {
        const { drawTrustTab } = await import("../trust/tab.js");
        await drawTrustTab(body, build, { signal });
      } else replace(body, h("p", { class: "empty" }, "There is no such tab."));
    } catch (error) {
      if (signal.aborted) return;
      const words = [401, 403, 404].includes(error.status) ? "This is not there, or you may not see it." : error.message;
      replace(body, h("p", { class: "notice bad" }, words));
    } finally {
      body.removeAttribute("aria-busy");
    }
  }

  /** The bar that says what was checked; drawn again when there is something new to check. */
  async drawTrust(before) {
    const { build, signal } = this;
    const known = (one) => JSON.stringify([one.state, one.jobs.map((job) => [job.id, Boolean(job.finished_at)])]);
    if (before && known(before) === known(build)) return;
    try {
      const { drawTrust } = await import("../trust/bar.js");
      if (!signal.aborted) await drawTrust(this.trust, build, { signal });
    } catch {
      if (!signal.aborted) replace(this.trust, h("p", { class: "muted" }, "Signatures could not be checked here; what stands below is what the server says."));
    }
  }

  // --- keys and following ------------------------------------------------------------------------------------------

  keys() {
    const failure = (by) => {
      const job = this.steps?.failure(by);
      if (job) go(jobPath(this.build, job));
      else announce("No job failed");
    };
    // On a job's page the log has these; beside it they are reached with the list.
    const hasLog = Boolean(this.parameters.job) && !this.parameters.jobTab;
    if (!hasLog) {
      onKey("f", "next job that failed", () => failure(1));
      onKey("F", "job before that failed", () => failure(-1));
      onKey("s", "find a step", () => this.steps?.find());
      onKey("/", "find a step", () => this.steps?.find());
      onKey("g", "open or close all groups", () => this.steps?.toggleAll());
    }
    onKey("j", "follow the build: always show the job that runs", () => this.toggleFollow());
    onKey("[", "attempt or job before", () => this.step(-1));
    onKey("]", "next attempt or job", () => this.step(1));
    onKey("v", "trust", () => go(buildPath(this.build, "trust")));
    onKey("e", "explain what went wrong", () => this.explain(this.build.jobs.find((one) => one.id === this.parameters.job)));
    onKey("r", "run the job again, after asking", () => {
      const job = this.build.jobs.find((one) => one.id === this.parameters.job);
      if (job && may("write_builds") && isRetryable(job) && stateOf(job) !== "refused") askRetry(this.build, job);
    });
    onKey("c", "cancel the build, after asking", () => {
      if (may("write_builds") && isOpen(this.build)) askCancel(this.build);
    });
  }

  /** Why a job, or else the build, did not pass. */
  explain(job) {
    if (job && stateOf(job) === "refused") {
      // Its page says all about it.
      if (this.parameters.jobTab) go(jobPath(this.build, job));
      else this.body.querySelector(".refused h2")?.scrollIntoView();
      return;
    }
    const jobs = job ? [job] : unexplained(this.build);
    const trust = this.trust.querySelector('.trust[data-trust="failed"], .trust[data-trust="missing"]') ? buildPath(this.build, "trust") : null;
    const isFine = job ? ["passed", "running"].includes(stateOf(job)) : jobs.length === 0;
    if (isFine && trust === null) announce("Nothing went wrong here");
    else explain(this.build, isFine ? [] : jobs, trust);
  }

  step(by) {
    const job = this.build.jobs.find((one) => one.id === this.parameters.job);
    if (!job) return;
    const attempts = attemptsOf(this.build, job);
    const attempt = attempts[attempts.findIndex((one) => one.id === job.id) + by];
    const jobs = latestJobs(this.build).filter((one) => one.type !== "waiter");
    const at = jobs.findIndex((one) => one.id === attempts[attempts.length - 1].id);
    const next = attempt ?? jobs[at + by];
    if (next) go(jobPath(this.build, next));
  }

  toggleFollow() {
    const query = new URLSearchParams(location.search);
    const isOn = query.has(FOLLOW);
    if (isOn) query.delete(FOLLOW);
    else query.set(FOLLOW, "1");
    history.replaceState(null, "", `${location.pathname}${query.size > 0 ? `?${query}` : ""}`);
    announce(isOn ? "Following ends" : "Following the build");
    this.goAlong();
  }

  /** While the build is followed: go to the job that runs, once the one that is shown has ended. */
  goAlong() {
    if (!new URLSearchParams(location.search).has(FOLLOW)) return;
    const shown = this.build.jobs.find((one) => one.id === this.parameters.job);
    if (shown && isBusy(shown)) return;
    const next = this.build.jobs.find(isBusy);
    if (next && next.id !== shown?.id) go(`${jobPath(this.build, next)}?${FOLLOW}=1`, { replaceState: true });
  }
}
