// From an address to its page. Pages are modules of their own and loaded when they are visited.
import { h, replace } from "./dom.js";
import { ApiError, asStranger, session } from "./api.js";
import { drawFrame, forgetKeys } from "./frame.js";

// Address to module, the first that fits; each exports `show(main, { parameters, query, signal })`.
const ROUTES = [
  [/^\/sign-in$/, () => import("./pages/sign-in.js"), []],
  [/^\/account$/, () => import("./pages/account.js"), []],
  [/^\/welcome$/, () => import("./pages/welcome.js"), []],
  [/^\/([^/]+)\/agents$/, () => import("./pages/agents.js"), ["organization"]],
  [/^\/([^/]+)\/keys$/, () => import("./pages/keys.js"), ["organization"]],
  [/^\/([^/]+)\/settings(?:\/([^/]+))?$/, () => import("./pages/organization.js"), ["organization", "section"]],
  [
    /^\/([^/]+)\/([^/]+)\/builds\/(\d+)\/jobs\/([^/]+)(?:\/([^/]+))?$/,
    // What it imports by itself takes a while to be found out: the log is asked for at once.
    () => Promise.all([import("./pages/build.js"), import("./log/view.js")]).then(([page]) => page),
    ["organization", "slug", "number", "job", "jobTab"],
  ],
  [/^\/([^/]+)\/([^/]+)\/builds\/(\d+)(?:\/([^/]+))?$/, () => import("./pages/build.js"), ["organization", "slug", "number", "tab"]],
  [/^\/([^/]+)\/([^/]+)\/settings(?:\/([^/]+))?$/, () => import("./pages/settings.js"), ["organization", "slug", "section"]],
  [/^\/([^/]+)\/([^/]+)$/, () => import("./pages/pipeline.js"), ["organization", "slug"]],
  [/^\/([^/]*)$/, () => import("./pages/dashboard.js"), ["organization"]],
];

let leave = new AbortController();

async function visit() {
  leave.abort();
  leave = new AbortController();
  const { signal } = leave;
  const main = document.getElementById("main");
  main.setAttribute("aria-busy", "true");
  forgetKeys();
  try {
    // A link to any page may say which key counts; the fragment is gone with the next click.
    if (location.hash.includes("pin=")) (await import("./trust/keyring.js")).pins();
    const [pattern, load, names] = ROUTES.find(([one]) => one.test(location.pathname)) ?? [];
    // The page's modules are on their way while the server says who is here.
    const loading = load?.();
    loading?.catch(() => {}); // it is heard of below
    await session();
    await drawFrame();
    if (loading) {
      const found = location.pathname.match(pattern);
      const parameters = Object.fromEntries(names.map((name, at) => [name, found[at + 1] && decodeURIComponent(found[at + 1])]));
      const page = await loading;
      if (signal.aborted) return;
      await page.show(main, { parameters, query: new URLSearchParams(location.search), signal });
      return;
    }
    notFound(main);
  } catch (error) {
    if (error.name === "AbortError" || signal.aborted) return;
    fail(main, error);
  } finally {
    if (!signal.aborted) main.removeAttribute("aria-busy");
  }
}

function notFound(main) {
  document.title = "Not found · Pipeseal";
  replace(
    main,
    h("h1", null, "Nothing to see here"),
    h("p", null, "There is no such page, or you may not see it."),
    h("p", null, h("a", { href: `/sign-in?next=${encodeURIComponent(location.pathname)}` }, "Sign in"), " to see what is yours."),
  );
}

function fail(main, error) {
  if (error instanceof ApiError && [401, 404].includes(error.status)) return notFound(main);
  document.title = "Problem · Pipeseal";
  replace(
    main,
    h("h1", null, "That did not work"),
    h("p", { class: "problem" }, error.message, error.code && ` (${error.code})`),
    h("p", null, h("button", { class: "primary", onclick: visit }, "Try again")),
  );
  if (!(error instanceof ApiError)) console.error(error);
}

/** Go to another address of this page without loading everything anew. */
export function go(path, { replaceState = false } = {}) {
  history[replaceState ? "replaceState" : "pushState"](null, "", path);
  return visit();
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[href]");
  if (!link || event.defaultPrevented || event.button !== 0 || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  const url = new URL(link.href, location.href);
  const stays = url.origin !== location.origin || link.target || link.hasAttribute("download") || /^\/(v2|v3|web|openapi\.json)/.test(url.pathname);
  if (stays || (url.pathname === location.pathname && url.hash)) return;
  event.preventDefault();
  // Whoever looks as a stranger goes on as one.
  if (asStranger) url.searchParams.set("as", "anonymous");
  go(url.pathname + url.search + url.hash).then(() => {
    document.getElementById("main").focus({ preventScroll: true });
    scrollTo(0, 0);
  });
});
addEventListener("popstate", visit);
visit();
