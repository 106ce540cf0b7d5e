// The lines of a log as elements: groups with headings, in them blocks of lines. A block's lines are elements when the
// block is near what is looked at; of short logs all of them are, so that the browser's own search finds everything.
import { h } from "../dom.js";
import { withEmoji } from "./emoji.js";
import { artifactLink, picture } from "./embedded.js";
import { breathe, TURN_MILLISECONDS } from "./load.js";
import { dress, PLAIN } from "./style.js";
import { spent } from "./times.js";

export const BLOCK = 500;
// Logs with more lines have elements only for what is near.
export const ALL_MOUNTED = 50_000;
const MARGIN = "1500px 0px";
// The agent's own groups are closed, but for the one with what the job itself prints.
const OUTPUT = /^Running (commands?|script)\b/;

/**
 * The elements of a parser's lines, below `box`.
 *
 * @param box the element that scrolls.
 * @param parser a `LogParser`.
 * @param context for links to artifacts; see `embedded.js`.
 * @param choices which groups the reader wants open: a `GroupChoices`.
 */
export class LogLines {
  constructor(box, parser, context, choices) {
    this.box = box;
    this.parser = parser;
    this.context = context;
    this.choices = choices;
    this.gaps = new Map();
    this.sections = [];
    this.blocks = new Map();
    this.isLive = false;
    this.stamp = null;
    this.selected = [0, -1];
    this.onmount = () => {};
    this.isLarge = false;
    this.begun = 0;
    this.watcher = new IntersectionObserver((entries) => this.watched(entries), { root: box, rootMargin: MARGIN });
    this.addSection(-1, null);
  }

  /** How many lines the groups that are open hold. */
  get openLines() {
    return this.sections.reduce((sum, section) => sum + (section.isOpen ? section.end - section.start : 0), 0);
  }

  /** Bring the page in line with what the parser has. */
  update() {
    const { parser } = this;
    const dirty = parser.takeChange();
    if (dirty === Infinity && this.rows === parser.count) return;
    this.rows = parser.count;
    this.begun = performance.now();
    if (this.rows > ALL_MOUNTED) this.isLarge = true;
    while (this.sections.length - 1 < parser.groups.length) {
      const group = parser.groups[this.sections.length - 1];
      this.addSection(group.row, group);
    }
    for (let at = this.sections.length - 1; at >= 0; at--) {
      const section = this.sections[at];
      const next = this.sections[at + 1];
      const end = next ? next.start - 1 : parser.count;
      this.stretch(section, Math.max(section.start, end), dirty);
      if (section.start <= dirty && at < this.sections.length - 2) break;
    }
    this.settleGroups();
  }

  addSection(row, group) {
    const body = h("div", { class: "group-lines" });
    const section = { at: this.sections.length, start: row + 1, end: row + 1, group, body, blocks: [], isOpen: true, chosen: false };
    if (group !== null) {
      section.isOpen = false;
      body.hidden = true;
      section.time = h("span", { class: "group-time" });
      section.button = h(
        "button",
        { class: "plain group-button", type: "button", "aria-expanded": "false", onclick: () => this.toggle(section) },
        h("span", { class: "group-mark", "aria-hidden": "true" }),
        h("span", { class: group.kind === "~~~" ? "muted" : null }, withEmoji(group.title)),
      );
      section.head = h("h3", { class: "group-head", "data-n": row + 1 }, section.button, section.time);
      this.box.append(h("section", { class: "group", "aria-label": withEmoji(group.title).slice(0, 100) }, section.head, body));
    } else this.box.append(body);
    this.sections.push(section);
  }

  /** Let a group reach up to line `end`. */
  stretch(section, end, dirty) {
    const { parser } = this;
    if (section.end > end) {
      // Its last lines became those of the next group.
      while (section.blocks.length > 0 && section.blocks[section.blocks.length - 1].start >= end) this.dropBlock(section);
      const last = section.blocks[section.blocks.length - 1];
      if (last && last.end > end) this.sizeBlock(last, end);
    }
    section.end = end;
    if (section.isOpen) {
      let covered = section.start;
      let known = section.start;
      const last = section.blocks[section.blocks.length - 1];
      if (last) {
        known = Math.min(last.end, end);
        const wanted = Math.min(end, last.start + BLOCK);
        if (wanted !== last.end) this.sizeBlock(last, wanted);
        covered = last.end;
      }
      while (covered < end) {
        this.addBlock(section, covered, Math.min(end, covered + BLOCK));
        covered += BLOCK;
      }
      // What was just made is as it is.
      if (dirty < known)
        for (let at = section.blocks.length - 1; at >= 0; at--) {
          const block = section.blocks[at];
          if (block.end <= dirty) break;
          if (block.isMounted && block.start < known) this.refresh(block, dirty, Math.min(known, block.end));
        }
    }
    this.drawTime(section);
  }

