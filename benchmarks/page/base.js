// What everything else uses: the data, elements, which systems are shown, tooltips, the theme.

const data = JSON.parse(document.getElementById("data").textContent);
const COLOURS = 12; // that the style sheet has
const DASHES = ["", "7 3", "2 3", "9 3 2 3"];

const find = (id) => document.getElementById(id);

// Children that are strings become text, never markup.
function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children);
  return element;
}
const make = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
const draw = (tag, attributes = {}, ...children) =>
  fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

const colourOf = (system) => system % COLOURS;
const entryOf = (metric, system) => data.entries[metric][system + 1]; // the humans are first
const humanOf = (metric) => data.entries[metric][0];
const has = (entry) => entry !== undefined && "value" in entry;

// Which systems are shown

const hidden = new Set();
const listeners = []; // are called when other systems are shown
const shown = () => data.systems.map((_, i) => i).filter((i) => !hidden.has(i));

function refilter() {
  find("filtered").textContent = `${shown().length} of ${data.systems.length}`;
  for (const listen of listeners) listen();
}

function setUpFilter() {
  const boxes = [...document.querySelectorAll("[data-show]")];
  const set = (box, on) => {
    box.checked = on;
    hidden[on ? "delete" : "add"](Number(box.dataset.show));
  };
  for (const box of boxes) {
    box.addEventListener("change", () => {
      set(box, box.checked);
      refilter();
    });
  }
  for (const [id, on] of [["show-all", true], ["show-none", false]]) {
    find(id).addEventListener("click", () => {
      for (const box of boxes) set(box, on);
      refilter();
    });
  }
  const filter = find("filter");
  document.addEventListener("click", (event) => {
    if (!filter.contains(event.target)) filter.open = false;
  });
  filter.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !filter.open) return;
    filter.open = false;
    filter.querySelector("summary").focus();
    event.stopPropagation();
  });
}

// Tooltips: of whatever has data-tip, under the mouse or with the focus

function setUpTips() {
  const tip = find("tip");
  const hide = () => (tip.hidden = true);
  const show = (target) => {
    tip.textContent = target.dataset.tip;
    tip.hidden = false;
    const box = (target.querySelector(".point") ?? target).getBoundingClientRect();
    const { width, height } = tip.getBoundingClientRect();
    const left = Math.min(Math.max(8, box.left + box.width / 2 - width / 2), document.documentElement.clientWidth - width - 8);
    const above = box.top - height - 8;
    tip.style.left = `${Math.max(8, left)}px`;
    tip.style.top = `${above > 8 ? above : Math.min(box.bottom + 8, window.innerHeight - height - 8)}px`;
  };
  const follow = (event) => {
    const target = event.target.closest?.("[data-tip]");
    if (target && (event.type !== "focusin" || target.matches(":focus-visible"))) show(target);
    else hide();
  };
  document.addEventListener("mouseover", follow);
  document.addEventListener("focusin", follow);
  document.addEventListener("focusout", hide);
  document.addEventListener("scroll", hide, { passive: true, capture: true });
  document.addEventListener("keydown", (event) => event.key === "Escape" && hide());
}

// The theme: as the system has it, light, or dark

function setUpTheme() {
  const themes = { "": "as the system", light: "light", dark: "dark" };
  const button = find("theme");
  const root = document.documentElement;
  const set = (theme) => {
    if (theme) root.dataset.theme = theme;
    else delete root.dataset.theme;
    button.textContent = `Theme: ${themes[theme]}`;
  };
  let kept = "";
  try {
    kept = localStorage.getItem("theme") ?? "";
  } catch {} // a browser may have no storage for files
  set(kept in themes ? kept : "");
  button.addEventListener("click", () => {
    const names = Object.keys(themes);
    const next = names[(names.indexOf(root.dataset.theme ?? "") + 1) % names.length];
    set(next);
    try {
      localStorage.setItem("theme", next);
    } catch {}
  });
}

setUpFilter();
setUpTips();
setUpTheme();
