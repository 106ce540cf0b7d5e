// A refused job: what the agent compared, what differed, likely causes with harmless ones first, and what to try.
import { h, moment, replace } from "../dom.js";
import { call } from "../api.js";
import { speaker } from "./states.js";

const UNNAMED = { code: "job.refused", message: "The agent refused the job and gave no code; its log says why.", fields: [], evidence: {} };

/** Say in `element` why an agent refused a job, and what may help. */
export async function drawRefused(element, build, job) {
  const refusal = { ...UNNAMED, ...job.refusal };
  const known = await explain(refusal.code);
  const agent = job.agent?.name;
  element.classList.add("refused");
  replace(
    element,
    h("h2", null, agent ? `Refused by agent ${agent}; nothing was run` : "Refused by its agent; nothing was run"),
    h("p", { class: "refusal" }, h("code", null, refusal.code), " ", h("strong", null, known?.title ?? refusal.message)),
    known && known.title !== refusal.message && h("p", null, refusal.message),
    h("p", { class: "muted" }, speaker("server says"), " what the agent told it", job.finished_at && [", ", moment(job.finished_at)], ". The agent's own log says the same, where nobody but its operator can change it."),
    compared(refusal),
    known && h("p", null, prose(known.meaning)),
    known && [h("h3", null, "Likely causes, harmless ones first"), h("ol", null, known.causes.map((cause) => h("li", null, prose(cause))))],
    known && [h("h3", null, "What to do"), h("p", null, prose(known.fix))],
    h("p", null, h("code", null, `pipeseal explain ${refusal.code}`), " says the same, without this server."),
    h("p", { class: "hint" }, "The same job would be refused again. That changes with a new signed upload, or when whoever runs the agent changes its settings."),
  );
}

/** The texts of codes mark what people type with backticks. */
export function prose(words) {
  return words.split("`").map((part, at) => (at % 2 ? h("code", null, part) : part));
}

async function explain(code) {
  if (!/^[a-z_.]+$/.test(code)) return null;
  try {
    return await call("GET", `/web/codes/${code}.json`);
  } catch {
    // A newer agent's code, or no answer: what the agent said is shown all the same.
    return null;
  }
}

function compared({ fields, evidence }) {
  const rows = Object.entries(evidence ?? {});
  if (rows.length === 0 && !fields?.length) return null;
  return h(
    "section",
    null,
    h("h3", null, "What the agent compared"),
    fields?.length > 0 && h("p", null, "Differs: ", fields.map((name, at) => [at > 0 && ", ", h("code", null, name)])),
    rows.length > 0 && h("dl", { class: "facts" }, rows.map(([name, value]) => [h("dt", null, name), h("dd", null, value)])),
    rows.length > 0 && h("p", { class: "hint" }, "Values are shown by their digests: they tell values apart without showing them."),
  );
}
