// Before anything is painted: the theme the reader chose, so that no page flashes in the other one.
"use strict";
try {
  const theme = localStorage.getItem("theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // Storage can be switched off; then the system's theme it is.
}
