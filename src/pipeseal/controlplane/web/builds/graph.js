// Which step needs which: columns of boxes and lines between them. Beside it stands the same as a table.
import { h, replace, s } from "../dom.js";
import { state } from "../marks.js";
import { commonName, jobPath, latestJobs, stepName, together } from "./names.js";
import { count } from "./steps.js";

const WIDTH = 190;
const HEIGHT = 44;
const GAP_X = 60;
const GAP_Y = 14;
const MOST = 400;

/** The graph; `update(build)` brings it up to date. */
export function graph() {
  const element = h("div");
  return { element, update: (build) => replace(element, ...draw(build)) };
}

/** Steps with what each needs: what it names, or else the `wait` before it and thereby all before that. */
export function stepsOf(build) {
  const steps = new Map();
  for (const job of latestJobs(build)) {
    const known = steps.get(job.step.id);
    if (known) known.jobs.push(job);
    else steps.set(job.step.id, { id: job.step.id, key: job.step_key, group: job.group_key, name: stepName(job), type: job.step.type ?? job.type, depends: job.depends_on, jobs: [job], needs: [] });
  }
  const ordered = [...steps.values()];
  // A `wait` or block step stops what comes behind it in its group, or outside of groups.
  const outer = { gate: null, since: [] };
  const scopes = new Map();
  for (const step of ordered) {
    if (step.group && !scopes.has(step.group)) scopes.set(step.group, { gate: outer.gate, since: [] });
    const own = scopes.get(step.group) ?? outer;
    const isBarrier = step.type === "wait" || step.type === "block";
    const named = step.depends ?? null;
    if (named !== null) step.needs = ordered.filter((other) => other !== step && (named.includes(other.key) || named.includes(other.group)));
    else if (step.type === "input") step.needs = [];
    else if (isBarrier && own.since.length > 0) step.needs = own.since;
    else step.needs = own.gate ? [own.gate] : [];
    if (isBarrier) {
      own.gate = step;
      own.since = [];
    } else own.since.push(step);
    if (own !== outer) outer.since.push(step);
  }
  return ordered;
}

function draw(build) {
  const steps = stepsOf(build);
  if (steps.length === 0) return [h("p", { class: "empty" }, "No steps yet.")];
  const table = h(
    "details",
    { open: steps.length > MOST },
    h("summary", null, "The same as a table"),
    h(
      "div",
      { class: "scroll", tabindex: "0", role: "group", "aria-label": "Table of steps" },
      h(
        "table",
        null,
        h("thead", null, h("tr", null, ["Step", "State", "Needs"].map((text) => h("th", { scope: "col" }, text)))),
        h("tbody", null, steps.slice(0, 2000).map((step) => h("tr", null, h("td", null, step.name), h("td", null, state(together(step.jobs))), h("td", null, step.needs.map((need) => need.name).join(", "))))),
      ),
    ),
  );
  if (steps.length > MOST) return [h("p", { class: "notice" }, `A picture of ${count(steps.length, "step")} would show nothing; here is the table.`), table];
  return [picture(build, steps), table];
}

function picture(build, steps) {
  const rank = new Map();
  const rankOf = (step, path = new Set()) => {
    if (rank.has(step)) return rank.get(step);
    if (path.has(step)) return 0;
    path.add(step);
    const found = step.needs.reduce((most, need) => Math.max(most, rankOf(need, path) + 1), 0);
    rank.set(step, found);
    return found;
  };
  const columns = [];
  for (const step of steps) (columns[rankOf(step)] ??= []).push(step);
  const places = new Map();
  const tallest = Math.max(...columns.map((column) => column.length));
  columns.forEach((column, x) => {
    const top = ((tallest - column.length) * (HEIGHT + GAP_Y)) / 2;
    column.forEach((step, y) => places.set(step, [x * (WIDTH + GAP_X) + 4, top + y * (HEIGHT + GAP_Y) + 4]));
  });
  const width = columns.length * (WIDTH + GAP_X) - GAP_X + 8;
  const height = tallest * (HEIGHT + GAP_Y) - GAP_Y + 8;
  const drawing = s("svg", { viewBox: `0 0 ${width} ${height}`, width, height, class: "graph", role: "group", "aria-label": "Which step needs which" });
  for (const step of steps)
    for (const need of step.needs) {
      const [x, y] = places.get(step);
      const [fromX, fromY] = places.get(need);
      const start = [fromX + WIDTH, fromY + HEIGHT / 2];
      const middle = (start[0] + x) / 2;
      drawing.append(s("path", { class: "edge", d: `M${start[0]} ${start[1]}C${middle} ${start[1]} ${middle} ${y + HEIGHT / 2} ${x} ${y + HEIGHT / 2}` }));
    }
  for (const step of steps) drawing.append(box(build, step, places.get(step)));
  return h("div", { class: "graph-frame", tabindex: "0", role: "region", "aria-label": "Graph of steps" }, drawing);
}

function box(build, step, [x, y]) {
  const mark = state(together(step.jobs));
  const kind = mark.dataset.kind;
  const name = step.jobs.length > 1 ? `${commonName(step.jobs)} (${step.jobs.length})` : step.name;
  const words = mark.textContent;
  const icon = mark.querySelector("svg").cloneNode(true);
  for (const [member, value] of [["x", x + 10], ["y", y + 23], ["width", 14], ["height", 14]]) icon.setAttribute(member, value);
  const inner = [
    s("title", null, `${name}: ${words}`),
    s("rect", { x, y, width: WIDTH, height: HEIGHT, rx: 7, class: `node ${kind}` }),
    s("text", { x: x + 10, y: y + 17, class: "node-name" }, name.length > 26 ? `${name.slice(0, 25)}…` : name),
    s("text", { x: x + 29, y: y + 34, class: "node-state" }, words),
    icon,
  ];
  const group = s("g", { class: "node-group", "data-kind": kind }, inner);
  return step.type === "wait" ? group : s("a", { href: jobPath(build, step.jobs[0]) }, group);
}
