// A pipeline's settings. General: name, repository, default branch, who can see it. Steps: what builds begin with.
// Signing: how it stands, and how to go on.
import { announce, h, replace } from "../dom.js";
import { ask, change, session } from "../api.js";
import { field, form, textarea } from "../forms.js";
import { go } from "../main.js";
import { badges } from "./badges.js";
import { drawSigning } from "../trust/signing.js";

const SECTIONS = [
  ["general", "General"],
  ["steps", "Steps"],
  ["signing", "Signing"],
];

export async function show(main, { parameters, query, signal }) {
  const facts = await session();
  const { slug } = parameters;
  const section = parameters.section ?? "general";
  const pipeline = await ask(`/pipelines/${slug}`, { signal });
  const base = `/${facts.organization}/${slug}`;
  document.title = `Settings of ${pipeline.name} · Pipeseal`;
  const body = section === "steps" ? steps(pipeline) : section === "signing" ? await drawSigning(pipeline, signal, query) : await general(pipeline, signal);
  replace(
    main,
    h("ol", { class: "crumbs" }, h("li", null, h("a", { href: base }, pipeline.name)), h("li", null, "Settings")),
    h("h1", null, "Settings"),
    h(
      "nav",
      { class: "tabs", "aria-label": "Settings" },
      SECTIONS.map(([name, text]) =>
        h("a", { href: `${base}/settings${name === "general" ? "" : `/${name}`}`, "aria-current": section === name ? "page" : null }, text),
      ),
    ),
    body,
  );
}

async function general(pipeline, signal) {
  const organization = await ask("", { signal });
  const name = field("Name", { name: "name", value: pipeline.name, required: true });
  const description = field("Description", { name: "description", value: pipeline.description ?? "" });
  const repository = field("Repository", { name: "repository", value: pipeline.repository, required: true }, "Signatures are bound to it: agents refuse steps that were signed for another one.");
  const branch = field("Default branch", { name: "default_branch", value: pipeline.default_branch, required: true });
  return [
    h("section", null, h("h2", null, "Pipeline"),
      form("Save", [name, description, repository, branch], async () => {
        const body = { name: name.value, description: description.value, repository: repository.value, default_branch: branch.value };
        await change("PATCH", `/pipelines/${pipeline.slug}`, body);
        return "Saved";
      })),
    visibility(pipeline, organization),
    badges(pipeline),
  ];
}

function visibility(pipeline, organization) {
  const radio = (value, text, hint) => {
    const id = `visibility-${value}`;
    return h(
      "label",
      { class: "choice", for: id },
      h("input", { type: "radio", name: "visibility", id, value, checked: pipeline.visibility === value, disabled: value === "public" && !organization.public_pipelines }),
      h("span", null, h("strong", null, text), h("span", { class: "hint" }, ` ${hint}`)),
    );
  };
  const past = h("input", { type: "checkbox", id: "past" });
  const group = h(
    "fieldset",
    null,
    h("legend", null, "Who can see this pipeline"),
    radio("private", "Private.", "People who sign in."),
    radio("public", "Public.", "Anyone, without signing in, read only: build pages, logs, artifacts, environment configuration from the pipeline, and agent name and version. Nothing else."),
    h("label", { class: "choice", for: "past" }, past, h("span", null, "Also the builds that are there already. Otherwise strangers see builds made from now on.")),
  );
  const about = !organization.public_pipelines
    ? h("p", { class: "notice" }, "Your organisation does not allow public pipelines. An owner can allow them in the organisation's settings.")
    : pipeline.visibility === "public" &&
      h("p", { class: "notice" }, "This pipeline is public. ", h("a", { href: `/${organization.slug}/${pipeline.slug}?as=anonymous`, target: "_self" }, "See it as a stranger does"), ".");
  return h(
    "section",
    null,
    h("h2", null, "Visibility"),
    about,
    form("Save visibility", [group], async () => {
      const chosen = group.querySelector("input[name=visibility]:checked").value;
      await change("PATCH", `/pipelines/${pipeline.slug}`, { visibility: chosen, public_since: past.checked ? "all" : "now" });
      announce(chosen === "public" ? "This pipeline is public now" : "This pipeline is private now");
      await go(location.pathname, { replaceState: true });
    }),
  );
}

function steps(pipeline) {
  const text = textarea("Steps", { name: "configuration", rows: 18, spellcheck: "false", class: "mono wide" }, pipeline.configuration, "YAML. What stands here is not trusted by agents: only what is signed runs. Sign it with: pipeseal tool sign");
  return form("Save steps", [text], async () => {
    await change("PATCH", `/pipelines/${pipeline.slug}`, { configuration: text.value });
    return "Saved";
  });
}
