// What is there, and a first look at it.

const rows = () =>
  data.calls.flatMap((call, which) =>
    call.rows.map((last, i) => ({ call: which, last, prompt: last === null ? Math.min(i, call.prompts.length - 1) : call.choices[last].prompt, number: i })),
  );

function choose(row) {
  read(row.call, row.last, row.prompt);
  drawTree();
  find("decoder").textContent = call().decoder;
  find("model").textContent = call().model;
}

function setUpRows() {
  const select = find("which");
  const groups = data.calls.map((call) => make("optgroup", { label: call.decoder }));
  rows().forEach((row, i) => {
    const head = data.calls[row.call].prompts[row.prompt].map(([, text]) => text).join("");
    const name = spoken(head.trim());
    groups[row.call].append(make("option", { value: i }, `${row.number + 1}: ${name.length > 48 ? `${name.slice(0, 47)}…` : name}`));
  });
  select.replaceChildren(...(groups.length > 1 ? groups : groups.flatMap((group) => [...group.children])));
  select.addEventListener("change", () => choose(rows()[Number(select.value)]));
}

function setUpTheme() {
  const button = find("theme");
  button.hidden = false;
  setTheme("");
  button.addEventListener("click", nextTheme);
  addEventListener("message", (event) => {
    if (event.source === parent && event.data?.trace === "theme" && THEMES.includes(event.data.theme)) setTheme(event.data.theme);
  });
}

// Inside a notebook: how high this is, whenever that changes.
function setUpFrame() {
  if (parent === window) return;
  let first = true;
  const tell = () => {
    parent.postMessage({ trace: "size", height: document.body.scrollHeight, first }, "*");
    first = false;
  };
  new ResizeObserver(tell).observe(document.body);
  tell();
}

setUpTheme();
const isEmpty = !rows().length;
find("nothing").hidden = !isEmpty;
for (const id of ["controls", "reading", "why"]) find(id).hidden = isEmpty;
if (!isEmpty) {
  setUpRows();
  setUpText();
  setUpAnswer();
  choose(rows()[0]);
}
setUpFrame();
