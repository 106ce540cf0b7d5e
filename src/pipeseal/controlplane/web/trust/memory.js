// Which builds of a pipeline this browser saw signed, so that a server cannot take signatures off without being noticed.

const at = ({ organization, slug }) => `pipeseal-signed/${organization}/${slug}`;

/** What is remembered: { first, last, day }, the numbers of builds and the day of the last look; null without any. */
export function recall(place) {
  try {
    const kept = JSON.parse(localStorage.getItem(at(place)));
    return Number.isInteger(kept?.first) && Number.isInteger(kept?.last) ? kept : null;
  } catch {
    // Unreadable or not allowed: nothing is remembered.
    return null;
  }
}

/** Remember that a build's steps were verified here. */
export function remember(place, number) {
  const before = recall(place);
  const kept = { first: Math.min(number, before?.first ?? number), last: Math.max(number, before?.last ?? number), day: new Date().toISOString().slice(0, 10) };
  try {
    localStorage.setItem(at(place), JSON.stringify(kept));
  } catch {
    // Then nothing is kept.
  }
}

/** Remember nothing of a pipeline any more: its reader knows why signing ended. */
export function forget(place) {
  try {
    localStorage.removeItem(at(place));
  } catch {
    // Then there was nothing.
  }
}
