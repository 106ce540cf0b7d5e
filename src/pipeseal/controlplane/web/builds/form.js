// A block or input step: what it asks, and the button that lets it pass. What was typed stays when something is wrong.
import { h, replace } from "../dom.js";
import { may } from "../api.js";
import { form } from "../forms.js";
import { unblock } from "./actions.js";
import { stepName } from "./names.js";

const MOST_RADIOS = 6;
let number = 0;

/** Draw the form of a blocked job into `element`. */
export function drawForm(element, build, job) {
  if (!may("write_builds")) {
    replace(element, h("p", { class: "notice" }, `"${stepName(job)}" waits for somebody to unblock it.`));
    return;
  }
  const questions = (job.fields ?? []).map(question);
  replace(
    element,
    h(
      "section",
      { class: "card block-form", "aria-label": stepName(job) },
      h("h2", null, stepName(job)),
      job.prompt && job.prompt !== stepName(job) && h("p", null, job.prompt),
      form("Unblock", questions.map((one) => one.element), async () => {
        const wrong = questions.filter((one) => !one.check());
        if (wrong.length > 0) {
          wrong[0].focus();
          throw new Error(wrong.length === 1 ? "One answer does not do." : `${wrong.length} answers do not do.`);
        }
        await unblock(build, job, Object.fromEntries(questions.map((one) => [one.key, one.value()])));
      }),
      h("p", { class: "hint" }, "Your answer is kept by the server. It is not signed: who unblocked is what the server says."),
    ),
  );
}

/** One field: its element, key, value and check. */
function question(field) {
  const id = `answer-${++number}`;
  const label = String(field.text ?? field.select ?? field.key);
  const required = field.required !== false;
  const problem = h("p", { class: "problem", id: `${id}-problem` });
  const hint = field.hint ? h("p", { class: "hint", id: `${id}-hint` }, field.hint) : null;
  const pattern = field.format ? h("p", { class: "hint", id: `${id}-format` }, "Has to match ", h("code", null, field.format)) : null;
  const described = [hint && `${id}-hint`, pattern && `${id}-format`, `${id}-problem`].filter(Boolean).join(" ");
  const more = required ? "" : h("span", { class: "muted" }, " (not required)");
  const options = (field.options ?? []).map((option) => (typeof option === "object" && option !== null ? option : { label: String(option), value: String(option) }));
  const chosen = (Array.isArray(field.default) ? field.default.map(String) : [String(field.default ?? "")]).flatMap((one) => one.split("\n"));

  let element;
  let value;
  let target;
  let inputs = [];
  if (field.select !== undefined && (field.multiple || options.length <= MOST_RADIOS)) {
    const type = field.multiple ? "checkbox" : "radio";
    inputs = options.map((option) => h("input", { type, name: id, value: String(option.value ?? option.label), checked: chosen.includes(String(option.value ?? option.label)) }));
    target = inputs[0];
    value = () => inputs.filter((input) => input.checked).map((input) => input.value).join("\n");
    element = h(
      "fieldset",
      { "aria-describedby": described },
      h("legend", null, label, more),
      hint,
      options.map((option, at) => h("label", { class: "choice" }, inputs[at], h("span", null, String(option.label ?? option.value), option.hint && h("span", { class: "hint" }, ` ${option.hint}`)))),
      problem,
    );
  } else {
    if (field.select !== undefined)
      target = h(
        "select",
        { id, "aria-describedby": described, "aria-required": String(required) },
        !chosen[0] && h("option", { value: "" }, "Choose one"),
        options.map((option) => h("option", { value: String(option.value ?? option.label), selected: chosen.includes(String(option.value ?? option.label)) }, String(option.label ?? option.value))),
      );
    else {
      const isLong = chosen.length > 1;
      target = h(isLong ? "textarea" : "input", { id, type: isLong ? null : "text", "aria-describedby": described, "aria-required": String(required), autocomplete: "off" });
      target.value = chosen.join("\n");
    }
    inputs = [target];
    value = () => target.value;
    element = h("div", null, h("label", { for: id }, label, more), target, hint, pattern, problem);
  }

  function check() {
    const answer = value();
    let wrong = "";
    if (required && answer === "") wrong = field.select === undefined ? "This is required." : field.multiple ? "Choose at least one." : "Choose one.";
    // The server matches it in its own way; a pattern that browsers cannot read is left to it.
    else if (answer !== "" && field.format && field.select === undefined && !matches(field.format, answer)) wrong = `This does not match ${field.format}`;
    replace(problem, wrong);
    for (const input of inputs) {
      if (wrong) input.setAttribute("aria-invalid", "true");
      else input.removeAttribute("aria-invalid");
    }
    return wrong === "";
  }

  return { key: field.key, element, value, check, focus: () => target.focus() };
}

function matches(pattern, text) {
  try {
    return new RegExp(`^(?:${pattern})$`, "u").test(text);
  } catch {
    return true;
  }
}
