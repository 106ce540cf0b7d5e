// Where signatures are checked, apart from the page that shows the outcome.
import { judge } from "./judge.js";

addEventListener("message", async ({ data: { id, found, shown, ring } }) => {
  try {
    postMessage({ id, result: await judge(found, shown, ring) });
  } catch (error) {
    // Anything unexpected proves nothing.
    postMessage({ id, result: { state: "cannot_check", code: "page.problem", says: `the check broke off: ${error.message}`, checks: [] } });
  }
});
