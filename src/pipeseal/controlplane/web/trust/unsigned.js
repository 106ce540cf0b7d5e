// The dashboard's hint: which pipelines have steps that nobody signed, and what to do about each. Readers can put it away.
import { h, replace } from "../dom.js";
import { ask, may } from "../api.js";
import { speaker } from "./states.js";

const PUT_AWAY = "pipeseal.unsigned";
const FEW = 5;

/** Say in `element` which of `pipelines`, a page of the list, are not signed; nothing where all are, or nobody knows. */
export async function drawUnsigned(element, facts, pipelines, page, signal) {
  if (!may("read_builds")) return;
  let all;
  try {
    all = await ask(`/signing?per_page=50&page=${page}`, { signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    return; // a hint that cannot be given is in nobody's way
  }
  const built = all.filter((one) => one.steps > 0);
  const unsigned = built.filter((one) => one.signed_steps < one.steps);
  // Put away are these pipelines; another one brings the hint back.
  if (unsigned.every((one) => putAway().includes(one.pipeline))) return;
  const repository = (slug) => pipelines.find((one) => one.slug === slug)?.repository ?? "URL";
  const base = (slug) => `/${facts.organization}/${slug}`;
  replace(
    element,
    h(
      "section",
      { class: "notice unsigned", "aria-label": "Pipelines that are not signed" },
      h("p", null, h("strong", null, `${unsigned.length} of ${built.length} ${built.length === 1 ? "pipeline has" : "pipelines have"} steps that are not signed. `), speaker("server says")),
      h("p", null, "An agent that verifies refuses such steps, and one that does not runs whatever this server sends. Make keys and a signed upload step, where the uploading agent is:"),
      h(
        "ul",
        null,
        unsigned.slice(0, FEW).map((one) =>
          h(
            "li",
            null,
            h("a", { href: `${base(one.pipeline)}/settings/signing` }, one.name),
            one.signed_steps > 0 ? ` · ${one.steps - one.signed_steps} of ${one.steps} steps not signed` : " · no step signed",
            h("br"),
            h("code", null, ["pipeseal init --repository", quoted(repository(one.pipeline)), "--pipeline", one.pipeline, ...(facts.organization === "local" ? [] : ["--organization", facts.organization])].join(" ")),
          ),
        ),
      ),
      unsigned.length > FEW && h("p", { class: "hint" }, `And ${unsigned.length - FEW} more.`),
      h("button", { type: "button", onclick: () => (keep(unsigned.map((one) => one.pipeline)), replace(element)) }, "Put away"),
    ),
  );
}

// https://pubs.opengroup.org/onlinepubs/9799919799/utilities/V3_chap02.html#tag_19_02_02
function quoted(text) {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

function putAway() {
  try {
    const found = JSON.parse(localStorage.getItem(PUT_AWAY) ?? "[]");
    return Array.isArray(found) ? found : [];
  } catch {
    return [];
  }
}

function keep(slugs) {
  try {
    localStorage.setItem(PUT_AWAY, JSON.stringify(slugs));
  } catch {
    // A browser that keeps nothing shows the hint again.
  }
}
