// Names of what is not seen in a text: controls, marks that turn text around, characters that take no room.

/**
 * Controls but for tabs and line feeds; what turns text around; soft hyphens, joiners, fillers, variation selectors, tags.
 * # Unicode 16, DerivedCoreProperties, Default_Ignorable_Code_Point
 */
export const UNSEEN =
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8]|\udb40[\udc00-\udfff]/g;
// # ECMA-48 5.2
const CONTROLS = "NUL SOH STX ETX EOT ENQ ACK BEL BS HT LF VT FF CR SO SI DLE DC1 DC2 DC3 DC4 NAK SYN ETB CAN EM SUB ESC FS GS RS US".split(" ");
// Of a sequence that is shown.
const MOST = 200;

/** A character by its number: "[U+202E]". */
export function nameOf(code) {
  return `[U+${code.toString(16).toUpperCase().padStart(4, "0")}]`;
}

/** A sequence as text that is seen, as in "<ESC>[31m"; of long ones the beginning. */
export function shownAs(sequence) {
  let shown = "";
  let length = 0;
  for (const character of sequence) {
    if (++length > MOST) return `${shown}\u2026`;
    const code = character.codePointAt(0);
    if (code < CONTROLS.length) shown += `<${CONTROLS[code]}>`;
    else if (code === 0x7f) shown += "<DEL>";
    else shown += character.search(UNSEEN) < 0 ? character : nameOf(code);
  }
  return shown;
}
