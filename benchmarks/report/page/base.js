// What everything else uses: which systems are shown, tooltips, the theme.

const COLOURS = 12; // that the style sheet has
const DASHES = ["", "7 3", "2 3", "9 3 2 3"];

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

// The theme that was chosen last

function setUpTheme() {
  let kept = "";
  try {
    kept = localStorage.getItem("theme") ?? "";
  } catch {} // a browser may have no storage for files
  setTheme(THEMES.includes(kept) ? kept : "");
  find("theme").addEventListener("click", () => {
    nextTheme();
    try {
      localStorage.setItem("theme", document.documentElement.dataset.theme ?? "");
    } catch {}
  });
}

setUpFilter();
setUpTips();
setUpTheme();