  /** How long a group took; the last one, until its last line while it runs. */
  drawTime(section) {
    if (!section.time) return;
    const text = spent(this.parser, section.group.row, this.sections[section.at + 1]?.group.row ?? null);
    if (section.time.textContent !== text) section.time.textContent = text;
  }

  addBlock(section, start, end) {
    const element = h("div", { class: "block" });
    const block = { section, start, end, element, isMounted: false, isNear: undefined };
    element.style.setProperty("--lines", end - start);
    section.blocks.push(block);
    section.body.append(element);
    this.blocks.set(element, block);
    this.watcher.observe(element);
    // What comes first, and what comes slowly, is there at once; the rest when the page has time.
    if (this.isLarge && this.blocks.size > 4) return;
    if (performance.now() - this.begun < TURN_MILLISECONDS) this.mount(block);
    else this.fill();
  }

  dropBlock(section) {
    const block = section.blocks.pop();
    this.watcher.unobserve(block.element);
    this.blocks.delete(block.element);
    block.element.remove();
  }

  sizeBlock(block, end) {
    const before = block.end;
    block.end = end;
    block.element.style.setProperty("--lines", end - block.start);
    if (!block.isMounted) return;
    while (block.element.childElementCount > end - block.start) block.element.lastElementChild.remove();
    if (end > before) this.append(block, before, end);
  }

  watched(entries) {
    for (const entry of entries) {
      const block = this.blocks.get(entry.target);
      if (block === undefined) continue;
      block.isNear = entry.isIntersecting;
      if (entry.isIntersecting) this.mount(block);
    }
    this.fill();
  }

  /** Make, or with a large log take away, the elements of what is not near, a little at a time. */
  async fill() {
    if (this.isFilling) return;
    this.isFilling = true;
    for (;;) {
      let next = null;
      for (const block of this.blocks.values())
        if (this.isLarge ? block.isMounted && block.isNear === false : !block.isMounted) {
          next = block;
          break;
        }
      if (next === null || this.isClosed) break;
      if (this.isLarge) this.unmount(next);
      else this.mount(next);
      await breathe();
    }
    this.isFilling = false;
  }

  /** Make the elements of a block's lines. */
  mount(block) {
    if (block.isMounted) return;
    block.isMounted = true;
    this.append(block, block.start, block.end);
    block.element.classList.add("whole");
    this.onmount(block);
  }

  unmount(block) {
    if (!block.isMounted) return;
    block.isMounted = false;
    block.element.replaceChildren();
    block.element.classList.remove("whole");
  }

  append(block, start, end) {
    const lines = document.createDocumentFragment();
    for (let row = start; row < end; row++) lines.append(this.line(row));
    block.element.append(lines);
  }

  refresh(block, from, to) {
    for (let row = Math.max(from, block.start); row < to; row++)
      block.element.children[row - block.start].replaceWith(this.line(row));
    this.onmount(block);
  }

  /** The element of a line. */
  line(row) {
    const content = this.parser.line(row);
    const element = document.createElement("div");
    element.className = row >= this.selected[0] && row <= this.selected[1] ? "l on" : "l";
    element.setAttribute("data-n", row + 1);
    if (this.stamp !== null) element.setAttribute("data-t", this.stamp(row));
    if (this.gaps.size > 0 && this.gaps.has(row)) drawGap(element, content, this.gaps.get(row), this.context);
    else if (content === null) element.hidden = true;
    else if (typeof content === "string") element.textContent = content;
    else drawRuns(element, content, this.context);
    return element;
  }

  /** The element of a line, if it has one now. */
  elementOf(row) {
    const block = this.blockOf(row);
    return block?.isMounted ? block.element.children[row - block.start] : null;
  }

