// The organisation: whether pipelines may be public, its members, its API tokens.
import { h, moment, replace } from "../dom.js";
import { ask, change, may, session } from "../api.js";
import { choice, field, form } from "../forms.js";
import { go } from "../main.js";
import { changes } from "./changes.js";

const ROLES = ["reader", "member", "maintainer", "owner"];
const SECTIONS = [
  ["general", "General", general],
  ["members", "Members", members],
  ["tokens", "API tokens", tokens],
  ["changes", "Changes", changes],
];
// What only owners may read.
const OWNERS = ["tokens", "changes"];

export async function show(main, { parameters, signal }) {
  const facts = await session();
  const section = parameters.section ?? "general";
  const found = SECTIONS.find(([name]) => name === section) ?? SECTIONS[0];
  document.title = `${found[1]} · Pipeseal`;
  const base = `/${facts.organization}/settings`;
  const body = await found[2](signal);
  replace(
    main,
    h("h1", null, `Settings of ${facts.organization}`),
    h(
      "nav",
      { class: "tabs", "aria-label": "Settings" },
      SECTIONS.filter(([name]) => may("write_organizations") || !OWNERS.includes(name)).map(([name, text]) =>
        h("a", { href: name === "general" ? base : `${base}/${name}`, "aria-current": name === found[0] ? "page" : null }, text),
      ),
    ),
    body,
  );
}

async function general(signal) {
  const organization = await ask("", { signal });
  const allowed = h("input", { type: "checkbox", id: "public", checked: organization.public_pipelines, disabled: !may("write_organizations") });
  const fields = h("label", { class: "choice", for: "public" }, allowed, h("span", null, "Pipelines may be made public. While this is off, those that were public are private."));
  if (!may("write_organizations")) return fields;
  return form("Save", [fields], async () => {
    await change("PATCH", "", { public_pipelines: allowed.checked });
    return "Saved";
  });
}

async function members(signal) {
  const people = await ask("/members?per_page=100", { signal });
  const mine = may("write_organizations");
  const rows = people.map((person) =>
    h(
      "tr",
      null,
      h("td", null, person.name, person.disabled && h("span", { class: "muted" }, " · switched off")),
      h("td", null, person.email),
      h("td", null, mine ? roleOf(person) : person.role),
      h("td", null, moment(person.created_at)),
      mine && h("td", null, h("button", { onclick: () => update(person, { disabled: !person.disabled }) }, person.disabled ? "Switch on" : "Switch off")),
    ),
  );
  return [
    h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "Members" }, h("table", null, h("thead", null, h("tr", null, ["Name", "Email", "Role", "Since", mine && ""].filter((text) => text !== false).map((text) => h("th", { scope: "col" }, text || h("span", { class: "visually-hidden" }, "Actions"))))), h("tbody", null, rows))),
    mine && invitation(),
  ];
}

function roleOf(person) {
  const select = h(
    "select",
    { "aria-label": `Role of ${person.name}`, onchange: () => update(person, { role: select.value }) },
    ROLES.map((role) => h("option", { value: role, selected: role === person.role }, role)),
  );
  return select;
}

async function update(person, changes) {
  try {
    await change("PATCH", `/members/${person.id}`, changes);
  } catch (error) {
    alert(error.message);
  }
  await go(location.pathname, { replaceState: true });
}

function invitation() {
  const email = field("Email", { type: "email", required: true });
  const role = choice("Role", ROLES.map((name) => [name, name]), "member");
  const made = h("div", { role: "status" });
  return h(
    "section",
    null,
    h("h2", null, "Invite somebody"),
    form("Make the link", [email, role], async () => {
      const answer = await change("POST", "/members", { email: email.value, role: role.value });
      replace(made, h("p", { class: "notice good" }, `Hand this on to ${answer.email}; it works once, for two days:`, h("br"), h("code", null, answer.link)));
    }),
    made,
  );
}

async function tokens(signal) {
  const listed = await ask("/tokens?per_page=100", { signal });
  const rows = listed.map((token) =>
    h(
      "tr",
      null,
      h("td", null, token.description),
      h("td", null, token.scopes.join(", ")),
      h("td", null, token.created_by ?? "the server"),
      h("td", null, moment(token.created_at)),
      h("td", null, h("button", { class: "danger", onclick: () => revoke(token) }, "Take back")),
    ),
  );
  const description = field("What is it for?", { required: true, maxlength: 80 });
  const facts = await session();
  const scopes = facts.scopes.map((name) => h("label", { class: "choice" }, h("input", { type: "checkbox", value: name }), name));
  const made = h("div", { role: "status" });
  const fields = h("fieldset", null, h("legend", null, "It may"), scopes);
  return [
    h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "Tokens" }, h("table", null, h("thead", null, h("tr", null, ["For", "May", "Made by", "Made", ""].map((text) => h("th", { scope: "col" }, text || h("span", { class: "visually-hidden" }, "Actions"))))), h("tbody", null, rows))),
    h(
      "section",
      null,
      h("h2", null, "Make a token"),
      form("Make the token", [description, fields], async () => {
        const chosen = [...fields.querySelectorAll("input:checked")].map((box) => box.value);
        if (chosen.length === 0) throw new Error("Choose what it may do.");
        const answer = await change("POST", "/tokens", { description: description.value, scopes: chosen });
        replace(made, h("p", { class: "notice good" }, "Copy it now, it is shown this once:", h("br"), h("code", null, answer.token)));
      }),
      made,
    ),
  ];
}

async function revoke(token) {
  if (!confirm(`Take back the token "${token.description}"? Whatever uses it stops working at once.`)) return;
  await change("DELETE", `/tokens/${token.id}`);
  await go(location.pathname, { replaceState: true });
}
