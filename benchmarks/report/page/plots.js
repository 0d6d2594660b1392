// Plots: SVG as wide as there is room, so that letters keep their size; colours come from the style sheet.

const MARGIN = { top: 12, right: 16, bottom: 42, left: 58 };
const BETTER = { higher: "higher is better", lower: "lower is better", reference: "closer to human is better" };

const pen = document.createElement("canvas").getContext("2d");
pen.font = "12px system-ui, sans-serif";
const widthOf = (text) => pen.measureText(text).width;

// Scales

function makeScale(numbers, from, to, { fixed = null, share = false } = {}) {
  let [low, high] = fixed ?? [Math.min(...numbers), Math.max(...numbers)];
  const log = !fixed && !share && low > 0 && high > 2 && high / low >= 8; // times and perplexities, not shares of 1
  const [there, back] = log ? [Math.log10, (x) => 10 ** x] : [(x) => x, (x) => x];
  [low, high] = [there(low), there(high)];
  if (!fixed) {
    const room = (high - low || Math.abs(high) || 1) * 0.08;
    [low, high] = [low - room, high + room];
  }
  const scale = (x) => from + ((there(x) - low) / (high - low)) * (to - from);
  scale.log = log;
  scale.ticks = log ? logTicks(back(low), back(high)) : linearTicks(low, high, from > to ? (from - to) / 45 : (to - from) / 70);
  return scale;
}

function linearTicks(low, high, number) {
  const rough = (high - low) / Math.max(2, number);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((times) => times * power >= rough);
  const places = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  const ticks = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; i += 1) {
    ticks.push([i * step, (i * step).toFixed(places).replace("-", "−")]);
  }
  return ticks;
}

function logTicks(low, high) {
  const ticks = [];
  for (let power = Math.floor(Math.log10(low)); 10 ** power <= high; power += 1) {
    for (const times of [1, 2, 5]) {
      const x = times * 10 ** power;
      if (x >= low && x <= high) ticks.push([x, String(Number(x.toPrecision(1)))]);
    }
  }
  return ticks;
}

// The box that both kinds of plot are drawn in

function makeFrame(place, height, title) {
  const width = Math.max(260, place.clientWidth);
  const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, height, role: "group", "aria-label": title });
  const box = { left: MARGIN.left, right: width - MARGIN.right, top: MARGIN.top, bottom: height - MARGIN.bottom };
  return { svg, box, width, height };
}

function drawAxes({ svg, box, height }, x, y, titles) {
  for (const [value, text] of x.ticks) {
    const at = x(value);
    svg.append(
      draw("g", { class: "tick" },
        draw("line", { class: "grid", x1: at, x2: at, y1: box.top, y2: box.bottom }),
        draw("text", { x: at, y: box.bottom + 16, "text-anchor": "middle" }, text)),
    );
  }
  for (const [value, text] of y.ticks) {
    const at = y(value);
    svg.append(
      draw("g", { class: "tick" },
        draw("line", { class: "grid", x1: box.left, x2: box.right, y1: at, y2: at }),
        draw("text", { x: box.left - 7, y: at + 4, "text-anchor": "end" }, text)),
    );
  }
  const middle = (box.top + box.bottom) / 2;
  svg.append(
    draw("text", { class: "axis", x: (box.left + box.right) / 2, y: height - 6, "text-anchor": "middle" }, titles[0]),
    draw("text", { class: "axis", x: 13, y: middle, "text-anchor": "middle", transform: `rotate(-90 13 ${middle})` }, titles[1]),
  );
}

function axisTitle(metric, scale) {
  const { title, better } = data.metrics[metric];
  const notes = [BETTER[better], scale.log ? "logarithmic" : null].filter(Boolean);
  return notes.length ? `${title} (${notes.join(", ")})` : title;
}

// One metric against another

function gainOf(metric) {
  const better = data.metrics[metric].better;
  const human = humanOf(metric);
  if (better === "higher") return (x) => x;
  if (better === "lower") return (x) => -x;
  return better === "reference" && has(human) ? (x) => -Math.abs(x - human.value) : null;
}

// The systems to which no other is equal on both axes and superior on one.
function findFront(points, gains) {
  if (!gains[0] || !gains[1]) return null;
  const scored = points.map((point) => [gains[0](point.x.value), gains[1](point.y.value)]);
  const beats = (a, b) => a[0] >= b[0] && a[1] >= b[1] && (a[0] > b[0] || a[1] > b[1]);
  return new Set(points.filter((_, i) => !scored.some((other) => beats(other, scored[i]))).map((point) => point.system));
}

