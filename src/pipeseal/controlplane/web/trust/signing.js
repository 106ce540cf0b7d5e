// How signing stands in a pipeline: modes of the agents, what would have been refused, and when the next stage may begin.
import { announce, h, moment, replace } from "../dom.js";
import { ask, session } from "../api.js";
import { prose } from "./refused.js";
import { speaker } from "./states.js";

const PERIODS = [7, 30];
const FEW = 10;
const STAGES = {
  enforce: "refuse what is not proved, or what a rule does not agree with",
  warn: "run everything; the log of a job opens with what would have refused it",
  observe: "run everything, and report it to their operator and here",
  off: "have no verification keys: run whatever this server sends",
  unknown: "told something that this server does not know",
  untold: "told nothing: other programs or older ones, or agents that keep their decisions",
};
const OUTCOMES = [
  ["sealed", "proved by a seal"],
  ["signed", "proved by a signature alone"],
  ["unproven", "proved by nothing, and run"],
  ["refused", "refused"],
  ["untold", "of agents that told nothing"],
];

/** The section "Signing" of a pipeline's settings. */
export async function drawSigning(pipeline, signal, query) {
  const facts = await session();
  const days = PERIODS.find((one) => String(one) === query?.get("days")) ?? 30;
  const report = await ask(`/pipelines/${encodeURIComponent(pipeline.slug)}/signing?days=${days}`, { signal });
  const base = `/${facts.organization}/${pipeline.slug}`;
  return [
    h("p", { class: "notice" }, h("strong", null, "Agents decide. "), "Whether a step that is not signed runs is written in each agent's own policy, where this server cannot change it. This page reports, and asks; it enforces nothing."),
    h(
      "nav",
      { class: "row views", "aria-label": "How far back" },
      PERIODS.map((one) => h("a", { class: "button", href: `${base}/settings/signing?days=${one}`, "aria-current": one === days ? "page" : null }, `Last ${one} days`)),
    ),
    h("section", null, h("h2", null, "Agents by mode ", told()), modes(report)),
    h("section", null, h("h2", null, "The next stage"), proposal(report, pipeline, facts)),
    h("section", null, h("h2", null, `Would have been refused in the last ${report.days} days `, told()), observed(report, base)),
    h("section", null, h("h2", null, `Refused in the last ${report.days} days `, told()), refused(report, base)),
    h("section", null, h("h2", null, "Jobs by what proved them ", told()), outcomes(report)),
    h("section", null, h("h2", null, "Steps of the newest builds ", speaker("server says")), carried(report, facts)),
  ];
}

function told() {
  return [speaker("server says"), h("span", { class: "hint" }, " as agents told it")];
}

/** A table; one with much to say is laid out as a list on narrow pages. */
function table(names, rows, caption, { stacked = false } = {}) {
  return h(
    "div",
    { class: "scroll", tabindex: "0", role: "group", "aria-label": caption },
    h(
      "table",
      { class: stacked ? "stacked" : null },
      h("caption", { class: "visually-hidden" }, caption),
      h("thead", null, h("tr", null, names.map((text) => h("th", { scope: "col" }, text)))),
      h("tbody", null, rows.map((cells) => h("tr", null, cells.map((cell, at) => h("td", { class: at === 0 ? "number" : null, dataset: { name: names[at] } }, cell))))),
    ),
  );
}

function count(number, word) {
  return `${number} ${word}${number === 1 ? "" : "s"}`;
}

function modes(report) {
  const rows = Object.keys(STAGES).filter((mode) => report.modes[mode] > 0).map((mode) => [String(report.modes[mode]), mode === "untold" ? "not told" : mode, STAGES[mode]]);
  if (rows.length === 0) return h("p", { class: "muted" }, "No agent has ended a job of this pipeline.");
  return [
    rows.length > 1 && h("p", null, "Mixed: ", rows.map(([number, mode], at) => [at > 0 && ", ", h("strong", null, `${number} ${mode}`)]), ". A job that one agent refuses, another may run."),
    table(["Agents", "Mode", "They"], rows, "Agents by mode"),
    agents(report),
  ];
}

