// Bringing a log into the page: what is there in ranges, then what is added as it comes, from one byte to the next.
import { ApiError, asStranger } from "../api.js";
import { follow, sleep } from "../builds/stream.js";

const RANGE = 4 << 20;
// As much as is worked on before the page gets its turn; a little of it is some milliseconds of work.
const PIECE = 32 << 10;
export const TURN_MILLISECONDS = 12;
/** What is loaded by itself; more of it when the reader asks. */
export const MOST_BYTES = 128 << 20;
// For a page that nobody sees, which gets no frames.
const FRAME_MILLISECONDS = 100;

/** Let the page draw and answer its reader. */
export function breathe() {
  if (globalThis.scheduler?.yield) return scheduler.yield();
  return new Promise((resolve) => setTimeout(resolve));
}

/** Let the page show what it has now. */
function shown() {
  return new Promise((resolve) => {
    setTimeout(resolve, FRAME_MILLISECONDS);
    if (!document.hidden) requestAnimationFrame(() => setTimeout(resolve));
  });
}

/**
 * Read a log from byte `start` on.
 *
 * @param job its `log_url` and `raw_log_url`, and whether it has ended.
 * @param options `signal`; `take(bytes)` gets the bytes in order, and says whether there is room for more;
 *   `onproblem(error)` as in `follow`; `start`; `most`: up to which byte.
 * @returns `{ bytes, total, ended }`: how far was read, how much there is (Infinity while nobody knows), and whether
 *   nothing follows.
 */
export async function loadLog(job, { signal, take, onproblem, start = 0, most = MOST_BYTES }) {
  const raw = new URL(job.raw_log_url).pathname;
  // Nobody asks for a range of nothing.
  const state = { bytes: start, total: job.finished_at && job.log_bytes === 0 ? 0 : Infinity, ended: false, isFull: false };
  let begun = performance.now();

  async function consume(bytes) {
    for (let at = 0; at < bytes.length && !state.isFull; at += PIECE) {
      const piece = bytes.subarray(at, at + PIECE);
      const isFirst = state.bytes === start;
      state.isFull = !take(piece);
      state.bytes += piece.length;
      // Readers look at the first lines while the rest is worked on.
      if (isFirst || performance.now() - begun > TURN_MILLISECONDS) {
        if (isFirst) await shown();
        await breathe();
        signal.throwIfAborted();
        begun = performance.now();
      }
    }
  }

  let failures = 0;
  let next = null;
  // Ranges for what a job that has ended left behind; a stream has it all too, but base64 makes it a third larger.
  while (job.finished_at && state.bytes < Math.min(state.total, most) && !state.isFull) {
    try {
      const end = Math.min(state.bytes + RANGE, most);
      const asked = next ?? askRange(raw, state.bytes, end, signal);
      next = null;
      const { total, body } = await asked;
      state.total = total ?? state.bytes;
      // The next one is on its way while this one is worked on.
      if (end < Math.min(state.total, most)) {
        next = askRange(raw, end, Math.min(end + RANGE, most), signal);
        next.catch(() => {}); // it is heard of when its turn comes
      }
      if (body) await readBody(body, consume, state);
      if (failures > 0) onproblem(null);
      failures = 0;
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof ApiError && error.status >= 400 && error.status < 500 && error.status !== 429) throw error;
      next = null;
      failures += 1;
      onproblem(error);
      await sleep(Math.min(30_000, 500 * 2 ** Math.min(failures, 8)), signal);
    }
  }
  if (job.finished_at) {
    state.ended = state.bytes >= state.total;
    return state;
  }
  const full = new AbortController();
  const path = `${new URL(job.log_url).pathname}/stream`;
  try {
    await follow(path, {
      signal: AbortSignal.any([signal, full.signal]),
      onproblem,
      lastId: String(state.bytes),
      onevent: async (name, data) => {
        begun = performance.now();
        if (name === "log") await consume(decodeBase64(data.data));
        else if (name === "end") state.total = data.bytes;
        if (state.isFull || (state.bytes >= most && name === "log")) full.abort();
      },
    });
  } catch (error) {
    if (signal.aborted || !full.signal.aborted) throw error;
    return state;
  }
  state.ended = true;
  return state;
}

/** Ask for bytes `start` up to `end`: `{ total, body }`, how long the log is and the bytes; without, when there are none. */
async function askRange(raw, start, end, signal) {
  const response = await fetch(raw, {
    headers: { Range: `bytes=${start}-${end - 1}` },
    signal,
    credentials: asStranger ? "omit" : "same-origin",
    cache: "no-store",
  });
  if (response.status === 416) return {};
  if (response.status !== 206) {
    const answer = await response.json().catch(() => ({}));
    throw new ApiError(response.status, answer.message ?? `Status ${response.status}`, answer.code ?? "");
  }
  const total = Number(/\/(\d+)$/.exec(response.headers.get("content-range") ?? "")?.[1] ?? Number.NaN);
  if (Number.isNaN(total)) throw new ApiError(response.status, "The server's answer makes no sense.", "page.answer");
  return { total, body: response.body };
}

/** Hand the bytes of an answer on while they come. */
async function readBody(body, consume, state) {
  const reader = body.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    await consume(value);
    if (state.isFull) {
      reader.cancel().catch(() => {});
      return;
    }
  }
}

function decodeBase64(text) {
  const decoded = atob(text);
  const bytes = new Uint8Array(decoded.length);
  for (let at = 0; at < decoded.length; at++) bytes[at] = decoded.charCodeAt(at);
  return bytes;
}
