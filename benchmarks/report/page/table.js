// The table of scores, sorted by its headings, and the table of differences.

// The orders of a column, the one that shows the best first to begin with. The humans are never sorted.
function ordersOf(metric) {
  const better = data.metrics[metric]?.better;
  if (metric === "decoder" || better === "lower") return ["ascending", "descending"];
  return better === "reference" && has(humanOf(metric)) ? ["other", "descending", "ascending"] : ["descending", "ascending"];
}

function compareBy(metric, order) {
  const sign = order === "descending" ? -1 : 1;
  if (metric === "decoder") {
    return (a, b) => sign * data.systems[a].localeCompare(data.systems[b], "en", { numeric: true });
  }
  const human = humanOf(metric)?.value;
  const key = (value) => (order === "other" ? Math.abs(value - human) : sign * value);
  return (a, b) => {
    const [one, other] = [entryOf(metric, a), entryOf(metric, b)];
    if (!has(one) || !has(other)) return has(other) - has(one); // those without a value come last, either way
    return key(one.value) - key(other.value) || a - b;
  };
}

function setUpTable() {
  const table = find("table");
  if (!table) return;
  const rows = [...table.querySelectorAll("tr[data-system]")];
  const body = rows[0]?.parentElement;
  const systemOf = (row) => Number(row.dataset.system);
  for (const button of table.querySelectorAll("[data-sort]")) {
    button.addEventListener("click", () => {
      const heading = button.closest("th");
      const orders = ordersOf(button.dataset.sort);
      const order = orders[(orders.indexOf(heading.getAttribute("aria-sort")) + 1) % orders.length];
      for (const other of table.querySelectorAll("th[aria-sort]")) other.setAttribute("aria-sort", "none");
      heading.setAttribute("aria-sort", order);
      const compare = compareBy(button.dataset.sort, order);
      body?.append(...rows.sort((a, b) => compare(systemOf(a), systemOf(b))));
      const said = { ascending: "lowest first", descending: "highest first", other: "closest to the human texts first" }[order];
      const title = data.metrics[button.dataset.sort]?.title ?? "system";
      find("sorted").textContent = `Sorted by ${title}, ${button.dataset.sort === "decoder" ? order : said}.`;
    });
  }
  listeners.push(() => {
    for (const row of rows) row.hidden = hidden.has(systemOf(row));
  });
}

// Differences of systems in pairs

const signed = (value, places) => (value < 0 ? "−" : "+") + Math.abs(value).toFixed(places);

function placesOf(numbers) {
  const largest = Math.max(...numbers.map(Math.abs), 0);
  let places = largest < 2 ? 3 : largest < 20 ? 2 : 1;
  while (largest > 0 && largest * 10 ** places < 10 && places < 6) places += 1;
  return places;
}

function drawPairs() {
  const metric = find("pairs-metric").value;
  const pairs = data.paired.filter((pair) => pair.metric === metric && Number.isFinite(pair.difference));
  const known = new Map();
  for (const pair of pairs) {
    known.set(`${data.systems.indexOf(pair.a)} ${data.systems.indexOf(pair.b)}`, { ...pair, sign: 1 });
    known.set(`${data.systems.indexOf(pair.b)} ${data.systems.indexOf(pair.a)}`, { ...pair, sign: -1 });
  }
  const systems = shown().filter((i) => pairs.some((pair) => [pair.a, pair.b].includes(data.systems[i])));
  const places = placesOf(pairs.map((pair) => pair.difference));
  const head = make("tr", {}, make("td"), ...systems.map((i) => make("th", { scope: "col" }, data.systems[i])));
  const rows = systems.map((a) => {
    const cells = systems.map((b) => drawDifference(known.get(`${a} ${b}`), a, b, places));
    return make("tr", {}, make("th", { scope: "row" }, data.systems[a]), ...cells);
  });
  find("pairs-table").replaceChildren(make("thead", {}, head), make("tbody", {}, ...rows));
}

function drawDifference(pair, a, b, places) {
  if (!pair) return make("td");
  const p = pair.p_holm ?? pair.p;
  const ends = [pair.low, pair.high].map((end) => (Number.isFinite(end) ? pair.sign * end : null));
  const [low, high] = pair.sign < 0 ? ends.reverse() : ends;
  const lines = [`${data.systems[a]} less ${data.systems[b]}: ${signed(pair.sign * pair.difference, places)}`];
  if (low !== null && high !== null) lines.push(`interval ${signed(low, places)} to ${signed(high, places)}`);
  if (Number.isFinite(pair.p)) lines.push(`p = ${pair.p.toPrecision(2)}`);
  if (Number.isFinite(pair.p_holm)) lines.push(`p = ${pair.p_holm.toPrecision(2)}, corrected by Holm for all pairs`);
  if (pair.how) lines.push(pair.how);
  const sure = Number.isFinite(p) && p < 0.05;
  return make("td", { class: sure ? "sure" : null, "data-tip": lines.join("\n") }, signed(pair.sign * pair.difference, places));
}

function setUpPairs() {
  const select = find("pairs-metric");
  if (!select) return;
  const names = [...new Set(data.paired.map((pair) => pair.metric))].filter((name) => name in data.metrics);
  select.append(...names.map((name) => make("option", { value: name }, data.metrics[name].title)));
  select.addEventListener("change", drawPairs);
  listeners.push(drawPairs);
  drawPairs();
}

setUpTable();
setUpPairs();
