// The log of a job: lines, groups, times, links to lines, search, following.
import { announce, h, replace, size } from "../dom.js";
import { onKey } from "../frame.js";
import { LogLines } from "./lines.js";
import { loadLog, MOST_BYTES } from "./load.js";
import { LogParser } from "./parse.js";
import { LogSearch } from "./search.js";

const LARGE_BYTES = 8 << 20;
// Browsers draw nothing that is higher than 2^25 pixels, and give each line 20 of them.
const MOST_LINES = 1_500_000;
const NEAR_END = 60;
const TELL_MILLISECONDS = 10_000;
const TIMES = [
  ["off", "Times: off"],
  ["start", "Times: since start"],
  ["before", "Times: since the line before"],
  ["local", "Times: local"],
  ["utc", "Times: UTC"],
];

function kept(name, otherwise) {
  try {
    return localStorage.getItem(`log-${name}`) ?? otherwise;
  } catch {
    return otherwise;
  }
}

function keep(name, value) {
  try {
    localStorage.setItem(`log-${name}`, value);
  } catch {
    // Kept for this page alone, then.
  }
}

/**
 * Draw the log of a job into `element`.
 *
 * @param job as the server shows it.
 * @param options `signal`: when the reader leaves; `findArtifact(path)`: the build's artifact of that path.
 */
export function drawLog(element, job, { signal, findArtifact }) {
  return new LogView(element, job, signal, findArtifact);
}

class LogView {
  constructor(element, job, signal, findArtifact) {
    this.job = job;
    this.signal = signal;
    this.isFollowing = !job.finished_at;
    this.unseen = 0;
    this.told = 0;
    this.parser = new LogParser();
    this.box = h("div", { class: "log-box", tabindex: "0", role: "region", "aria-label": "Log" });
    this.lines = new LogLines(this.box, this.parser, { findArtifact });
    this.lines.isLive = !job.finished_at;
    this.lines.isLarge = (job.log_bytes ?? 0) > LARGE_BYTES;
    this.search = new LogSearch(this.lines, () => this.tellFound());
    this.lines.onmount = () => this.search.mark();
    this.problem = h("p", { class: "notice bad", role: "alert", hidden: true });
    this.note = h("div", { class: "log-note" });
    this.pill = h("button", { class: "log-pill primary", type: "button", hidden: true, onclick: () => this.goToEnd() });
    this.root = h("div", { class: "log" }, this.bar(), this.problem, this.note, h("div", { class: "log-frame" }, this.box, this.pill));
    replace(element, this.root);
    this.box.addEventListener("scroll", () => this.scrolled(), { passive: true });
    this.box.addEventListener("click", (event) => this.clicked(event));
    this.setWrap(kept("wrap", matchMedia("(max-width: 40rem)").matches ? "yes" : "no") === "yes");
    this.setTimes(kept("times", "off"));
    this.keys();
    signal.addEventListener("abort", () => {
      this.lines.close();
      delete document.body.dataset.full;
      CSS.highlights?.clear();
    });
    this.wanted = readHash();
    if (this.wanted) this.isFollowing = false;
    this.root.dataset.state = "loading";
    this.load(0, MOST_BYTES);
  }

  // --- what is above the lines -------------------------------------------------------------------------------------

