// One pipeline: its builds, newest first, and what can be done with it.
import { duration, h, moment, replace } from "../dom.js";
import { ask, below, call, change, may, session } from "../api.js";
import { choice, field, form } from "../forms.js";
import { go } from "../main.js";
import { onKey } from "../frame.js";
import { state, wordOf } from "../marks.js";
import { pager } from "../paging.js";

const STATES = ["running", "scheduled", "passed", "failed", "blocked", "canceled"];

export async function show(main, { parameters, query, signal }) {
  const facts = await session();
  const { slug } = parameters;
  const pipeline = await ask(`/pipelines/${slug}`, { signal });
  document.title = `${pipeline.name} · Pipeseal`;
  const page = Number(query.get("page") ?? 1);
  const wanted = new URLSearchParams({ per_page: "30", page: String(page), exclude_jobs: "true" });
  for (const name of ["branch", "state"]) if (query.get(name)) wanted.set(name, query.get(name));
  let links = "";
  const builds = await call("GET", below(`/pipelines/${slug}/builds?${wanted}`), undefined, {
    signal,
    onresponse: (response) => (links = response.headers.get("link") ?? ""),
  });
  replace(
    main,
    h(
      "div",
      { class: "row spread" },
      h("h1", null, pipeline.name),
      h(
        "div",
        { class: "row" },
        may("write_builds") && h("button", { class: "primary", onclick: () => newBuild(facts, pipeline) }, "New build"),
        may("write_pipelines") && h("a", { class: "button", href: `${location.pathname}/settings` }, "Settings"),
      ),
    ),
    h(
      "p",
      { class: "muted" },
      pipeline.repository && [h("span", { class: "mono" }, pipeline.repository), " · "],
      `default branch ${pipeline.default_branch}`,
      pipeline.visibility === "public" && " · public: anyone may read it",
    ),
    pipeline.description && h("p", null, pipeline.description),
    filters(query),
    builds.length === 0 ? empty(query, slug) : h("ul", { class: "list builds" }, builds.map((build) => row(facts, slug, build))),
    pager(page, links),
  );
  onKey("/", "filter the builds", () => main.querySelector("[role=search] input").focus());
  if (may("write_builds")) onKey("n", "make a new build", () => newBuild(facts, pipeline));
}

function filters(query) {
  const branch = field("Branch", { name: "branch", value: query.get("branch") ?? "", placeholder: "main, or release/*" });
  const which = choice("State", [["", "any"], ...STATES.map((one) => [one, wordOf(one)])], query.get("state") ?? "");
  return h(
    "form",
    {
      class: "row",
      role: "search",
      "aria-label": "Builds",
      onsubmit: (event) => {
        event.preventDefault();
        const next = new URLSearchParams();
        if (branch.value) next.set("branch", branch.value);
        if (which.value) next.set("state", which.value);
        go(`${location.pathname}?${next}`);
      },
    },
    branch,
    which,
    h("button", { type: "submit", class: "below-label" }, "Filter"),
  );
}

function row(facts, slug, build) {
  const address = `/${facts.organization}/${slug}/builds/${build.number}`;
  return h(
    "li",
    { class: "row" },
    h("span", { class: "number" }, h("a", { href: address }, `#${build.number}`)),
    state(build.state),
    h(
      "div",
      { class: "grow" },
      h("a", { href: address, class: "quiet-link" }, build.message || "(no message)"),
      h(
        "div",
        { class: "muted" },
        build.branch,
        " @ ",
        h("span", { class: "mono" }, build.commit.slice(0, 10)),
        build.pull_request && ` · pull request ${build.pull_request.id}`,
        build.creator && ` · ${build.creator.name}`,
      ),
    ),
    h("span", { class: "muted" }, duration(build.started_at, build.finished_at)),
    h("span", { class: "muted" }, moment(build.created_at)),
  );
}

function empty(query, slug) {
  const words = ["branch", "state"].filter((name) => query.get(name)).map((name) => `${name} ${name === "state" ? wordOf(query.get(name)) : query.get(name)}`);
  if (words.length > 0)
    return h("div", { class: "empty" }, h("p", null, `No builds with ${words.join(" and ")}.`), h("a", { class: "button", href: location.pathname }, "Clear the filter"));
  return h(
    "div",
    { class: "empty" },
    h("p", null, h("strong", null, "No builds yet.")),
    may("write_builds") && h("pre", { tabindex: "0" }, `pipeseal build create --pipeline ${slug} --watch`),
  );
}

function newBuild(facts, pipeline) {
  const message = field("Message", { name: "message", value: "" });
  const branch = field("Branch", { name: "branch", value: pipeline.default_branch, required: true });
  const commit = field("Commit", { name: "commit", value: "HEAD", required: true }, "HEAD is the newest one of the branch.");
  const dialog = h(
    "dialog",
    { "aria-labelledby": "new-build", onclose: () => dialog.remove() },
    h("h2", { id: "new-build" }, `New build of ${pipeline.name}`),
    form("Create the build", [message, branch, commit], async () => {
      const body = { message: message.value, branch: branch.value, commit: commit.value };
      const build = await change("POST", `/pipelines/${pipeline.slug}/builds`, body);
      dialog.close();
      await go(`/${facts.organization}/${pipeline.slug}/builds/${build.number}`);
    }),
    h("button", { class: "plain", onclick: () => dialog.close() }, "Cancel"),
  );
  document.body.append(dialog);
  dialog.showModal();
}
