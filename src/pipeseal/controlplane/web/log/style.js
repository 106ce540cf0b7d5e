// Styles of text in a log: what SGR sequences ask for, and how it looks in light and dark. # ECMA-48 8.3.117

const styles = new Map();

/** One object for each style, so that styles are compared by identity. */
function intern(members) {
  const key = JSON.stringify(members);
  let style = styles.get(key);
  if (style === undefined) {
    style = Object.freeze(members);
    // What a log asks for in full colour has no end; what is forgotten is made anew.
    if (styles.size > 20000) styles.clear();
    styles.set(key, style);
  }
  return style;
}

export const PLAIN = intern({});
// What stands for a character that does not show.
export const TOKEN = intern({ token: true });

/** The same style as a link. */
export function linkStyle(style, address) {
  return intern({ ...style, address });
}

/** A picture, at an address or in base64; it is looked at when the reader asks for it. */
export function imageStyle(image) {
  return image.data === undefined ? intern({ image: image.address }) : Object.freeze({ data: image.data });
}

/**
 * A style after a sequence of SGR parameters. Colours are 0 to 15 (the theme's), or "#rrggbb".
 */
export function sgr(style, text) {
  let next = { ...style };
  const groups = text.split(";").map((part) => part.split(":").map((one) => Number.parseInt(one, 10) || 0));
  for (let at = 0; at < groups.length; at++) {
    const [code, ...sub] = groups[at];
    if (code === 0) next = {};
    else if (code === 38 || code === 48) {
      let given = sub;
      if (sub.length === 0) {
        const kind = groups[at + 1]?.[0];
        const count = kind === 5 ? 2 : kind === 2 ? 4 : 1;
        given = groups.slice(at + 1, at + 1 + count).map((one) => one[0]);
        at += count;
      } else if (sub[0] === 2 && sub.length > 4) given = [2, ...sub.slice(2)]; // 2 : colour space : r : g : b
      const color = readColor(given);
      if (color !== undefined) next[code === 38 ? "fg" : "bg"] = color;
    } else applyCode(next, code, sub);
  }
  return intern(sorted(next));
}

// In one order, so that the same style is one object however it came to be.
function sorted(style) {
  const ordered = {};
  for (const name of ["bold", "dim", "italic", "underline", "strike", "inverse", "fg", "bg"])
    if (style[name] !== undefined && style[name] !== false) ordered[name] = style[name];
  return ordered;
}

const ON = { 1: "bold", 2: "dim", 3: "italic", 7: "inverse", 9: "strike" };
const OFF = { 22: ["bold", "dim"], 23: ["italic"], 24: ["underline"], 27: ["inverse"], 29: ["strike"], 39: ["fg"], 49: ["bg"] };

function applyCode(style, code, sub) {
  if (code === 4) style.underline = sub[0] === 0 ? undefined : true;
  else if (code === 21) style.underline = true;
  else if (code in ON) style[ON[code]] = true;
  else if (code in OFF) for (const name of OFF[code]) delete style[name];
  else if (code >= 30 && code <= 37) style.fg = code - 30;
  else if (code >= 40 && code <= 47) style.bg = code - 40;
  else if (code >= 90 && code <= 97) style.fg = code - 82;
  else if (code >= 100 && code <= 107) style.bg = code - 92;
}

function readColor([kind, ...values]) {
  if (kind === 5) return indexed(values[0]);
  if (kind === 2 && values.length >= 3) return hex(values.slice(0, 3));
  return undefined;
}

/** A colour of the table of 256: the theme's 16, a cube, greys. */
function indexed(number) {
  if (!(number >= 0 && number <= 255)) return undefined;
  if (number < 16) return number;
  if (number >= 232) return hex(Array(3).fill(8 + (number - 232) * 10));
  const level = (step) => (step === 0 ? 0 : 55 + step * 40);
  const inCube = number - 16;
  return hex([level(Math.floor(inCube / 36)), level(Math.floor(inCube / 6) % 6), level(inCube % 6)]);
}

function hex(values) {
  return `#${values.map((value) => Math.max(0, Math.min(255, value)).toString(16).padStart(2, "0")).join("")}`;
}

// --- looks --------------------------------------------------------------------------------------------------------

const GROUNDS = { light: [255, 255, 255], dark: [13, 17, 23] };
// How much of a background's colour is taken: little enough for every text to be readable on it.
const TINT = { light: 0.13, dark: 0.22 };
const WANTED = 4.6;

function parts(color) {
  return [1, 3, 5].map((at) => Number.parseInt(color.slice(at, at + 2), 16));
}

function mix(color, other, share) {
  return color.map((value, at) => Math.round(value * share + other[at] * (1 - share)));
}

/** # https://www.w3.org/TR/WCAG22/#dfn-relative-luminance */
function luminance(color) {
  const [red, green, blue] = color.map((value) => {
    const share = value / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

/** How well one colour can be read on another: 1 to 21. */
export function contrast(one, other) {
  const [low, high] = [luminance(one), luminance(other)].sort((a, b) => a - b);
  return (high + 0.05) / (low + 0.05);
}

/** A background in a theme. */
export function tinted(color, theme) {
  return hex(mix(parts(color), GROUNDS[theme], TINT[theme]));
}

/** A text colour in a theme, as near to `color` as can be read on `ground` (and on the theme's own ground). */
export function readable(color, theme, ground = hex(GROUNDS[theme])) {
  const end = theme === "light" ? [0, 0, 0] : [255, 255, 255];
  const on = parts(ground);
  for (let share = 1; share > 0; share -= 0.1) {
    const tried = mix(parts(color), end, share);
    if (contrast(tried, on) >= WANTED) return hex(tried);
  }
  return hex(end);
}

/** Let an element look like a style. Colours of the theme are classes, others properties for both themes. */
export function dress(element, style) {
  const { classList } = element;
  for (const name of ["bold", "dim", "italic", "underline", "strike", "token"]) if (style[name]) classList.add(name);
  let { fg, bg } = style;
  if (style.inverse) {
    // The theme's own two colours, where one of the colours is not said.
    if (fg === undefined) {
      classList.add("inverse");
      return;
    }
    [fg, bg] = [bg, fg];
  }
  if (typeof bg === "number") classList.add(`bg${bg}`);
  if (typeof bg === "string" && bg.startsWith("#")) {
    classList.add("bgx");
    for (const theme of ["light", "dark"]) element.style.setProperty(`--bg-${theme}`, tinted(bg, theme));
  }
  if (typeof fg === "number") classList.add(`fg${fg}`);
  if (typeof fg === "string" && fg.startsWith("#")) {
    classList.add("fgx");
    for (const theme of ["light", "dark"])
      element.style.setProperty(`--fg-${theme}`, readable(fg, theme, lightest(bg, theme)));
  }
}

// The ground of a text: of the tints of log.css the one that is hardest to read on.
function lightest(bg, theme) {
  if (typeof bg === "string" && bg.startsWith("#")) return tinted(bg, theme);
  if (typeof bg === "number") return theme === "light" ? "#dcddde" : "#43484e";
  return undefined;
}
