// All pipelines, each with its newest build. Strangers see the public ones.
import { duration, h, moment, replace } from "../dom.js";
import { ask, below, call, may, session } from "../api.js";
import { onKey } from "../frame.js";
import { state, wordOf } from "../marks.js";
import { pager } from "../paging.js";
import { drawUnsigned } from "../trust/unsigned.js";

const TREND = 10;

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
  const none = h("p", { class: "empty", role: "status", hidden: true });
  const words = finder(rows, none, query.get("q") ?? "", links ? " on this page" : "");
  replace(
    main,
    h("div", { class: "row spread" }, h("h1", null, facts.account ? "Pipelines" : "Public pipelines"), h("div", { role: "search", "aria-label": "Pipelines" }, words)),
    h("ul", { class: "list pipelines" }, rows.map((each) => each.element)),
    none,
    pager(page, links),
    hint,
  );
  onKey("/", "find a pipeline", () => words.focus());
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
    text: [pipeline.name, pipeline.slug, pipeline.description].join(" ").toLowerCase(),
    fill: async (signal) => {
      const builds = await call("GET", below(`/pipelines/${pipeline.slug}/builds?per_page=${TREND}&exclude_jobs=true`), undefined, { signal });
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
      drawTrend(trend, builds);
    },
  };
}

/** The newest builds, the newest last: each a bar, as high as its end is bad; and all of them in words. */
function drawTrend(element, builds) {
  const counts = Map.groupBy(builds, (build) => wordOf(build.state));
  const words = `The newest ${builds.length}: ${[...counts].map(([word, found]) => `${found.length} ${word}`).join(", ")}`;
  const bars = [...builds].reverse().map((build) => h("span", { class: "trend-bar", dataset: { kind: state(build.state).dataset.kind } }));
  replace(element, h("span", { "aria-hidden": "true", class: "trend-bars" }, bars), h("span", { class: "visually-hidden" }, words));
  element.title = words;
}

/** A field that leaves the rows with its words, and says in `none` when there are none; its words are in the address too. */
function finder(rows, none, asked, where) {
  const filter = () => {
    const wanted = words.value.trim().toLowerCase();
    for (const { element, text } of rows) element.hidden = !text.includes(wanted);
    none.hidden = rows.some(({ element }) => !element.hidden);
    const clear = () => {
      words.value = "";
      changed();
      words.focus();
    };
    replace(none, !none.hidden && [`No pipeline${where} with ${words.value.trim()}. `, h("button", { type: "button", onclick: clear }, "Clear the filter")]);
  };
  const changed = () => {
    filter();
    const next = new URLSearchParams(location.search);
    if (words.value.trim()) next.set("q", words.value);
    else next.delete("q");
    history.replaceState(history.state, "", `${location.pathname}${next.size > 0 ? `?${next}` : ""}${location.hash}`);
  };
  const words = h("input", { type: "search", placeholder: "Find a pipeline", "aria-label": "Find a pipeline", "aria-keyshortcuts": "/", value: asked, oninput: changed });
  filter();
  return words;
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
