// What the pages' scripts stand on: the data, elements, the theme. The benchmarks' report has this file too.

const data = JSON.parse(document.getElementById("data").textContent);
const find = (id) => document.getElementById(id);

// Children that are strings become text, never markup; null is no child.
function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}
const make = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
const draw = (tag, attributes = {}, ...children) =>
  fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

// The theme: as the system has it (""), light, or dark

const THEMES = ["", "light", "dark"];

function setTheme(theme) {
  const root = document.documentElement;
  if (theme) root.dataset.theme = theme;
  else delete root.dataset.theme;
  find("theme").textContent = `Theme: ${theme || "as the system"}`;
}

function nextTheme() {
  setTheme(THEMES[(THEMES.indexOf(document.documentElement.dataset.theme ?? "") + 1) % THEMES.length]);
}
