// One job: its log, files, variables, times and trust.
import { duration, h, moment, replace } from "../dom.js";
import { ask, may } from "../api.js";
import { state, stateOf, wordOf } from "../marks.js";
import { drawLog } from "../log/view.js";
import { askRetry, isRetryable } from "./actions.js";
import { drawArtifacts } from "./artifacts.js";
import { explain, reasonOf } from "./explain.js";
import { drawForm } from "./form.js";
import { attemptsOf, buildPath, isBad, jobName, jobPath } from "./names.js";
import { observedLine } from "../trust/told.js";

const TABS = [
  ["", "Log"],
  ["artifacts", "Artifacts"],
  ["environment", "Environment"],
  ["timeline", "Timeline"],
  ["trust", "Trust"],
];
const SPEAKERS = {
  pipeline: "pipeline env, as uploaded",
  step: "step env, as uploaded",
  checkout: "the step's checkout settings",
  build: "whoever made the build",
  agent: "the agent's tags",
  server: "server",
};

/** What is told in the place of a log that somebody deleted. */
function deletedLog(job) {
  const by = job.log_deleted_by ? ` by ${job.log_deleted_by}` : "";
  return h("p", { class: "empty" }, `This log was deleted${by}, `, moment(job.log_deleted_at), ".");
}

export class JobPanel {
  /**
   * @param options `signal`; `tab`: what is shown; `findArtifact`.
   */
  constructor(build, job, { signal, tab, findArtifact }) {
    this.id = job.id;
    this.tab = tab ?? "";
    this.signal = signal;
    this.findArtifact = findArtifact;
    this.head = h("div", { class: "job-head" });
    this.body = h("div", { class: "job-body", tabindex: "-1" });
    this.element = h("section", { class: "build-job", "aria-label": "Job" }, this.head, this.body);
    this.shown = "";
  }

  /** Bring it up to date. */
  update(build) {
    const job = build.jobs.find((one) => one.id === this.id);
    const attempts = attemptsOf(build, job);
    const told = JSON.stringify([job, attempts.map((one) => [one.id, stateOf(one)])]);
    if (told === this.told) return;
    this.told = told;
    replace(this.head, ...this.drawHead(build, job, attempts));
    this.drawBody(build, job);
  }

  drawHead(build, job, attempts) {
    const at = attempts.findIndex((one) => one.id === job.id);
    return [
      h(
        "div",
        { class: "row spread" },
        h("h2", { class: "job-name" }, jobName(job)),
        h(
          "div",
          { class: "row" },
          isBad(job) && stateOf(job) !== "refused" && h("button", { type: "button", "aria-keyshortcuts": "e", onclick: () => explain(build, [job]) }, "Why?"),
          may("write_builds") && isRetryable(job) && stateOf(job) !== "refused" && h("button", { type: "button", "aria-keyshortcuts": "r", onclick: () => askRetry(build, job) }, "Run again"),
        ),
      ),
      h(
        "div",
        { class: "row job-facts" },
        state(stateOf(job)),
        job.started_at && h("span", null, duration(job.started_at, job.finished_at)),
        job.exit_status !== null && job.exit_status !== undefined && h("span", null, `exit status ${job.exit_status}`),
        job.signal && h("span", null, `signal ${job.signal}`),
        job.soft_failed && h("span", null, "may fail"),
        job.agent?.name && h("span", { class: "muted" }, `agent ${job.agent.name}`),
        attempts.length > 1 &&
          h(
            "nav",
            { class: "row attempts", "aria-label": "Attempts" },
            attempts.map((one, number) => h("a", { href: jobPath(build, one, this.tab), class: "button", "aria-current": number === at ? "page" : null }, `Attempt ${number + 1}: ${wordOf(stateOf(one))}`)),
          ),
      ),
      observedLine(job, this.tab === "trust" ? null : jobPath(build, job, "trust")),
      job.type === "script" &&
        h(
          "nav",
          { class: "tabs", "aria-label": "Job" },
          TABS.map(([name, text]) => h("a", { href: jobPath(build, job, name), "aria-current": name === this.tab ? "page" : null }, text)),
        ),
    ];
  }

  drawBody(build, job) {
    if (job.type === "manual") return this.once(`manual ${job.state}`, () => this.drawManual(build, job));
    if (job.type === "trigger") return this.once(`trigger ${job.state} ${job.triggered_build?.id}`, () => this.drawTrigger(build, job));
    if (job.type !== "script") return this.once("waiter", () => replace(this.body, h("p", { class: "empty" }, "Steps behind this one wait for those before it.")));
    // A log that is on the page goes on by itself; the rest is drawn again when the job has changed.
    if (this.tab === "") {
      if (stateOf(job) === "refused") return this.once(`refused ${job.state} ${job.log_deleted_at}`, () => this.drawRefused(build, job));
      if (job.log_deleted_at) return this.once("deleted", () => replace(this.body, deletedLog(job)));
      if (!job.started_at && !job.log_bytes) return this.once(`waiting ${job.state}`, () => replace(this.body, h("p", { class: "empty" }, reasonOf(build, job) ?? "There is no log yet.")));
      return this.once("log", () => this.drawLogInto(this.body, job));
    }
    if (this.tab === "artifacts") return this.once(`artifacts ${job.state}`, () => drawArtifacts(this.body, build, { signal: this.signal, job }));
    if (this.tab === "environment") return this.once(`environment ${job.agent?.name}`, () => this.drawEnvironment(build, job));
    if (this.tab === "timeline") return this.once(`timeline ${job.state}`, () => this.drawTimeline(build, job));
    if (this.tab === "trust") return this.once(`trust ${job.state}`, () => this.drawTrust(build, job));
    return this.once("nothing", () => replace(this.body, h("p", { class: "empty" }, "There is no such tab.")));
  }