  bar() {
    const { job } = this;
    const raw = new URL(job.raw_log_url).pathname;
    const name = `${(job.label ?? "job").replace(/[^\w.-]+/g, "-").slice(0, 60)}-${job.id.slice(-8)}.log`;
    this.words = h("input", {
      type: "search",
      placeholder: "Search this log",
      "aria-label": "Search this log",
      "aria-keyshortcuts": "s /",
      oninput: () => this.searchSoon(),
      onkeydown: (event) => {
        if (event.key === "Enter") this.step(event.shiftKey ? -1 : 1);
        else if (event.key === "Escape") this.closeSearch();
        else return;
        event.preventDefault();
      },
    });
    this.exact = h("button", { type: "button", "aria-pressed": "false", title: "Match upper and lower case", onclick: () => this.toggleExact() }, "aA");
    this.found = h("span", { class: "log-found muted", role: "status" });
    this.wrap = h("input", { type: "checkbox", onchange: () => this.setWrap(this.wrap.checked) });
    this.times = h(
      "select",
      { "aria-label": "Times", onchange: () => this.setTimes(this.times.value) },
      TIMES.map(([value, text]) => h("option", { value }, text)),
    );
    return h(
      "div",
      { class: "log-bar" },
      h("a", { class: "button", href: raw }, "Raw"),
      h("a", { class: "button", href: raw, download: name }, "Download"),
      h("label", { class: "choice" }, this.wrap, "Wrap"),
      this.times,
      h("button", { type: "button", "aria-keyshortcuts": "g", onclick: () => this.toggleGroups() }, "Groups"),
      h("button", { type: "button", "aria-keyshortcuts": "f", onclick: () => this.goToFailure(1) }, "Next error"),
      h("button", { type: "button", "aria-keyshortcuts": "Shift+G", onclick: () => this.goToEnd() }, "End"),
      h("button", { type: "button", "aria-keyshortcuts": "z", onclick: () => this.toggleFull() }, "Full screen"),
      h(
        "div",
        { class: "log-search", role: "search", "aria-label": "Log" },
        this.words,
        this.exact,
        h("button", { type: "button", "aria-label": "Hit before", "aria-keyshortcuts": "Shift+N", onclick: () => this.step(-1) }, "↑"),
        h("button", { type: "button", "aria-label": "Next hit", "aria-keyshortcuts": "n", onclick: () => this.step(1) }, "↓"),
        this.found,
      ),
    );
  }

  keys() {
    const focus = () => {
      this.words.focus();
      this.words.select();
    };
    onKey("s", "search this log", focus);
    onKey("/", "search this log", focus);
    onKey("n", "next hit", () => this.step(1));
    onKey("N", "hit before", () => this.step(-1));
    onKey("f", "next line that tells of an error", () => this.goToFailure(1));
    onKey("F", "line before that tells of an error", () => this.goToFailure(-1));
    onKey("g", "open or close all groups", () => this.toggleGroups());
    onKey("t", "other times", () => {
      const at = TIMES.findIndex(([value]) => value === this.times.value);
      this.setTimes(TIMES[(at + 1) % TIMES.length][0]);
      announce(this.times.selectedOptions[0].textContent);
    });
    onKey("w", "wrap long lines", () => this.setWrap(!this.wrap.checked));
    onKey("z", "full screen", () => this.toggleFull());
    onKey("y", "copy a link to the lines that are marked", () => this.copyLink());
    onKey("Home", "start of the log", () => {
      this.isFollowing = false;
      this.box.scrollTop = 0;
    });
    onKey("End", "end of the log, and follow it", () => this.goToEnd());
    onKey("G", "end of the log, and follow it", () => this.goToEnd());
    onKey("Escape", "no lines marked, no full screen", () => {
      delete document.body.dataset.full;
      this.select(-1, -1);
    });
    // The browser's own search finds what is on the page; of a large log that is not all of it.
    document.addEventListener(
      "keydown",
      (event) => {
        if (!(event.ctrlKey || event.metaKey) || event.key !== "f" || !this.lines.isLarge) return;
        if (document.activeElement === this.words) return;
        event.preventDefault();
        focus();
        replace(this.found, "This searches all lines. Once more for the browser's own search, which sees some.");
      },
      { signal: this.signal },
    );
  }

  setWrap(wanted) {
    this.wrap.checked = wanted;
    this.box.classList.toggle("wrap", wanted);
    keep("wrap", wanted ? "yes" : "no");
  }

  setTimes(mode) {
    this.times.value = TIMES.some(([value]) => value === mode) ? mode : "off";
    keep("times", this.times.value);
    this.lines.stamp = stamper(this.times.value, this.parser);
    this.box.classList.toggle("timed", this.lines.stamp !== null);
    this.lines.redraw();
  }

  toggleGroups() {
    announce(this.lines.toggleAll() ? "All groups open" : "All groups closed");
  }

  toggleFull() {
    if (document.body.dataset.full === undefined) document.body.dataset.full = "";
    else delete document.body.dataset.full;
  }

  // --- loading -----------------------------------------------------------------------------------------------------

  async load(start, most) {
    const { job, signal } = this;
    try {
      const read = await loadLog(job, {
        signal,
        start,
        most,
        take: (bytes) => {
          const isFirst = this.parser.bytes === 0;
          this.parser.feed(bytes);
          if (isFirst) this.draw();
          else this.drawSoon();
          return this.parser.count < MOST_LINES;
        },
        onproblem: (error) => this.tellProblem(error),
      });
      if (read.ended) this.parser.end();
      this.draw();
      this.root.dataset.state = "loaded";
      if (read.ended) {
        this.lines.isLive = false;
        this.lines.settleGroups();
        if (this.parser.count === 0) this.tellEmpty();
      } else this.tellRest(read);
      this.goToWanted(true);
      this.search.go();
    } catch (error) {
      if (signal.aborted) return;
      this.root.dataset.state = "failed";
      this.tellProblem(error, () => this.load(this.parser.bytes, most));
    }
  }

