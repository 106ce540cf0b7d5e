// What the page asks the server. Every answer is the server's word; what was checked here says so where it is shown.

export class ApiError extends Error {
  constructor(status, message, code) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

let facts = null;

/** Whether the page shows what a stranger sees: then nothing is asked in the reader's name, so it is what strangers get. */
export const asStranger = new URLSearchParams(location.search).get("as") === "anonymous";

/** Who is signed in, and what they may do; asked once, and again after signing in or out. */
export async function session(again = false) {
  if (facts === null || again) facts = await call("GET", "/session");
  return facts;
}

/** Whether the reader may do this. */
export function may(scope) {
  return facts !== null && facts.scopes.includes(scope);
}

/** The path of something below the organisation. */
export function below(path) {
  return `/v2/organizations/${encodeURIComponent(facts.organization)}${path}`;
}

/** JSON of a request below the organisation. */
export function ask(path, options) {
  return call("GET", below(path), undefined, options);
}

/** A change below the organisation. */
export function change(method, path, body) {
  return call(method, below(path), body);
}

/**
 * One request; JSON both ways.
 *
 * `options.signal` ends it early; `options.etag` is sent as If-None-Match, and `null` comes back when nothing changed;
 * `options.onresponse` sees the whole response.
 */
export async function call(method, path, body, options = {}) {
  const headers = { Accept: "application/json" };
  if (method !== "GET") headers["X-Pipeseal-Page"] = "1";
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (options.etag) headers["If-None-Match"] = options.etag;
  let response;
  try {
    response = await fetch(path, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: options.signal,
      credentials: asStranger ? "omit" : "same-origin",
      cache: "no-store",
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "The server does not answer.", "page.unreachable");
  }
  if (response.status === 304) return null;
  options.onresponse?.(response);
  if (response.status === 204) return null;
  const text = await response.text();
  let answer;
  try {
    answer = text ? JSON.parse(text) : null;
  } catch {
    throw new ApiError(response.status, "The server's answer makes no sense.", "page.answer");
  }
  if (!response.ok) throw new ApiError(response.status, answer?.message ?? `Status ${response.status}`, answer?.code ?? "");
  return answer;
}
