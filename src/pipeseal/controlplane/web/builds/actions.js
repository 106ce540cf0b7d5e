// What can be done with builds and jobs. Each is asked for twice.
import { h } from "../dom.js";
import { change } from "../api.js";
import { form } from "../forms.js";
import { go } from "../main.js";
import { jobName, jobPath } from "./names.js";

/** Ask, and do it when the answer is yes. */
function ask(title, text, action, act, { danger = false } = {}) {
  const before = document.activeElement;
  const dialog = h(
    "dialog",
    {
      "aria-labelledby": "ask-title",
      onclose: () => {
        dialog.remove();
        before?.focus?.();
      },
    },
    h("h2", { id: "ask-title" }, title),
    h("p", null, text),
    form(
      action,
      [],
      async () => {
        await act();
        dialog.close();
      },
      { danger },
    ),
    h("button", { type: "button", class: "plain", onclick: () => dialog.close() }, "Leave it"),
  );
  document.body.append(dialog);
  dialog.showModal();
}

const path = (build) => `/pipelines/${encodeURIComponent(build.pipeline.slug)}/builds/${build.number}`;

/** Whether a build still does something. */
export function isOpen(build) {
  return !["passed", "failed", "canceled", "skipped", "not_run"].includes(build.state);
}

/** Whether a job may be run again. */
export function isRetryable(job) {
  return job.type === "script" && !job.retried && ["passed", "failed", "timed_out", "canceled", "expired"].includes(job.state);
}

/** Cancel a build. */
export function askCancel(build) {
  ask(
    `Cancel build #${build.number}?`,
    "Jobs that run are told to stop; the others do not start.",
    "Cancel the build",
    async () => {
      await change("PUT", `${path(build)}/cancel`);
      await go(location.pathname + location.search, { replaceState: true });
    },
    { danger: true },
  );
}

/** Make another build of the same commit. */
export function askRebuild(build) {
  ask(`Rebuild #${build.number}?`, `A new build of ${build.commit.slice(0, 10)} on ${build.branch} begins.`, "Rebuild", async () => {
    const made = await change("PUT", `${path(build)}/rebuild`);
    await go(new URL(made.web_url).pathname);
  });
}

/** Run a job again. */
export function askRetry(build, job) {
  ask(`Run ${jobName(job)} again?`, "A new attempt begins; this one stays as it is.", "Run it again", async () => {
    const made = await change("PUT", `${path(build)}/jobs/${job.id}/retry`);
    await go(jobPath(build, made));
  });
}

/** Let a block step pass with these answers. */
export async function unblock(build, job, fields) {
  await change("PUT", `${path(build)}/jobs/${job.id}/unblock`, { fields });
  await go(location.pathname + location.search, { replaceState: true });
}
