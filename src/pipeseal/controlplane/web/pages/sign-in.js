// Sign in with an address and a password.
import { h, replace } from "../dom.js";
import { call, session } from "../api.js";
import { field, form } from "../forms.js";
import { go } from "../main.js";
// What went wrong at the provider; the server's log has more.
const PROBLEMS = {
  "access.oidc_state": "Signing in took too long, or was not begun in this browser. Sign in again.",
  "access.oidc_stranger": "You have no account here. An owner of the organisation can invite you.",
  "access.id_token": "The sign-in provider's answer proves nothing. Sign in again, or ask whoever runs this server.",
  other: "The sign-in provider cannot be reached, or its answer cannot be used. Try again later.",
};

export async function show(main, { query }) {
  document.title = "Sign in · Pipeseal";
  const email = field("Email", { type: "email", name: "email", autocomplete: "username", required: true });
  const password = field("Password", { type: "password", name: "password", autocomplete: "current-password", required: true });
  const { sign_in_at: provider } = await session();
  const problem = query.get("problem");
  const next = query.get("next") ?? "/";
  replace(
    main,
    h("h1", null, "Sign in"),
    problem && h("p", { class: "notice bad", role: "alert" }, PROBLEMS[problem] ?? PROBLEMS.other),
    provider && h("p", null, h("a", { class: "button primary", href: "/session/oidc", target: "_self" }, `Sign in at ${provider}`)),
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
