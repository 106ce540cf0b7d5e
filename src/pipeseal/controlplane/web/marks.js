// How a thing stands, by shape, word and fill together: never by colour alone.
import { h, s } from "./dom.js";

const PATHS = {
  tick: ["M4.5 8.4l2.4 2.4 4.6-5.2"],
  cross: ["M5.2 5.2l5.6 5.6", "M10.8 5.2l-5.6 5.6"],
  arc: ["M8 4v4l2.6 1.6"],
  dash: ["M4.8 8h6.4"],
  pause: ["M6.3 5.4v5.2", "M9.7 5.4v5.2"],
  bar: ["M4.2 11.8l7.6-7.6"],
};

function mark(shape, { round = true, dashed = false } = {}) {
  const outline = round
    ? s("circle", { cx: 8, cy: 8, r: 6.6 })
    : s("path", { d: "M5.2 1.6h5.6l3.6 3.6v5.6l-3.6 3.6H5.2l-3.6-3.6V5.2z" });
  if (dashed) outline.setAttribute("stroke-dasharray", "2.4 2.2");
  const lines = (PATHS[shape] ?? []).map((d) => s("path", { d }));
  const drawn = s("svg", { viewBox: "0 0 16 16", "aria-hidden": "true", focusable: "false" }, outline, lines);
  for (const line of drawn.children) {
    line.setAttribute("fill", "none");
    line.setAttribute("stroke", "currentColor");
    line.setAttribute("stroke-width", "1.6");
    line.setAttribute("stroke-linecap", "round");
    line.setAttribute("stroke-linejoin", "round");
  }
  return drawn;
}

// State of the server to word, kind (colour), and shape.
const STATES = {
  passed: ["passed", "good", "tick"],
  failed: ["failed", "bad", "cross"],
  failing: ["failing", "bad", "cross"],
  refused: ["refused", "bad", "bar"],
  running: ["running", "busy", "arc"],
  assigned: ["starting", "busy", "arc"],
  accepted: ["starting", "busy", "arc"],
  reserved: ["starting", "busy", "arc"],
  scheduled: ["waiting for an agent", "quiet", "arc"],
  limiting: ["waiting for its turn", "quiet", "arc"],
  limited: ["waiting for its turn", "quiet", "arc"],
  waiting: ["waiting", "quiet", "arc"],
  blocked: ["waiting for you", "unsure", "pause"],
  unblocked: ["unblocked", "good", "tick"],
  canceling: ["cancelling", "quiet", "dash"],
  canceled: ["cancelled", "quiet", "dash"],
  timing_out: ["timing out", "bad", "cross"],
  timed_out: ["timed out", "bad", "cross"],
  skipped: ["skipped", "quiet", "dash"],
  broken: ["left out", "quiet", "dash"],
  waiting_failed: ["not run", "quiet", "dash"],
  blocked_failed: ["not run", "quiet", "dash"],
  unblocked_failed: ["not run", "quiet", "dash"],
  expired: ["expired", "quiet", "dash"],
  not_run: ["not run", "quiet", "dash"],
  creating: ["starting", "quiet", "arc"],
};

/** The state of a job as people call it: a job that an agent refused is not one that failed. */
export function stateOf(job) {
  if (job.refusal || job.signal_reason === "agent_refused" || job.signal_reason === "signature_rejected") return "refused";
  return job.state;
}

// A state that is newer than this page: its own name, and nothing about good or bad.
const standing = (name) => STATES[name] ?? [name.replaceAll("_", " "), "unsure", "dash"];

/** The word of a state. */
export function wordOf(name) {
  return standing(name)[0];
}

/** Mark and word of a state. */
export function state(name, more = "") {
  const [word, kind, shape] = standing(name);
  const filled = name === "refused";
  const drawn = mark(shape, { round: kind !== "bad", dashed: kind === "quiet" });
  return h("span", { class: filled ? "state filled" : "state", dataset: { kind } }, drawn, word, more && ` ${more}`);
}