function agents({ agents: all, modes: counted }) {
  const number = Object.values(counted).reduce((sum, one) => sum + one, 0);
  const line = (agent) =>
    h(
      "li",
      null,
      h("strong", null, agent.name),
      ` ${agent.mode ?? "told nothing"} · ${count(agent.jobs, "job")}, the last `,
      moment(agent.last_at),
      agent.mode === "off" && h("span", { class: "problem" }, " · no verification keys: runs unsigned jobs"),
    );
  return h(
    "details",
    { open: number <= FEW },
    h("summary", null, `${count(number, "agent")}, each as its latest job shows it`),
    h("ul", null, all.map(line)),
    all.length < number && h("p", { class: "hint" }, `And ${number - all.length} more.`),
  );
}

function proposal(report, pipeline, facts) {
  const { stage, since, next, on, in_the_way: inTheWay } = report.proposal;
  const held = stage && since && [h("strong", null, stage), " since ", day(since), ". "];
  const blocked =
    inTheWay.length > 0 &&
    h("p", { class: "notice bad" }, `${next === "enforce" ? "First" : "Mind"}: `, inTheWay.slice(0, FEW).map((name, at) => [at > 0 && ", ", h("strong", null, name)]), inTheWay.length > FEW && ` and ${inTheWay.length - FEW} more`, inTheWay.length === 1 ? " takes jobs of this pipeline and verifies nothing, or does not say. " : " take jobs of this pipeline and verify nothing, or do not say. ", "Give them verification keys and a policy, or queues of their own: they run what others refuse.");
  if (!stage) return [h("p", null, "No agent has told what its policy makes of this pipeline's jobs, so there is nothing to propose. Agents of Pipeseal do, from their next job on."), blocked];
  if (!next) return [h("p", null, "The agents that verify ", held, "That is the last stage."), blocked];
  const isNow = on && new Date(on) <= new Date();
  return [
    h("p", null, "The agents that verify stand at ", held, on ? ["Proposed: ", h("strong", null, next), isNow ? ", from today on" : [" from ", day(on), " on"], ". "] : ["Next: ", h("strong", null, next), ". "], why(report, next)),
    blocked,
    next === "observe" ? keys() : steps(next, pipeline, facts),
  ];
}

function why(report, next) {
  if (next === "warn") return "A week of observing shows what comes up; warnings then show it to everybody who looks at a job.";
  if (next === "enforce") return report.would_be_refused.length > 0 ? "Enforcing begins after a week in which nothing would have been refused." : "Nothing would have been refused.";
  return "";
}

function keys() {
  return h("p", null, "An agent without keys cannot tell a signed step from any other. ", h("code", null, "pipeseal init"), " makes keys and a policy; begin with ", h("code", null, 'mode = "observe"'), ".");
}

/** Where the mode is set, and the text. Whoever copies it reads it first: it comes from a server that agents do not believe. */
function steps(next, pipeline, facts) {
  const everything = `mode = ${text(next)}`;
  const section = `[[allow]]\nrepository = ${text(pipeline.repository)}\norganization = ${text(facts.organization)}\npipeline = ${text(pipeline.slug)}\nmode = ${text(next)}`;
  return [
    h("p", null, "This page cannot set it. Whoever operates the agents does, in the file that ", h("code", null, "policy-file"), " names on each of them; running agents take the change with their next job. Read what you copy: it comes from this server."),
    h("h3", null, "For all jobs of an agent, at the top of policy.toml"),
    copyable(everything),
    h("h3", null, "For this pipeline alone"),
    copyable(section),
    h("p", { class: "hint" }, "A section holds for jobs that are proved: an unsigned job could claim to be of any pipeline, so the mode at the top decides about those. Where there are sections, a job that none of them is for is refused. ", h("code", null, "pipeseal policy check policy.toml"), " says what a file means."),
  ];
}

// A basic string of TOML has the escapes of JSON.
function text(value) {
  return JSON.stringify(value);
}

