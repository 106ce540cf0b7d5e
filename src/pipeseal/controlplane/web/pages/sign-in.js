// Sign in with an address and a password.
import { h, replace } from "../dom.js";
import { call, session } from "../api.js";
import { field, form } from "../forms.js";
import { go } from "../main.js";

export async function show(main, { query }) {
  document.title = "Sign in · Pipeseal";
  const email = field("Email", { type: "email", name: "email", autocomplete: "username", required: true });
  const password = field("Password", { type: "password", name: "password", autocomplete: "current-password", required: true });
  const next = query.get("next") ?? "/";
  replace(
    main,
    h("h1", null, "Sign in"),
    h(
      "div",
      { class: "card" },
      form("Sign in", [email, password], async () => {
        await call("POST", "/session", { email: email.value, password: password.value });
        await session(true);
        await go(next.startsWith("/") && !next.startsWith("//") ? next : "/");
      }),
    ),
    h("p", { class: "hint" }, "No account? An owner of the organisation can send you a link. The first account is made with the link that the server prints when it starts."),
  );
  email.input.focus();
}
