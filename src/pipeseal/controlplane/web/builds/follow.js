// A build as it is now, and as it changes.
import { below } from "../api.js";
import { follow, shownAgain } from "./stream.js";

// The build that was looked at last, so that going from job to job shows something at once.
let latest = null;

/**
 * Follow a build for as long as the page is there.
 *
 * @param options `signal`; `onchange(build)`: called with the first state and with every later one, a build in the
 *   server's shape with all its `jobs`; `onproblem(error, tryNow)` as in `follow`.
 * @returns the build, once it is there.
 */
export function followBuild(slug, number, { signal, onchange, onproblem }) {
  const path = below(`/pipelines/${encodeURIComponent(slug)}/builds/${number}/events`);
  const jobs = new Map();
  let order = [];
  let isThere = false;

  return new Promise((resolve, reject) => {
    const take = (build) => {
      latest = { path, build };
      onchange(build);
      if (!isThere) {
        isThere = true;
        resolve(build);
      }
    };
    if (latest?.path === path) queueMicrotask(() => signal.aborted || take(latest.build));

    const onevent = async (name, data) => {
      if (name !== "build") return;
      for (const job of data.jobs) jobs.set(job.id, job);
      if (data.job_ids) {
        order = data.job_ids;
        const known = new Set(order);
        for (const id of jobs.keys()) if (!known.has(id)) jobs.delete(id);
      }
      take({ ...data.build, jobs: order.map((id) => jobs.get(id)) });
    };

    const run = async () => {
      for (;;) {
        await follow(path, { signal, onevent, onproblem });
        // Nothing changes by itself any more. Somebody may still have a job run again: look when the reader is back.
        await shownAgain(signal);
      }
    };
    run().catch((error) => {
      if (!signal.aborted && isThere) onproblem(error);
      reject(error);
    });
  });
}
