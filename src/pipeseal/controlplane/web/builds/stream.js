// Server-sent events, read with fetch: so that a page which shows what strangers see asks as one, and so that an answer
// which is no stream says why. # https://html.spec.whatwg.org/multipage/server-sent-events.html
import { ApiError, asStranger } from "../api.js";

const SECONDS = 300;
const LONGEST_PAUSE = 30_000;
const SHORT_MILLISECONDS = 500;

/**
 * Follow a stream until it says `end`, through whatever happens to the connection.
 *
 * While nobody looks at the page nothing is followed: browsers keep few connections to one server, for all pages
 * together.
 *
 * @param path address of the stream.
 * @param options `signal` ends it; `onevent(name, data)` may be async, and the stream waits for it; `onproblem(error)`
 *   hears of a connection that broke, with a function that tries again at once, and of null once there is one again;
 *   `lastId` of an event that is known.
 * @returns when the stream has ended.
 * @throws ApiError when the server says no.
 */
export async function follow(path, { signal, onevent, onproblem, lastId = "" }) {
  let known = lastId;
  let failures = 0;
  for (;;) {
    await visible(signal);
    const pause = new AbortController();
    const stop = () => pause.abort();
    const hide = () => document.hidden && pause.abort();
    signal.addEventListener("abort", stop, { once: true });
    document.addEventListener("visibilitychange", hide);
    const begun = performance.now();
    try {
      for await (const event of read(path, known, pause.signal)) {
        if (failures > 0) onproblem?.(null);
        failures = 0;
        if (event.id !== null) known = event.id;
        await onevent(event.name, event.data);
        signal.throwIfAborted();
        if (event.name === "end") return;
      }
      // A server that ends every stream at once is about to stop.
      if (performance.now() - begun < SHORT_MILLISECONDS) await sleep(SHORT_MILLISECONDS, signal);
    } catch (error) {
      signal.throwIfAborted();
      if (!pause.signal.aborted) {
        if (error instanceof ApiError && error.status >= 400 && error.status < 500 && error.status !== 429) throw error;
        failures += 1;
        const asked = new Promise((resolve) => onproblem?.(error, resolve));
        await Promise.race([asked, sleep(Math.min(LONGEST_PAUSE, 500 * 2 ** Math.min(failures, 8)), signal)]);
      }
    } finally {
      signal.removeEventListener("abort", stop);
      document.removeEventListener("visibilitychange", hide);
    }
  }
}

/** The events of one answer. */
async function* read(path, lastId, signal) {
  const headers = { Accept: "text/event-stream" };
  if (lastId !== "") headers["Last-Event-ID"] = lastId;
  const response = await fetch(`${path}?wait=${SECONDS}`, {
    headers,
    signal,
    credentials: asStranger ? "omit" : "same-origin",
    cache: "no-store",
  });
  if (!response.ok) {
    const answer = await response.json().catch(() => ({}));
    throw new ApiError(response.status, answer.message ?? `Status ${response.status}`, answer.code ?? "");
  }
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  const pieces = [];
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      pieces.push(value);
      if (!value.includes("\n\n") && !value.startsWith("\n")) continue;
      const blocks = pieces.splice(0).join("").split("\n\n");
      const rest = blocks.pop();
      if (rest) pieces.push(rest);
      for (const block of blocks) {
        const event = parseEvent(block);
        if (event) yield event;
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

function parseEvent(block) {
  const event = { name: "message", data: null, id: null };
  for (const line of block.split("\n")) {
    const colon = line.indexOf(": ");
    if (colon <= 0) continue;
    const value = line.slice(colon + 2);
    const field = line.slice(0, colon);
    if (field === "event") event.name = value;
    else if (field === "id") event.id = value;
    else if (field === "data") event.data = JSON.parse(value);
  }
  return event.data === null ? null : event;
}

/** Wait until somebody looks at the page. */
function visible(signal) {
  if (!document.hidden) return undefined;
  return shownAgain(signal);
}

/** Wait until the page is shown after it was not. */
export function shownAgain(signal) {
  return new Promise((resolve, reject) => {
    const done = (act, value) => {
      document.removeEventListener("visibilitychange", look);
      signal.removeEventListener("abort", stop);
      act(value);
    };
    const look = () => document.hidden || done(resolve);
    const stop = () => done(reject, signal.reason);
    document.addEventListener("visibilitychange", look);
    signal.addEventListener("abort", stop);
  });
}

/** Wait for some milliseconds. */
export function sleep(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener("abort", stop);
      resolve();
    }, milliseconds);
    signal.addEventListener("abort", stop, { once: true });
  });
}