  drawSoon() {
    if (this.isDrawing) return;
    this.isDrawing = true;
    // A page that nobody sees gets no frames.
    const later = document.hidden ? (act) => setTimeout(act, 200) : requestAnimationFrame;
    later(() => {
      this.isDrawing = false;
      if (!this.signal.aborted) this.draw();
    });
  }

  draw() {
    const before = this.lines.rows ?? 0;
    this.lines.update();
    const more = this.parser.count - before;
    if (this.isFollowing) this.scrollToEnd();
    else if (more > 0 && this.lines.isLive) {
      this.unseen += more;
      replace(this.pill, `${this.unseen.toLocaleString("en")} new ${this.unseen === 1 ? "line" : "lines"}: go to the end (G)`);
      this.pill.hidden = false;
      const now = performance.now();
      if (now - this.told > TELL_MILLISECONDS) {
        this.told = now;
        announce(`${this.unseen} new lines`);
      }
    }
    this.goToWanted(false);
    if (more > 0 && this.search.isDone) this.search.go();
  }

  tellProblem(error, again) {
    this.problem.hidden = error === null;
    if (error === null) return;
    const so = this.parser.count > 0 ? `What is here stays; the rest from byte ${this.parser.bytes.toLocaleString("en")} on is missing. ` : "";
    replace(this.problem, `The log stopped coming: ${error.message} ${so}`, again ? h("button", { type: "button", onclick: () => (this.tellProblem(null), again()) }, "Try again") : "Trying again.");
  }

  tellEmpty() {
    const { job } = this;
    replace(this.note, h("p", { class: "empty" }, job.finished_at ? `No output.${job.exit_status === null || job.exit_status === undefined ? "" : ` Exit status ${job.exit_status}, the server says.`}` : "No output yet."));
  }

  /** There is more than the page takes by itself. */
  tellRest(read) {
    const button = h(
      "button",
      {
        type: "button",
        onclick: () => {
          replace(this.note);
          this.load(read.bytes, read.bytes + MOST_BYTES);
        },
      },
      "Load more of it",
    );
    replace(this.note, h("p", { class: "notice" }, `These are the first ${size(read.bytes)} of ${size(read.total)}. What follows is not shown. `, button, " Raw and Download have all of it."));
  }

  // --- following ---------------------------------------------------------------------------------------------------

  scrolled() {
    const { box } = this;
    const left = box.scrollHeight - box.scrollTop - box.clientHeight;
    // Up is the reader; down to the end is the reader who wants to follow.
    if (left > NEAR_END && box.scrollTop < (this.lastTop ?? 0) - 1) this.isFollowing = false;
    else if (left <= NEAR_END && this.lines.isLive) this.atEnd();
    this.lastTop = box.scrollTop;
  }

  atEnd() {
    this.isFollowing = this.lines.isLive;
    this.unseen = 0;
    this.pill.hidden = true;
  }

  scrollToEnd() {
    this.box.scrollTop = this.box.scrollHeight;
    this.lastTop = this.box.scrollTop;
  }

  goToEnd() {
    if (this.parser.count > 0) this.lines.reveal(this.parser.count - 1);
    this.atEnd();
    this.scrollToEnd();
    // On a small screen the end of the box may be below the end of the window.
    this.box.scrollIntoView({ block: "end" });
    // Lines that had no elements get them now, and may be taller than was thought.
    requestAnimationFrame(() => this.scrollToEnd());
  }

  // --- lines -------------------------------------------------------------------------------------------------------

  clicked(event) {
    const line = event.target.closest("[data-n]");
    if (!line || event.target.closest("a, button")) return;
    if (event.clientX - line.getBoundingClientRect().left > Number.parseFloat(getComputedStyle(line).getPropertyValue("--gutter-pixels"))) return;
    const row = Number(line.dataset.n) - 1;
    const [from, to] = this.lines.selected;
    if (event.shiftKey && to >= 0) this.select(Math.min(from, row), Math.max(to, row));
    else this.select(row, row);
    event.preventDefault();
  }