  /** Draw, unless this very thing is drawn already. */
  async once(what, draw) {
    if (this.shown === what) return;
    this.shown = what;
    this.body.setAttribute("aria-busy", "true");
    try {
      await draw();
    } catch (error) {
      if (this.signal.aborted) return;
      const words = [401, 403, 404].includes(error.status) ? "This is not there, or you may not see it." : error.message;
      replace(this.body, h("p", { class: "notice bad" }, words));
    } finally {
      this.body.removeAttribute("aria-busy");
    }
  }

  drawLogInto(element, job) {
    const parts = [];
    if (job.log_missing_bytes > 0) parts.push(h("p", { class: "notice bad" }, `${job.log_missing_bytes.toLocaleString("en")} bytes of this log never reached the server; each gap says so where it is.`));
    const place = h("div");
    const notes = h("div");
    replace(element, parts, notes, place);
    drawLog(place, job, { signal: this.signal, findArtifact: this.findArtifact });
  }

  async drawRefused(build, job) {
    const place = h("div");
    const log = h("div");
    replace(this.body, place, log);
    try {
      const { drawRefused } = await import("../trust/refused.js");
      await drawRefused(place, build, job, { signal: this.signal });
    } catch (error) {
      if (this.signal.aborted) return;
      replace(place, h("p", { class: "notice bad" }, "An agent refused this job; nothing was run. ", job.refusal?.message ?? "", job.refusal && ` (${job.refusal.code}: pipeseal explain ${job.refusal.code})`));
    }
    if (job.log_deleted_at) replace(log, deletedLog(job));
    if (job.log_bytes > 0) this.drawLogInto(log, job);
  }

  async drawTrust(build, job) {
    const { drawJobTrust } = await import("../trust/job.js");
    await drawJobTrust(this.body, build, job, { signal: this.signal });
  }

  drawManual(build, job) {
    if (job.state === "blocked") return drawForm(this.body, build, job);
    const by = job.unblocked_by?.name ?? job.unblocked_by?.email;
    replace(this.body, h("p", { class: "empty" }, job.state === "passed" ? `Unblocked${by ? ` by ${by}, the server says` : ""}.` : (reasonOf(build, job) ?? "")));
    return undefined;
  }

  drawTrigger(build, job) {
    const made = job.triggered_build;
    replace(this.body, h("p", { class: "empty" }, made ? ["It started ", h("a", { href: new URL(made.web_url).pathname }, `build #${made.number}`), "."] : (reasonOf(build, job) ?? "It has not started its build yet.")));
  }

  async drawEnvironment(build, job) {
    const path = `/pipelines/${encodeURIComponent(build.pipeline.slug)}/builds/${build.number}/jobs/${job.id}/env`;
    const { env, set_by: speakers } = await ask(path, { signal: this.signal });
    const names = Object.keys(env);
    if (names.length === 0) {
      replace(this.body, h("p", { class: "empty" }, "No variables."));
      return;
    }
    replace(
      this.body,
      h("p", { class: "muted" }, "What the server sends the job. Agents add their own, and pass on only what their policy lets a server set."),
      h(
        "div",
        { class: "scroll", tabindex: "0", role: "group", "aria-label": "Variables" },
        h(
          "table",
          { class: "environment" },
          h("caption", { class: "visually-hidden" }, "Variables"),
          h("thead", null, h("tr", null, ["Name", "Value", "Set by"].map((text) => h("th", { scope: "col" }, text)))),
          h("tbody", null, names.map((name) => h("tr", null, h("th", { scope: "row", class: "mono" }, name), h("td", { class: "mono value" }, env[name]), h("td", null, SPEAKERS[speakers[name]] ?? speakers[name] ?? "")))),
        ),
      ),
    );
  }

  drawTimeline(build, job) {
    const moments = [
      ["Made", job.created_at, ""],
      ["Ready to run", job.runnable_at, "what it depends on had ended"],
      ["Started", job.started_at, job.agent?.name ? `by agent ${job.agent.name}` : ""],
      ["Ended", job.finished_at, wordOf(stateOf(job))],
    ].filter(([, time]) => time);
    replace(
      this.body,
      h("p", { class: "muted" }, "The server says so; agents tell it when a job starts and ends."),
      h(
        "table",
        null,
        h("caption", { class: "visually-hidden" }, "Timeline"),
        h("thead", null, h("tr", null, ["What", "When", "After", ""].map((text) => h("th", { scope: "col" }, text || h("span", { class: "visually-hidden" }, "More"))))),
        h("tbody", null, moments.map(([what, time, more], at) => h("tr", null, h("td", null, what), h("td", null, h("time", { datetime: time }, new Date(time).toLocaleString())), h("td", null, at > 0 ? duration(moments[at - 1][1], time) : ""), h("td", null, more)))),
      ),
      job.retried && h("p", null, "It was run again: ", h("a", { href: `${buildPath(build)}/jobs/${job.retried_in_job_id}` }, "the next attempt"), "."),
    );
  }
}