function readable(metric, system) {
  const entry = system < 0 ? humanOf(metric) : entryOf(metric, system);
  const cell = data.metrics[metric].cells?.[system + 1];
  const write = (key) => cell?.[key] ?? entry[key].toPrecision(3);
  const interval = "low" in entry ? ` [${write("low")}, ${write("high")}]` : "";
  return `${data.metrics[metric].title}: ${write("value")}${interval}`;
}

function drawScatter(place, xName, yName) {
  const points = shown()
    .filter((i) => has(entryOf(xName, i)) && has(entryOf(yName, i)))
    .map((i) => ({ system: i, name: data.systems[i], x: entryOf(xName, i), y: entryOf(yName, i) }));
  if (!points.length) {
    place.replaceChildren(make("p", { class: "empty" }, "No system that is shown has both metrics."));
    return;
  }
  const human = { x: humanOf(xName), y: humanOf(yName) };
  const frame = makeFrame(place, 400, `${data.metrics[yName].title} against ${data.metrics[xName].title}`);
  const { svg, box } = frame;
  const spread = (axis) => [...points.map((point) => point[axis]), human[axis]].filter(has).flatMap((e) => [e.value, e.low ?? e.value, e.high ?? e.value]);
  const share = (metric) => data.metrics[metric].unit === "%";
  const x = makeScale(spread("x"), box.left, box.right, { share: share(xName) });
  const y = makeScale(spread("y"), box.bottom, box.top, { share: share(yName) });
  drawAxes(frame, x, y, [axisTitle(xName, x), axisTitle(yName, y)]);
  if (has(human.x)) svg.append(draw("line", { class: "reference", x1: x(human.x.value), x2: x(human.x.value), y1: box.top, y2: box.bottom }));
  if (has(human.y)) svg.append(draw("line", { class: "reference", x1: box.left, x2: box.right, y1: y(human.y.value), y2: y(human.y.value) }));
  const front = findFront(points, [gainOf(xName), gainOf(yName)]);
  const monotone = [xName, yName].every((name) => ["higher", "lower"].includes(data.metrics[name].better));
  if (front && monotone) drawFront(svg, points.filter((point) => front.has(point.system)), x, y);
  if (has(human.x) && has(human.y)) points.push({ system: -1, name: "human", x: human.x, y: human.y });
  svg.append(...points.map((point) => drawPoint(point, x, y, front, [xName, yName])));
  placeLabels(points.map((point) => ({ ...point, at: [x(point.x.value), y(point.y.value)] })), human, x, y, box, svg);
  place.replaceChildren(svg);
}

function drawFront(svg, points, x, y) {
  const ordered = [...points].sort((a, b) => a.x.value - b.x.value || a.y.value - b.y.value);
  const path = ordered.map((point, i) => `${i ? "L" : "M"}${x(point.x.value)} ${y(point.y.value)}`);
  svg.append(draw("path", { class: "front", d: path.join("") }));
}

function drawPoint(point, x, y, front, metrics) {
  const [cx, cy] = [x(point.x.value), y(point.y.value)];
  const filled = !front || front.has(point.system);
  const lines = [point.name, ...metrics.map((name) => readable(name, point.system))];
  if (front && point.system >= 0) lines.push(filled ? "on the front" : "another is at least as good on both axes");
  const group = draw("g", {
    class: `series${filled ? " filled" : ""}${point.system < 0 ? " human" : ""}`,
    "data-series": point.system,
    "data-colour": point.system < 0 ? null : colourOf(point.system),
    "data-tip": lines.join("\n"), "aria-label": lines.join(", "), role: "img", tabindex: 0,
  });
  if ("low" in point.x) group.append(draw("line", { class: "error", x1: x(point.x.low), x2: x(point.x.high), y1: cy, y2: cy }));
  if ("low" in point.y) group.append(draw("line", { class: "error", x1: cx, x2: cx, y1: y(point.y.low), y2: y(point.y.high) }));
  const shape = point.system < 0 ? 2 : Math.floor(point.system / COLOURS) % 3;
  group.append([
    () => draw("circle", { class: "point", cx, cy, r: 5 }),
    () => draw("rect", { class: "point", x: cx - 4.5, y: cy - 4.5, width: 9, height: 9 }),
    () => draw("path", { class: "point", d: `M${cx} ${cy - 6.5}L${cx + 6.5} ${cy}L${cx} ${cy + 6.5}L${cx - 6.5} ${cy}Z` }),
  ][shape]());
  return group;
}

