// What readers choose: kept for all logs, or in the address, so that whoever follows a link sees the same.

/** A choice that is kept. */
export function kept(name, otherwise) {
  try {
    return localStorage.getItem(`log-${name}`) ?? otherwise;
  } catch {
    return otherwise;
  }
}

/** Keep a choice. */
export function keep(name, value) {
  try {
    localStorage.setItem(`log-${name}`, value);
  } catch {
    // Kept for this page alone, then.
  }
}

/** A choice in the address. */
export function inAddress(name) {
  return new URLSearchParams(location.search).get(name) ?? "";
}

/** Put a choice into the address; an empty one is taken out. */
export function putInAddress(name, value) {
  const query = new URLSearchParams(location.search);
  if (value === "") query.delete(name);
  else query.set(name, value);
  // Blanks stay what they are to those who read addresses.
  const text = query.size > 0 ? `?${query}` : "";
  history.replaceState(null, "", location.pathname + text + location.hash);
}

/**
 * Which groups of a log are open, as a reader chose: "all" or "none", then those that are not so, as in "none+3" or
 * "-2+5". Groups are counted from 1.
 */
export class GroupChoices {
  constructor() {
    const [, all, some] = /^(all|none)?((?:[ +-]\d{1,5}){0,200})$/.exec(inAddress("groups")) ?? [null, "", ""];
    this.all = all ?? "";
    // A plus sign in an address is a blank to those who do not write it as one.
    this.some = new Map([...some.matchAll(/([ +-])(\d+)/g)].map(([, sign, number]) => [Number(number), sign !== "-"]));
  }

  /** Whether a group is to be open; undefined when the reader did not say. */
  of(number) {
    return this.some.get(number) ?? (this.all === "" ? undefined : this.all === "all");
  }

  set(number, isOpen) {
    this.some.set(number, isOpen);
    this.tell();
  }

  setAll(isOpen) {
    this.all = isOpen ? "all" : "none";
    this.some.clear();
    this.tell();
  }

  tell() {
    const some = [...this.some].slice(-200).map(([number, isOpen]) => `${isOpen ? "+" : "-"}${number}`);
    putInAddress("groups", this.all + some.join(""));
  }
}
