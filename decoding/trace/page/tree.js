// The tree of a reranker: every text that was judged, segment by segment, and which went on.

const WIDTH = 280;
const HEIGHT = 22;

// The candidates of one prompt, level by level; each knows the candidate of the level before that it goes on from.
function levels(call, prompt) {
  let before = new Map();
  return call.selections.map((selection) => {
    const now = new Map();
    const nodes = [];
    selection.choices.forEach((node, i) => {
      if (node < 0 || call.choices[node].prompt !== prompt) return;
      let up = node;
      while (up !== null && !before.has(up)) up = call.choices[up].parent;
      const parent = up === null ? null : before.get(up);
      const entry = {
        node, parent, text: selection.texts[i], score: selection.scores[i], finished: selection.finished[i],
        kept: selection.kept.includes(i), place: selection.kept.indexOf(i), length: selection.length, best: false,
      };
      nodes.push(entry);
      now.set(node, entry);
    });
    before = now;
    return nodes;
  });
}

function drawTree() {
  const holder = find("tree-holder");
  const found = levels(call(), state.prompt);
  find("tree").hidden = !found.some((level) => level.length);
  find("tree-said").textContent = "";
  if (find("tree").hidden) return;
  const last = found.at(-1).filter((entry) => entry.kept).sort((a, b) => a.place - b.place)[0]; // of several, the best
  for (let entry = last; entry; entry = entry.parent) entry.best = true;
  const order = (a, b) => (a.parent?.y ?? 0) - (b.parent?.y ?? 0) || (b.score ?? 0) - (a.score ?? 0);
  const deepest = Math.max(...found.map((level) => level.length));
  found.forEach((level, x) => {
    level.sort(order);
    level.forEach((entry, y) => Object.assign(entry, { x, y: y * HEIGHT + 40 }));
  });
  const size = { width: found.length * WIDTH + 70, height: deepest * HEIGHT + 50 };
  const svg = draw("svg", { ...size, viewBox: `0 0 ${size.width} ${size.height}`, role: "group", "aria-label": "tree of the texts that were judged" });
  const dot = (entry) => 60 + entry.x * WIDTH;
  const start = { x: 14, y: 40 + ((found[0].length - 1) * HEIGHT) / 2 };
  const nodes = [];
  found.forEach((level, x) => {
    if (level.length) svg.append(draw("text", { class: "level", x: dot(level[0]), y: 18 }, `after ${level[0].length} tokens`));
    for (const entry of level) {
      const from = entry.parent ? { x: dot(entry.parent) + WIDTH - 66, y: entry.parent.y } : start;
      const to = { x: dot(entry) - 6, y: entry.y };
      const middle = (from.x + to.x) / 2;
      const kind = entry.best ? " best" : entry.kept ? " kept" : "";
      svg.append(draw("path", { class: `edge${kind}`, d: `M${from.x},${from.y} C${middle},${from.y} ${middle},${to.y} ${to.x},${to.y}` }));
    }
    for (const entry of level) {
      const kind = entry.best ? " kept best" : entry.kept ? " kept" : "";
      const cut = entry.parent && entry.text.startsWith(entry.parent.text) ? entry.text.slice(entry.parent.text.length) : entry.text;
      const piece = spoken(cut);
      const label = `${entry.score === null ? "" : `${show(entry.score)}  `}${piece.length > 24 ? `${piece.slice(0, 23)}…` : piece || "(ended)"}`;
      const said = `${entry.kept ? "kept" : "dropped"}${entry.score === null ? "" : `, score ${show(entry.score)}`}${entry.finished ? ", ended" : ""}: ${spoken(entry.text)}`;
      const mark = entry.finished
        ? draw("rect", { class: "dot", x: dot(entry) - 5, y: entry.y - 5, width: 10, height: 10 })
        : draw("circle", { class: "dot", cx: dot(entry), cy: entry.y, r: 5 });
      const group = draw("g", { class: `node${kind}`, "data-node": entry.node, tabindex: "-1", role: "button", "aria-label": said },
        draw("rect", { class: "box", x: dot(entry) - 10, y: entry.y - HEIGHT / 2 + 1, width: WIDTH - 58, height: HEIGHT - 2, rx: 4 }),
        mark, draw("text", { x: dot(entry) + 10, y: entry.y + 4 }, label));
      entry.group = group;
      entry.said = said;
      group.addEventListener("mouseenter", () => (find("tree-said").textContent = said));
      group.addEventListener("focus", () => (find("tree-said").textContent = said));
      group.addEventListener("click", () => open(entry));
      group.addEventListener("keydown", (event) => walk(event, entry, found));
      svg.append(group);
      nodes.push(entry);
    }
  });
  (last ?? nodes[0]).group.setAttribute("tabindex", "0");
  holder.replaceChildren(svg);
  const scored = nodes.some((entry) => entry.score !== null);
  find("tree-note").textContent =
    `A reranker continued several texts at once${scored ? " and scored them (higher is better)" : ""}. Filled: went on. Hollow: dropped. ` +
    "Blue: the text that was returned. Square: had ended. Choose one, with the mouse or Enter, to read it above.";
  mark();
}

const drawn = () => [...document.querySelectorAll("#tree .node")];

// The text that is read above; one that had ended stands in every level since, and the last of them is it.
function mark() {
  for (const node of drawn()) node.removeAttribute("aria-current");
  drawn().findLast((node) => Number(node.dataset.node) === state.last)?.setAttribute("aria-current", "true");
}

function open(entry) {
  read(state.call, entry.node, state.prompt);
  for (const node of drawn()) node.removeAttribute("aria-current");
  entry.group.setAttribute("aria-current", "true");
  find("which").value = String(rows().findIndex((row) => row.call === state.call && row.last === entry.node));
  find("reading").scrollIntoView({ block: "nearest" });
}

function walk(event, entry, found) {
  const level = found[entry.x];
  const at = level.indexOf(entry);
  const next = {
    ArrowUp: () => level[at - 1], ArrowDown: () => level[at + 1], ArrowLeft: () => entry.parent,
    ArrowRight: () => found[entry.x + 1]?.find((other) => other.parent === entry), Enter: () => open(entry), " ": () => open(entry),
  }[event.key];
  if (!next) return;
  event.preventDefault();
  const target = next();
  if (!target?.group) return;
  entry.group.setAttribute("tabindex", "-1");
  target.group.setAttribute("tabindex", "0");
  target.group.focus();
}
