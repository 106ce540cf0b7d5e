// Fields with their labels, hints and errors tied together, and forms that keep what was typed when something is wrong.
import { announce, h, replace } from "./dom.js";

let count = 0;

/** A labelled field: an element with `input` and `value`. */
export function field(label, attributes, hint = "") {
  const id = `field-${++count}`;
  const input = h("input", { id, "aria-describedby": hint ? `${id}-hint` : null, ...attributes });
  return labelled(label, input, id, hint);
}

/** A choice of one of several: `options` is a list of [value, text]. */
export function choice(label, options, chosen, hint = "") {
  const id = `field-${++count}`;
  const input = h(
    "select",
    { id, "aria-describedby": hint ? `${id}-hint` : null },
    options.map(([value, text]) => h("option", { value, selected: value === chosen }, text)),
  );
  return labelled(label, input, id, hint);
}

/** A text of several lines. */
export function textarea(label, attributes, value = "", hint = "") {
  const id = `field-${++count}`;
  const input = h("textarea", { id, "aria-describedby": hint ? `${id}-hint` : null, ...attributes });
  input.value = value;
  return labelled(label, input, id, hint);
}

function labelled(label, input, id, hint) {
  const element = h("div", null, h("label", { for: id }, label), input, hint && h("p", { class: "hint", id: `${id}-hint` }, hint));
  element.input = input;
  Object.defineProperty(element, "value", { get: () => input.value });
  return element;
}

/** A form with one button; `act` may throw, and its message is shown at the button. */
export function form(action, children, act, { danger = false } = {}) {
  const problem = h("p", { class: "problem", role: "alert" });
  const button = h("button", { class: danger ? "danger" : "primary", type: "submit" }, action);
  const element = h(
    "form",
    {
      onsubmit: async (event) => {
        event.preventDefault();
        replace(problem);
        button.disabled = true;
        try {
          const said = await act();
          if (typeof said === "string") announce(said);
        } catch (error) {
          replace(problem, error.message);
        } finally {
          button.disabled = false;
        }
      },
    },
    children,
    problem,
    h("p", null, button),
  );
  return element;
}
