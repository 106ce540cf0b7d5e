// Elements from plain values. Text is always text: nothing here, or anywhere else on the page, reads markup.

/**
 * An element: `h("a", { href, class: "x", onclick: f }, "text", [more])`. Children that are null or false are left out.
 */
export function h(name, attributes, ...children) {
  return fill(document.createElement(name), attributes, children);
}

/** The same for SVG. */
export function s(name, attributes, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

function fill(element, attributes, children) {
  for (const [key, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key === "dataset") Object.assign(element.dataset, value);
    else element.setAttribute(key, value === true ? "" : value);
  }
  append(element, children);
  return element;
}

function append(element, children) {
  for (const child of children) {
    if (Array.isArray(child)) append(element, child);
    else if (child !== null && child !== undefined && child !== false) element.append(child);
  }
}

/** Put `children` in the place of what an element holds. */
export function replace(element, ...children) {
  element.replaceChildren();
  append(element, children);
}

/** Say something to people who cannot see the page, once it is worth saying. */
export function announce(text) {
  const status = document.getElementById("status");
  if (status.textContent !== text) status.textContent = text;
}

/** A time that reads well near and far: "2 min ago", with the whole of it for whoever wants it. */
export function moment(text) {
  if (!text) return h("span", { class: "muted" }, "–");
  const then = new Date(text);
  const seconds = Math.round((Date.now() - then.getTime()) / 1000);
  return h("time", { datetime: text, title: then.toLocaleString() }, ago(seconds));
}

function ago(seconds) {
  if (seconds < 0) return "soon";
  if (seconds < 45) return "just now";
  for (const [unit, size, most] of [["min", 60, 3600], ["h", 3600, 86400], ["d", 86400, 86400 * 60]])
    if (seconds < most) return `${Math.max(1, Math.round(seconds / size))} ${unit} ago`;
  return `${Math.round(seconds / 86400 / 30)} months ago`;
}

/** How long something took, or takes: "3m 12s". */
export function duration(from, to) {
  if (!from) return "";
  const seconds = Math.max(0, Math.round((new Date(to ?? Date.now()) - new Date(from)) / 1000));
  if (seconds < 60) return `${seconds}s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m ${seconds % 60}s`;
  return `${Math.floor(seconds / 3600)}h ${Math.floor((seconds % 3600) / 60)}m`;
}

/** "14.3 MB". */
export function size(bytes) {
  let value = bytes;
  for (const unit of ["bytes", "kB", "MB", "GB"]) {
    if (value < 1000 || unit === "GB") return unit === "bytes" ? `${value} bytes` : `${value.toFixed(1)} ${unit}`;
    value /= 1000;
  }
  return "";
}
