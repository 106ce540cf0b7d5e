// Markdown of annotations as elements: the part of CommonMark and its tables that reports are written in. HTML in it is
// text, addresses are checked, and nothing is loaded from elsewhere.
import { h } from "../dom.js";
import { isAllowed } from "../log/parse.js";

const MOST_DEPTH = 8;
const MOST_BLOCKS = 5000;

/**
 * The elements of a text.
 *
 * @param text Markdown.
 * @param context `link(content, address)` makes the element of a link.
 */
export function renderMarkdown(text, context) {
  const lines = text.replaceAll("\0", "�").split(/\r\n|\r|\n/).map((line) => line.replaceAll("\t", "    "));
  return blocks(lines, { ...context, left: MOST_BLOCKS, level: 1 }, 0);
}

const FENCE = /^ {0,3}(`{3,}|~{3,})\s*([^`]*)$/;
const HEADING = /^ {0,3}(#{1,6})(?:\s+(.*?))?\s*#*\s*$/;
const RULE = /^ {0,3}(?:(?:\*\s*){3,}|(?:-\s*){3,}|(?:_\s*){3,})$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^( {0,3})([-+*]|\d{1,9}[.)])( +|$)/;
const TABLE_LINE = /^ {0,3}\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$/;

function blocks(lines, context, depth) {
  const found = [];
  let at = 0;
  while (at < lines.length && context.left-- > 0) {
    const line = lines[at];
    const fence = FENCE.exec(line);
    const heading = HEADING.exec(line);
    if (line.trim() === "") at += 1;
    else if (fence) {
      const code = [];
      const close = new RegExp(`^ {0,3}\\${fence[1][0]}{${fence[1].length},}\\s*$`);
      for (at += 1; at < lines.length && !close.test(lines[at]); at++) code.push(lines[at]);
      at += 1;
      found.push(h("pre", { tabindex: "0" }, h("code", null, code.join("\n"))));
    } else if (heading) {
      // Below the heading of the page, and no level left out, whatever the text does.
      context.level = Math.min(6, heading[1].length + 1, context.level + 1);
      found.push(h(`h${context.level}`, null, inline(heading[2] ?? "", context)));
      at += 1;
    } else if (RULE.test(line)) {
      found.push(h("hr"));
      at += 1;
    } else if (QUOTE.test(line) && depth < MOST_DEPTH) {
      const inner = [];
      for (; at < lines.length && QUOTE.test(lines[at]); at++) inner.push(lines[at].replace(QUOTE, ""));
      found.push(h("blockquote", null, blocks(inner, context, depth + 1)));
    } else if (ITEM.test(line) && depth < MOST_DEPTH) at = list(lines, at, found, context, depth);
    else if (/^ {4}/.test(line)) {
      const code = [];
      for (; at < lines.length && (/^ {4}/.test(lines[at]) || lines[at].trim() === ""); at++) code.push(lines[at].slice(4));
      found.push(h("pre", { tabindex: "0" }, h("code", null, code.join("\n").trimEnd())));
    } else if (line.includes("|") && TABLE_LINE.test(lines[at + 1] ?? "")) at = table(lines, at, found, context);
    else {
      const words = [];
      do words.push(lines[at++].trimStart());
      while (at < lines.length && !starts(lines[at]));
      found.push(h("p", null, inline(words.join("\n").trimEnd(), context)));
    }
  }
  return found;
}

/** Whether a line ends the paragraph before it. */
function starts(line) {
  return line.trim() === "" || FENCE.test(line) || HEADING.test(line) || RULE.test(line) || QUOTE.test(line) || ITEM.test(line);
}

function list(lines, from, found, context, depth) {
  const first = ITEM.exec(lines[from]);
  const isOrdered = /\d/.test(first[2]);
  const mark = first[2].at(-1);
  const items = [];
  let at = from;
  while (at < lines.length) {
    const item = ITEM.exec(lines[at]);
    if (!item || item[2].at(-1) !== mark || RULE.test(lines[at])) break;
    const indent = item[1].length + item[2].length + Math.min(4, Math.max(1, item[3].length));
    const inner = [lines[at].slice(item[0].length)];
    for (at += 1; at < lines.length; at++) {
      const line = lines[at];
      if (line.trim() === "") {
        const next = lines.slice(at).find((one) => one.trim() !== "");
        if (next === undefined || !next.startsWith(" ".repeat(indent))) break;
        inner.push("");
      } else if (line.startsWith(" ".repeat(indent))) inner.push(line.slice(indent));
      else if (ITEM.test(line) || starts(line)) break;
      else inner.push(line.trimStart());
    }
    while (at < lines.length && lines[at].trim() === "" && ITEM.exec(lines.slice(at).find((one) => one.trim() !== "") ?? "")?.[2].at(-1) === mark) at += 1;
    items.push(listItem(inner, context, depth));
  }
  const start = Number.parseInt(first[2], 10);
  found.push(isOrdered ? h("ol", { start: start === 1 ? null : start }, items) : h("ul", null, items));
  return at;
}