function copyable(words) {
  const button = h("button", {
    type: "button",
    onclick: async () => {
      try {
        await navigator.clipboard.writeText(words);
        replace(button, "Copied");
        announce("Copied");
      } catch {
        // Without HTTPS there is no clipboard of that kind, or the reader did not allow it.
        getSelection().selectAllChildren(code);
        announce("Selected; copy it from there");
      }
    },
  }, "Copy");
  const code = h("pre", { tabindex: "0", class: "wrapped" }, words);
  return h("div", { class: "row copyable" }, h("div", { class: "grow" }, code), button);
}

function day(time) {
  return h("time", { datetime: time }, time.slice(0, 10));
}

function observed({ would_be_refused: groups, outcomes: counted, days }, base) {
  if (groups.length === 0) return h("p", { class: "muted" }, counted.sealed + counted.signed + counted.unproven === 0 ? "No agent told of a job that ran." : `Nothing in ${days} days: for these jobs, enforcing changes nothing.`);
  return [
    h("p", null, `${count(counted.would_be_refused, "job")} ran that an enforcing policy refuses.`),
    table(
      ["Jobs", "Code", "Step", "The newest", "What to do"],
      groups.map((one) => [
        String(one.jobs),
        h("code", null, one.code),
        [one.step, one.fields.length > 0 && h("div", { class: "muted" }, one.fields.join(", "))],
        [newest(one.newest, base)],
        [one.fix && h("div", null, prose(one.fix)), h("code", null, `pipeseal explain ${one.code}`)],
      ]),
      "Jobs that would have been refused, by code and step",
      { stacked: true },
    ),
  ];
}

function newest(job, base) {
  return [h("a", { href: `${base}/builds/${job.number}/jobs/${job.id}/trust` }, `#${job.number} ${job.label || "a step"}`), ", ", moment(job.finished_at)];
}

function refused(report, base) {
  if (report.refused.length === 0) return h("p", { class: "muted" }, `None of ${report.jobs} jobs that agents ended.`);
  const byCode = Map.groupBy(report.refused, (job) => job.code || "no code");
  const rows = [...byCode].sort(([, one], [, other]) => other.length - one.length);
  return [
    h("p", null, `${report.refused.length} of ${report.jobs} jobs that agents ended.`),
    table(
      ["Jobs", "Code", "The newest", "What to do"],
      rows.map(([code, jobs]) => [
        String(jobs.length),
        h("code", null, code),
        [h("a", { href: `${base}/builds/${jobs[0].number}/jobs/${jobs[0].id}` }, jobs[0].label || "a step"), ` in #${jobs[0].number}, `, moment(jobs[0].finished_at), h("br"), h("span", { class: "muted" }, jobs[0].message)],
        h("code", null, `pipeseal explain ${code}`),
      ]),
      "Refused jobs by code",
      { stacked: true },
    ),
  ];
}

function outcomes({ outcomes: counted, jobs }) {
  if (jobs === 0) return h("p", { class: "muted" }, "No jobs yet.");
  const share = (number) => `${Math.round((number / jobs) * 100)} %`;
  return table(
    ["Jobs", "Share", "Which"],
    OUTCOMES.filter(([name]) => counted[name] > 0).map(([name, words]) => [String(counted[name]), share(counted[name]), words]),
    "Jobs by what proved them",
  );
}

function carried(report, facts) {
  const total = report.sealed_steps + report.signed_steps + report.unsigned_steps;
  if (total === 0) return h("p", { class: "muted" }, "No builds yet.");
  const rows = [
    [report.sealed_steps, "a signature and a seal", "runs them, if the key is trusted and the policy lets it"],
    [report.signed_steps, "a signature alone", "runs them only where the policy says that a signature is proof enough"],
    [report.unsigned_steps, "no signature", "refuses them: signature.missing"],
  ].filter(([number]) => number > 0);
  return [
    table(["Steps", "Carry", "Under enforce an agent"], rows.map(([number, ...rest]) => [String(number), ...rest]), "Steps of the newest builds"),
    report.keys.length > 0 && h("p", null, "Signatures name ", report.keys.map((kid, at) => [at > 0 && ", ", h("strong", null, kid)]), ". ", h("a", { href: `/${facts.organization}/keys` }, "Keys")),
  ];
}
