// All pipelines, each with its newest build. Strangers see the public ones.
import { duration, h, moment, replace } from "../dom.js";
import { ask, below, call, may, session } from "../api.js";
import { state } from "../marks.js";
import { pager } from "../paging.js";
import { drawUnsigned } from "../trust/unsigned.js";

export async function show(main, { query, signal }) {
  const facts = await session();
  document.title = "Pipelines · Pipeseal";
  const page = Number(query.get("page") ?? 1);
  let links = "";
  let pipelines;
  try {
    pipelines = await ask(`/pipelines?per_page=50&page=${page}`, { signal, onresponse: (r) => (links = r.headers.get("link") ?? "") });
  } catch (error) {
    if (error.status !== 401) throw error;
    pipelines = []; // to a stranger, an organisation without public pipelines
  }
  if (pipelines.length === 0) {
    replace(main, h("h1", null, "Pipelines"), facts.account ? empty() : stranger());
    return;
  }
  const rows = pipelines.map((pipeline) => row(facts, pipeline));
  const hint = h("div");
  replace(
    main,
    h("div", { class: "row spread" }, h("h1", null, facts.account ? "Pipelines" : "Public pipelines")),
    h("ul", { class: "list" }, rows.map((each) => each.element)),
    pager(page, links),
    hint,
  );
  await Promise.all([...rows.map((each) => each.fill(signal)), facts.account && drawUnsigned(hint, facts, pipelines, page, signal)]);
}

function row(facts, pipeline) {
  const address = `/${facts.organization}/${pipeline.slug}`;
  const newest = h("span", { class: "muted" }, "…");
  const trend = h("span", { class: "trend" });
  const element = h(
    "li",
    { class: "row" },
    h(
      "div",
      { class: "grow" },
      h("a", { href: address }, h("strong", null, pipeline.name)),
      pipeline.visibility === "public" && h("span", { class: "muted" }, " · public"),
      pipeline.description && h("div", { class: "muted" }, pipeline.description),
    ),
    trend,
    newest,
  );
  return {
    element,
    fill: async (signal) => {
      const builds = await call("GET", below(`/pipelines/${pipeline.slug}/builds?per_page=10&exclude_jobs=true`), undefined, { signal });
      if (builds.length === 0) return replace(newest, "no builds yet");
      const [build] = builds;
      replace(
        newest,
        h("a", { href: `${address}/builds/${build.number}` }, `#${build.number}`),
        " ",
        state(build.state),
        " ",
        h("span", { class: "muted" }, build.branch, " · ", duration(build.started_at, build.finished_at), " · ", moment(build.created_at)),
      );
      newest.className = "";
    },
  };
}

function empty() {
  return h(
    "div",
    { class: "empty" },
    h("p", null, h("strong", null, "No pipelines yet.")),
    h("p", null, may("write_pipelines") ? "Make one on a command line, in a repository of yours:" : "Whoever may change pipelines can make one."),
    may("write_pipelines") && h("pre", { tabindex: "0" }, "pipeseal init\npipeseal pipeline create app --repository https://git.example.org/app.git\npipeseal build create --pipeline app --watch"),
  );
}

function stranger() {
  return h(
    "div",
    { class: "empty" },
    h("p", null, h("strong", null, "There is nothing here for everybody to see.")),
    h("p", null, h("a", { href: "/sign-in" }, "Sign in"), " to see your pipelines."),
  );
}
