// The agents that are connected, and what each does.
import { h, moment, replace } from "../dom.js";
import { ask, change, may, session } from "../api.js";
import { go } from "../main.js";
import { MODES } from "../trust/told.js";

export async function show(main, { query, signal }) {
  await session();
  document.title = "Agents · Pipeseal";
  const agents = await ask("/agents?per_page=100", { signal });
  const queue = query.get("queue");
  const shown = agents.filter((agent) => !queue || queueOf(agent) === queue);
  const queues = [...new Set(agents.map(queueOf))].sort();
  replace(
    main,
    h("h1", null, "Agents"),
    h("p", { class: "muted" }, "All of this is the server's word. What an agent believes is decided by its own settings, not here."),
    queues.length > 1 &&
      h("p", { class: "row" }, "Queue:", h("a", { href: location.pathname, "aria-current": queue ? null : "page" }, "all"), queues.map((name) => h("a", { href: `?queue=${encodeURIComponent(name)}`, "aria-current": queue === name ? "page" : null }, name))),
    shown.length === 0
      ? h("div", { class: "empty" }, h("p", null, h("strong", null, "No agent is connected.")), h("pre", { tabindex: "0" }, "pipeseal agent start"))
      : h(
          "div",
          { class: "scroll", tabindex: "0", role: "group", "aria-label": "Agents" },
          h(
            "table",
            null,
            h("thead", null, h("tr", null, ["Name", "State", "Tags", "Policy", "Version", "Host", "Last seen", ""].map((text) => h("th", { scope: "col" }, text || h("span", { class: "visually-hidden" }, "Actions"))))),
            h("tbody", null, shown.map(row)),
          ),
        ),
  );
}

function queueOf(agent) {
  return agent.meta_data.find((tag) => tag.startsWith("queue="))?.slice(6) ?? "default";
}

function row(agent) {
  const doing = agent.paused ? `paused${agent.paused_note ? `: ${agent.paused_note}` : ""}` : agent.job ? "busy" : agent.connection_state === "connected" ? "idle" : agent.connection_state;
  return h(
    "tr",
    null,
    h("td", null, h("strong", null, agent.name)),
    h("td", null, doing),
    h("td", null, agent.meta_data.join(" ")),
    h("td", null, policy(agent.policy_mode)),
    h("td", null, agent.version),
    h("td", null, agent.hostname),
    h("td", null, moment(agent.last_seen_at)),
    h("td", null, may("write_agents") && h("button", { onclick: () => toggle(agent) }, agent.paused ? "Resume" : "Pause")),
  );
}

/** What the agent told of its policy with its latest job. */
function policy(mode) {
  if (mode === "off") return h("span", { class: "problem" }, "no verification keys: runs unsigned jobs");
  return mode === null ? h("span", { class: "muted" }, "not told") : (MODES[mode] ?? "unknown");
}

async function toggle(agent) {
  await change("PUT", `/agents/${agent.id}/${agent.paused ? "resume" : "pause"}`, agent.paused ? undefined : {});
  await go(location.pathname + location.search, { replaceState: true });
}
