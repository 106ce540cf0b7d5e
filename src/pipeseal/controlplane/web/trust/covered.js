// What signatures cover and what they do not, side by side; both lists come from the product's own tables.
import { h } from "../dom.js";
import { call } from "../api.js";

let table = null;

/** The tables. */
export async function coveredTable() {
  table ??= await call("GET", "/web/trust/covered.json");
  return table;
}

/** Two lists side by side. `sealed`: the steps have seals, which cover more. */
export async function drawCovered({ sealed }) {
  const { fields, bindings, sealed: more, not_covered: open } = await coveredTable();
  const listed = [
    ...fields.map(({ words, when }) => (when === "always" ? words : `${words}, ${when}`)),
    `where the signature is bound to them: ${bindings.map(({ words }) => words.replace(/^this /, "").replace(/ only.*/, "")).join(", ")}`,
    ...(sealed ? more.map((words) => `by the seal: ${words}`) : []),
  ];
  return h(
    "div",
    { class: "covered" },
    h("section", null, h("h3", null, "Covered by the signatures"), h("ul", null, listed.map((words) => h("li", null, words)))),
    h("section", null, h("h3", null, "NOT covered: the server says so, and could lie about"), h("ul", null, open.map((words) => h("li", null, words)))),
  );
}
