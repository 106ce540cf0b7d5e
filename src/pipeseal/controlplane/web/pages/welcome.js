// The page of a link: make an account, or choose another password. The link's token is in the fragment, which browsers
// send to nobody; it leaves this page only in the one request that uses it.
import { h, replace } from "../dom.js";
import { call, session } from "../api.js";
import { field, form } from "../forms.js";
import { go } from "../main.js";

export async function show(main) {
  document.title = "Welcome · Pipeseal";
  const token = location.hash.slice(1);
  if (!token) {
    replace(main, h("h1", null, "This link is not whole"), h("p", null, "What comes after # is missing. Open the whole link, or ask for another one."));
    return;
  }
  const name = field("Your name", { name: "name", autocomplete: "name", required: true, maxlength: 80 });
  const email = field("Email", { type: "email", name: "email", autocomplete: "username" }, "Leave it empty if somebody invited you: the link knows it.");
  const password = field(
    "Password",
    { type: "password", name: "password", autocomplete: "new-password", required: true, minlength: 12, maxlength: 256 },
    "12 characters or more. A few words do.",
  );
  replace(
    main,
    h("h1", null, "Welcome to Pipeseal"),
    h(
      "div",
      { class: "card" },
      form("Make the account", [name, email, password], async () => {
        await call("POST", "/session/link", { token, name: name.value, email: email.value, password: password.value });
        await session(true);
        await go("/", { replaceState: true });
      }),
    ),
  );
  name.input.focus();
}