function listItem(lines, context, depth) {
  const task = /^\[([ xX])\] /.exec(lines[0]);
  if (task) lines[0] = lines[0].slice(4);
  const inner = blocks(lines, context, depth + 1);
  // A single paragraph stands in the item as it is.
  const content = inner[0]?.tagName === "P" ? [...inner[0].childNodes, ...inner.slice(1)] : inner;
  return h("li", null, task && (task[1] === " " ? "☐ " : "☑ "), content);
}

function table(lines, from, found, context) {
  const cells = (line) => line.trim().replace(/^\||\|$/g, "").split(/(?<!\\)\|/).map((cell) => cell.trim().replaceAll("\\|", "|"));
  const heads = cells(lines[from]);
  const rows = [];
  let at = from + 2;
  for (; at < lines.length && lines[at].includes("|") && lines[at].trim() !== ""; at++) rows.push(cells(lines[at]).slice(0, heads.length));
  found.push(
    h(
      "div",
      { class: "scroll", tabindex: "0", role: "group", "aria-label": `Table of ${heads.join(", ")}`.slice(0, 100) },
      h(
        "table",
        null,
        h("thead", null, h("tr", null, heads.map((cell) => h("th", { scope: "col" }, inline(cell, context))))),
        h("tbody", null, rows.map((row) => h("tr", null, row.map((cell) => h("td", null, inline(cell, context)))))),
      ),
    ),
  );
  return at;
}

const INLINE =
  /\\([!-/:-@[-`{-~])|(`+)([^`]|[^`][\s\S]*?[^`])\2(?!`)|(!?)\[((?:[^\]\\]|\\.){0,2000})\]\(\s*<?([^\s<>()]{1,4000})>?(?:\s+"[^"]*")?\s*\)|<(https?:\/\/[^\s<>]{1,4000})>|\b(https?:\/\/[^\s<>()]{1,4000}[^\s<>().,;:!?'"])|(\*\*|__)(?=\S)([\s\S]{1,4000}?\S)\9|(~~)(?=\S)([\s\S]{1,4000}?\S)~~|(\*|(?<![\w])_)(?=[^\s*_])([^*_]{1,4000}?[^\s*_]|[^\s*_])\13(?![\w])|( {2,}|\\)\n/;

function inline(text, context, depth = 0) {
  const found = [];
  let left = text;
  while (left !== "") {
    const match = depth < MOST_DEPTH && context.left-- > 0 ? INLINE.exec(left) : null;
    if (match === null) {
      found.push(left);
      break;
    }
    if (match.index > 0) found.push(left.slice(0, match.index));
    left = left.slice(match.index + match[0].length);
    found.push(...piece(match, context, depth));
  }
  return found;
}

function piece(match, context, depth) {
  const [whole, escaped, ticks, code, bang, words, address, bracketed, bare, strong, bold, strike, struck, soft, slanted] = match;
  const more = (inner) => inline(inner, context, depth + 1);
  if (escaped !== undefined) return [escaped];
  if (ticks !== undefined) return [h("code", null, code.replaceAll("\n", " ").replace(/^ (.*[^ ].*) $/, "$1"))];
  if (address !== undefined) {
    if (!isAllowed(address)) return [whole];
    // Pictures from elsewhere would tell elsewhere who reads; they are links.
    return [context.link(bang ? h("span", null, "[image: ", words || address, "]") : h("span", null, more(words)), address)];
  }
  if (bracketed ?? bare) return isAllowed(bracketed ?? bare) ? [context.link(h("span", null, bracketed ?? bare), bracketed ?? bare)] : [whole];
  if (strong !== undefined) return [h("strong", null, more(bold))];
  if (strike !== undefined) return [h("s", null, more(struck))];
  if (soft !== undefined) return [h("em", null, more(slanted))];
  return [h("br")];
}