  sectionOf(row) {
    let low = 0;
    let high = this.sections.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.sections[middle].start - 1 <= row) low = middle;
      else high = middle - 1;
    }
    return this.sections[low];
  }

  blockOf(row) {
    const section = this.sectionOf(row);
    const found = section.blocks[Math.floor((row - section.start) / BLOCK)];
    return row >= section.start && found && row < found.end ? found : null;
  }

  /** Open whatever hides a line, and make its element; returns it. */
  reveal(row) {
    const section = this.sectionOf(row);
    if (row === section.start - 1) return section.head;
    if (!section.isOpen) this.open(section, true);
    const block = this.blockOf(row);
    if (block === null) return null;
    this.mount(block);
    return block.element.children[row - block.start];
  }

  // --- groups ------------------------------------------------------------------------------------------------------

  /** Open or close a group because the reader wants it so. */
  toggle(section, wanted = !section.isOpen) {
    this.choices.set(section.at, wanted);
    this.open(section, wanted);
  }

  /** Open or close a group, and leave it so. */
  open(section, wanted) {
    section.chosen = true;
    this.setOpen(section, wanted);
  }

  /** Open or close all of them. */
  toggleAll() {
    const groups = this.sections.filter((section) => section.group !== null);
    const wanted = !groups.some((section) => section.isOpen);
    this.choices.setAll(wanted);
    for (const section of groups) this.open(section, wanted);
    return wanted;
  }

  setOpen(section, wanted) {
    if (section.group === null || section.isOpen === wanted) return;
    section.isOpen = wanted;
    section.body.hidden = !wanted;
    section.button.setAttribute("aria-expanded", String(wanted));
    this.begun = performance.now();
    if (wanted) this.stretch(section, section.end, Infinity);
    else while (section.blocks.length > 0) this.dropBlock(section);
  }

  /** Groups that the reader left alone are as the log asks; where it asks for none, the last one is open. */
  settleGroups() {
    const groups = this.sections.slice(1);
    const last = groups[groups.length - 1];
    const hasOpen = groups.some(({ group }) => group.kind === "+++");
    let lastPlain = null;
    for (const section of groups) if (section.group.kind === "---") lastPlain = section;
    for (const section of groups) {
      if (section.chosen) continue;
      const { group } = section;
      const said = this.choices.of(section.at);
      if (said !== undefined) {
        this.open(section, said);
        continue;
      }
      const isOutput = group.kind === "~~~" && OUTPUT.test(group.title);
      const isLast = (this.isLive && section === last) || (!hasOpen && section === lastPlain);
      this.setOpen(section, group.opened || isOutput || isLast);
    }
  }

  /** Draw what is there anew, because lines look different now. */
  redraw() {
    for (const block of this.blocks.values()) {
      if (!block.isMounted) continue;
      this.unmount(block);
      this.mount(block);
    }
  }

  /** Draw parts that never came as such; see `gaps.js`. */
  drawGaps(gaps) {
    if (gaps.size === 0) return;
    this.gaps = gaps;
    this.redraw();
  }

  /** Mark lines `from` to `to`; none, when `to` is less. */
  select(from, to) {
    const [oldFrom, oldTo] = this.selected;
    this.selected = [from, to];
    for (const section of this.sections) section.head?.classList.toggle("on", section.start - 1 >= from && section.start - 1 <= to);
    for (const block of this.blocks.values()) {
      if (!block.isMounted) continue;
      for (let row = Math.max(oldFrom, block.start); row <= Math.min(oldTo, block.end - 1); row++)
        block.element.children[row - block.start].classList.remove("on");
      for (let row = Math.max(from, block.start); row <= Math.min(to, block.end - 1); row++)
        block.element.children[row - block.start].classList.add("on");
    }
  }

  /** Let go of everything. */
  close() {
    this.isClosed = true;
    this.watcher.disconnect();
  }
}

/** A line of a gap: what fills it up has no place on the page, and is neither copied nor read out. */
function drawGap(element, content, { isNotice, blanks }, context) {
  if (isNotice) element.classList.add("gap");
  const line = typeof content === "string" ? { text: content, runs: [] } : (content ?? { text: "", runs: [] });
  if (blanks > 0) element.append(h("span", { class: "gap-blanks", hidden: true }, line.text.slice(0, blanks)));
  const left = line.runs.map(([start, end, style]) => [Math.max(0, start - blanks), end - blanks, style]);
  drawRuns(element, { text: line.text.slice(blanks), runs: left.filter(([, end]) => end > 0) }, context);
}

function drawRuns(element, { text, runs }, context) {
  let at = 0;
  for (const [start, end, style] of runs) {
    if (start > at) element.append(text.slice(at, start));
    element.append(drawRun(text.slice(start, end), style, context));
    at = end;
  }
  if (at < text.length) element.append(text.slice(at));
}

function drawRun(text, style, context) {
  if (style === PLAIN) return text;
  if (style.image !== undefined || style.data !== undefined) return picture(text, style, context);
  const span = document.createElement("span");
  dress(span, style);
  span.textContent = text;
  return style.address === undefined ? span : artifactLink(span, style.address, context);
}