function shorten(text, width) {
  if (widthOf(text) <= width) return text;
  const letters = [...text];
  while (letters.length && widthOf(`${letters.join("")}…`) > width) letters.pop();
  return `${letters.join("")}…`;
}

// Each label goes to the first place around its point where it covers the least.
function placeLabels(points, human, x, y, box, svg) {
  const taken = [];
  if (has(human.x)) taken.push({ box: [x(human.x.value) - 1, box.top, x(human.x.value) + 1, box.bottom], cost: 1 });
  if (has(human.y)) taken.push({ box: [box.left, y(human.y.value) - 1, box.right, y(human.y.value) + 1], cost: 1 });
  const [leaders, labels] = [[], []];
  for (const { at: [cx, cy], ...point } of points) {
    taken.push({ box: [cx - 7, cy - 7, cx + 7, cy + 7], cost: 5 });
    if ("low" in point.x) taken.push({ box: [x(point.x.low), cy - 1.5, x(point.x.high), cy + 1.5], cost: 1 });
    if ("low" in point.y) taken.push({ box: [cx - 1.5, y(point.y.high), cx + 1.5, y(point.y.low)], cost: 1 });
  }
  const overlap = (a, b) => Math.max(0, Math.min(a[2], b[2]) - Math.max(a[0], b[0])) * Math.max(0, Math.min(a[3], b[3]) - Math.max(a[1], b[1]));
  for (const { at: [cx, cy], name, system } of points) {
    const text = shorten(name, Math.min(230, box.right - box.left - 20));
    const width = widthOf(text) + 4;
    let best = null;
    for (const distance of [9, 15, 24, 36, 50, 66]) {
      for (let turn = 0; turn < 12; turn += 1) {
        const [dx, dy] = [Math.cos((turn * Math.PI) / 6), Math.sin((turn * Math.PI) / 6)];
        const wanted = cx + dx * distance + (dx > 0.1 ? 0 : dx < -0.1 ? -width : -width / 2);
        const left = Math.max(box.left - 4, Math.min(wanted, box.right + MARGIN.right - width));
        const top = cy + dy * distance - 7 + dy * 5;
        const own = [left, top, left + width, top + 14];
        const covered = taken.reduce((sum, other) => sum + other.cost * overlap(own, other.box), 0);
        const cost = covered + distance * 0.6 + (own[1] < 0 || own[3] > box.bottom ? 1e5 : 0);
        if (!best || cost < best.cost) best = { cost, own, distance };
      }
    }
    taken.push({ box: best.own, cost: 4 });
    const [left, top, right] = best.own;
    if (best.distance > 20) {
      const end = [Math.min(Math.max(cx, left), right), cy < top ? top + 1 : cy > top + 14 ? top + 14 : top + 7];
      leaders.push(draw("line", { class: "series leader", "data-series": system, x1: cx, y1: cy, x2: end[0], y2: end[1] }));
    }
    labels.push(draw("text", { class: "series label", "data-series": system, x: left + 2, y: top + 11.5 }, text));
  }
  svg.querySelector(".series").before(...leaders);
  svg.append(...labels);
}

function setUpScatters() {
  const names = Object.keys(data.metrics).filter((name) => data.systems.some((_, i) => has(entryOf(name, i))));
  const speed = "seconds" in data.metrics ? "seconds" : "speed";
  const wanted = { 1: { x: "diversity", y: "coherence" }, 2: { x: speed, y: "mauve" } };
  const selects = [...document.querySelectorAll("[data-plot]")];
  const chosen = (number, axis) => selects.find((one) => one.dataset.plot === number && one.dataset.axis === axis).value;
  for (const select of selects) {
    const { plot, axis } = select.dataset;
    select.append(...names.map((name) => make("option", { value: name }, data.metrics[name].title)));
    const others = names.filter((name) => !Object.values(wanted[plot]).includes(name));
    const fallback = others[axis === "x" ? 0 : 1] ?? names[axis === "x" ? 0 : names.length - 1];
    select.value = names.includes(wanted[plot][axis]) ? wanted[plot][axis] : fallback;
    select.addEventListener("change", () => redraw(`plot-${plot}`));
  }
  for (const number of selects.length ? ["1", "2"] : []) {
    addPlot(`plot-${number}`, (place) => drawScatter(place, chosen(number, "x"), chosen(number, "y")));
  }
}

// Curves