  /** Mark lines, and let the address say so. */
  select(from, to) {
    this.lines.select(from, to);
    const hash = to < 0 || to < from ? "" : from === to ? `#L${from + 1}` : `#L${from + 1}-L${to + 1}`;
    history.replaceState(null, "", location.pathname + location.search + hash);
  }

  async copyLink() {
    await navigator.clipboard.writeText(location.href);
    announce("The link is copied");
  }

  /** Go to the lines of the address once they are there. */
  goToWanted(isWhole) {
    if (!this.wanted) return;
    const [from, to] = this.wanted;
    if (this.parser.count <= to && !isWhole) return;
    this.wanted = null;
    if (from >= this.parser.count) {
      replace(this.note, h("p", { class: "notice" }, `The link is to line ${from + 1}; this log has ${this.parser.count.toLocaleString("en")} lines.`));
      return;
    }
    this.show(from);
    this.select(from, Math.min(to, this.parser.count - 1));
  }

  show(row) {
    this.isFollowing = false;
    const element = this.lines.reveal(row);
    element?.scrollIntoView({ block: "center" });
    requestAnimationFrame(() => this.lines.reveal(row)?.scrollIntoView({ block: "center" }));
  }

  async goToFailure(by) {
    const [from] = this.lines.selected;
    const row = await this.search.failure(this.lines.selected[1] < 0 ? (by > 0 ? -1 : this.parser.count) : from, by);
    if (row < 0) {
      announce("No further line tells of an error");
      return;
    }
    this.show(row);
    this.select(row, row);
  }

  // --- search ------------------------------------------------------------------------------------------------------

  searchSoon() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.searchNow(), 120);
  }

  async searchNow() {
    const words = this.words.value;
    await this.search.search(words, { exact: this.exact.getAttribute("aria-pressed") === "true", isPattern: false });
    this.tellFound();
    if (this.search.count > 0) this.step(1);
  }

  toggleExact() {
    this.exact.setAttribute("aria-pressed", String(this.exact.getAttribute("aria-pressed") !== "true"));
    this.searchNow();
  }

  step(by) {
    const element = this.search.step(by);
    if (!element) return;
    this.isFollowing = false;
    const row = this.search.rows[this.search.current];
    element.scrollIntoView({ block: "center" });
    requestAnimationFrame(() => {
      this.lines.reveal(row)?.scrollIntoView({ block: "center" });
      this.search.mark();
    });
    this.tellFound();
  }

  closeSearch() {
    this.words.value = "";
    this.search.clear();
    this.tellFound();
    this.box.focus();
  }

  tellFound() {
    const { search } = this;
    if (search.words === "") return replace(this.found);
    const lines = this.parser.count.toLocaleString("en");
    const where = search.isDone ? `all ${lines} lines searched` : `${search.searched.toLocaleString("en")} of ${lines} lines searched`;
    const at = search.current < 0 ? "" : `${(search.current + 1).toLocaleString("en")} of `;
    return replace(this.found, search.count === 0 ? `Nothing found, ${where}` : `${at}${search.count.toLocaleString("en")}, ${where}`);
  }
}

/** The lines that the address names, from 0; null when it names none. */
function readHash() {
  const found = /^#L(\d{1,9})(?:-L?(\d{1,9}))?/.exec(location.hash);
  if (!found) return null;
  const from = Math.max(0, Number(found[1]) - 1);
  return [from, Math.max(from, Number(found[2] ?? found[1]) - 1)];
}

/** What writes the time of a line; null for none. */
function stamper(mode, parser) {
  if (mode === "off") return null;
  return (time, row) => {
    if (Number.isNaN(time) || !Number.isFinite(time)) return "";
    if (mode === "start") return seconds(time - parser.firstTime);
    if (mode === "before") return row === 0 || Number.isNaN(parser.time(row - 1)) ? "" : `+${seconds(time - parser.time(row - 1))}`;
    const moment = new Date(time);
    if (Number.isNaN(moment.getTime())) return "";
    if (mode === "utc") return moment.toISOString().slice(11, 23);
    const two = (value) => String(value).padStart(2, "0");
    return `${two(moment.getHours())}:${two(moment.getMinutes())}:${two(moment.getSeconds())}.${String(moment.getMilliseconds()).padStart(3, "0")}`;
  };
}

function seconds(milliseconds) {
  const all = milliseconds / 1000;
  return all < 60 ? `${all.toFixed(1)}s` : `${Math.floor(all / 60)}m ${(all % 60).toFixed(1).padStart(4, "0")}s`;
}