// A curve for each system that is shown; `human`, where there is one, is that of the human texts.
function drawCurves(place, curves, human, titles, tell, fixed) {
  const there = shown().filter((i) => curves[i]?.length);
  if (!there.length) {
    place.replaceChildren(make("p", { class: "empty" }, "No system that is shown has a curve."));
    return;
  }
  const frame = makeFrame(place, 400, titles.join(", "));
  const { svg, box } = frame;
  const every = [...there.flatMap((i) => curves[i]), ...(human ?? [])];
  const x = makeScale(every.map((point) => point[0]), box.left, box.right, { fixed: fixed.x });
  const y = makeScale(every.map((point) => point[1]), box.bottom, box.top, { fixed: fixed.y });
  drawAxes(frame, x, y, titles);
  for (const i of human ? [-1, ...there] : there) {
    const curve = i < 0 ? human : curves[i];
    const path = curve.map((point, j) => `${j ? "L" : "M"}${x(point[0]).toFixed(1)} ${y(point[1]).toFixed(1)}`).join("");
    const lines = [nameOf(i), ...tell(i, curve)];
    svg.append(
      draw("g", {
        class: i < 0 ? "series human" : "series", "data-series": i, "data-colour": i < 0 ? null : colourOf(i),
        "data-tip": lines.join("\n"), "aria-label": lines.join(", "), role: "img", tabindex: 0,
      },
      draw("path", { class: "touch", d: path }),
      draw("path", { class: "curve", d: path, "stroke-dasharray": dashOf(i) })),
    );
  }
  place.replaceChildren(svg);
}

const nameOf = (system) => (system < 0 ? "human" : data.systems[system]);
const dashOf = (system) => (system < 0 ? "5 4" : DASHES[Math.floor(system / COLOURS) % DASHES.length] || null);

function drawLegend(name, curves, human) {
  const there = shown().filter((i) => curves[i]?.length);
  document.querySelector(`[data-legend="${name}"]`).replaceChildren(
    ...(human && there.length ? [-1, ...there] : there).map((i) =>
      make("li", { "data-series": i, "data-colour": i < 0 ? null : colourOf(i) },
        draw("svg", { "aria-hidden": "true" }, draw("line", { x1: 0, x2: 26, y1: 4, y2: 4, "stroke-dasharray": dashOf(i) })),
        nameOf(i)),
    ),
  );
}

function setUpCurves() {
  if (find("plot-frontier")) {
    const titles = ["exp(−c KL(Q‖R))", "exp(−c KL(P‖R))"];
    const tell = (i) => ("mauve" in data.metrics && has(entryOf("mauve", i)) ? [readable("mauve", i)] : []);
    addPlot("plot-frontier", (place) => {
      drawCurves(place, data.frontier, null, titles, tell, { x: [0, 1], y: [0, 1] });
      drawLegend("frontier", data.frontier, null);
    });
  }
  if (find("plot-isotropy")) {
    const select = find("isotropy-language");
    const language = () => select?.value ?? "";
    const curves = () => (language() ? data.languages.map((own) => own[language()] ?? null) : data.isotropy);
    const human = () => (language() ? data.human.languages[language()] : data.human.isotropy) ?? null;
    const tell = (i, curve) => [`first: ${curve[0][1].toFixed(3)}, last: ${curve[curve.length - 1][1].toFixed(3)}`];
    addPlot("plot-isotropy", (place) => {
      const layers = data.isotropy.flatMap((curve) => (curve ?? []).map((point) => point[0]));
      drawCurves(place, curves(), human(), ["layer", "isotropy"], tell, { x: [Math.min(...layers), Math.max(...layers)] });
      drawLegend("isotropy", curves(), human());
    });
    select?.addEventListener("change", () => redraw("plot-isotropy"));
  }
}

// Drawing again: another width, other systems, other axes

const plots = new Map();

function addPlot(id, paint) {
  plots.set(id, paint);
  new ResizeObserver(([entry]) => {
    const width = Math.round(entry.contentRect.width);
    if (width !== Number(find(id).dataset.width)) redraw(id);
  }).observe(find(id));
}

function redraw(id) {
  const place = find(id);
  place.dataset.width = Math.round(place.clientWidth);
  plots.get(id)(place);
}

listeners.push(() => plots.forEach((_, id) => redraw(id)));

// A system under the mouse, or with the focus, stands out in every plot.
function setUpSpotlight() {
  const light = (target) => {
    const series = target?.dataset.series;
    for (const other of document.querySelectorAll("svg .series")) {
      other.classList.toggle("faint", series !== undefined && ![series, "-1"].includes(other.dataset.series));
    }
  };
  for (const kind of ["mouseover", "focusin"]) {
    document.addEventListener(kind, (event) => light(event.target.closest?.("[data-series]")));
  }
}

setUpScatters();
setUpCurves();
setUpSpotlight();
