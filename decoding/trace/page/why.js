// The answer: what stood for choice, and how one of them won.

// What the numbers mean; of a picker's own terms, what it says of them itself.
const MEANINGS = {
  model: "probability by the model alone",
  shift: "by what factor a guide or processor made the token more or less probable",
  idle: "changed nothing here",
  guided: "probability after all guides and processors",
};

function explain(i, pinned) {
  state.at = i;
  find("why").classList.toggle("pinned", pinned);
  const answer = find("answer");
  if (i < 0) {
    answer.replaceChildren(make("p", {}, "No token was chosen here."));
    return point(null);
  }
  const choice = call().choices[state.chain[i]];
  const order = ordered(choice);
  answer.replaceChildren(heading(choice, i), ...sentences(choice, order), table(choice, order), meanings(choice));
  point(placeOf(choice, chosenIndex(choice)));
}

const isWeighed = (choice, j) => choice.weighed[j];
const placeOf = (choice, j) => Object.values(choice.places)[0]?.[j] ?? null;
const guided = (choice, j) => probability(choice.logps[j].at(-1));

// Candidates in the order that decides: by score where the picker gave one, else by probability.
function ordered(choice) {
  const all = choice.candidates.map((_, j) => j);
  const score = choice.terms.score;
  const value = (j) => (score && isWeighed(choice, j) ? (score[j] ?? -Infinity) : -Infinity);
  return all.sort((a, b) => value(b) - value(a) || guided(choice, b) - guided(choice, a));
}

function heading(choice, i) {
  const place = call().prompts[choice.prompt].length + i + 1;
  return make("p", {}, quote(choice.text || lookOf(choice.id)), " ",
    make("span", { class: "fact" }, `token ${i + 1} of ${state.chain.length}, place ${place} in the text, id ${choice.id}`));
}

function sentences(choice, order) {
  const chosen = chosenIndex(choice);
  const said = [];
  if (choice.rank === null) return [make("p", {}, "The picker did not ask for the distribution here: there is nothing to compare.")];
  const p = guided(choice, chosen);
  const rank = choice.rank === 1 ? "the most probable token" : `the ${ordinal(choice.rank)} most probable token`;
  const open = Math.exp(choice.entropy);
  const fact = [`It is ${rank} (${percent(p)}). The choice was as open as one among ${show(Number(open.toPrecision(2)))} equal tokens.`];
  if (choice.terms.score) said.push(byScore(choice, order, chosen));
  else if (call().rule) said.push(make("p", {}, make("b", {}, "The rule: "), `take ${call().rule}.`));
  said.push(make("p", {}, ...fact));
  const won = favourite(choice, 0);
  const now = favourite(choice, call().guides.length);
  if (call().guides.length && won !== now)
    said.push(make("p", {}, "The model alone preferred ", quote(lookOf(choice.candidates[won])), ` (${percent(probability(choice.logps[won][0]))}); after the guides `,
      quote(lookOf(choice.candidates[now])), ` leads (${percent(guided(choice, now))}).`));
  return said;
}

const favourite = (choice, stage) =>
  choice.candidates.map((_, j) => j).reduce((a, b) => (probability(choice.logps[b][stage]) > probability(choice.logps[a][stage]) ? b : a));

function byScore(choice, order, chosen) {
  const weighed = order.filter((j) => isWeighed(choice, j));
  const score = choice.terms.score;
  const place = weighed.indexOf(chosen);
  const best = place === 0 ? "the best score" : `the ${ordinal(place + 1)} best score`;
  const parts = Object.entries(choice.weights);
  const line = [`Of ${weighed.length} candidates it has ${best}`];
  if (parts.length) line.push(": ", ...formula(parts, (name) => show(choice.terms[name][chosen])), ` = ${show(score[chosen])}`);
  line.push(". ");
  const top = weighed.reduce((a, b) => (guided(choice, b) > guided(choice, a) ? b : a));
  if (top !== chosen) {
    const worse = parts.filter(([name, weight]) => weight * (choice.terms[name][top] - choice.terms[name][chosen]) < 0);
    line.push(quote(lookOf(choice.candidates[top])), ` is more probable (${percent(guided(choice, top))}), but scores ${show(score[top])}`);
    if (worse.length) line.push(`: its ${worse.map(([name]) => `${name} is ${show(choice.terms[name][top])}, not ${show(choice.terms[name][chosen])}`).join("; its ")}`);
    const near = placeOf(choice, top);
    if (near !== null) line.push(", for it is most like the earlier ", link(near));
    line.push(".");
  }
  if (place > 0) line.push(" A reranker makes copies of a text, and each copy takes another of the best.");
  return make("p", {}, ...line);
}

function formula(parts, value) {
  return parts.flatMap(([name, weight], i) => {
    const sign = weight < 0 ? (i ? ` ${MINUS} ` : MINUS) : i ? " + " : "";
    return [`${sign}${show(Math.abs(weight))} × `, make("i", {}, name), ` ${value(name)}`];
  });
}

const textAt = (place) => {
  const prompt = call().prompts[state.prompt];
  if (place < prompt.length) return prompt[place][1];
  const choice = call().choices[state.chain[place - prompt.length]];
  return choice ? choice.text || lookOf(choice.id) : "?";
};

// A word for a place in the text, which brings it into view.
function link(place) {
  const button = make("button", { type: "button", class: "place", "aria-label": `${spoken(textAt(place))}, place ${place + 1}` }, ...visible(textAt(place)));
  button.addEventListener("click", (event) => {
    event.stopPropagation();
    point(place);
    elementAt(place)?.scrollIntoView({ block: "nearest" });
  });
  return make("span", {}, button, make("span", { class: "fact" }, ` at ${place + 1}`));
}

// The table

function table(choice, order) {
  const guides = call().guides;
  const stages = choice.logps[0]?.length ?? 0;
  const terms = Object.keys(choice.terms);
  const columns = [];
  // what decides comes first, then what it was made from
  if (choice.terms.score) columns.push({ head: "score", title: meaning("score"), cell: scoreCell(choice) });
  for (const name of terms.filter((name) => name !== "score")) columns.push({ head: name, title: meaning(name), cell: termCell(choice, name) });
  for (const name of Object.keys(choice.places))
    columns.push({ head: name, title: meaning(name), cell: (j) => (choice.places[name][j] === null ? null : link(choice.places[name][j])) });
  if (stages) columns.push({ head: "model", title: MEANINGS.model, cell: (j) => probabilityCell(choice.logps[j][0]) });
  guides.forEach((guide, i) => {
    if (stages && isFelt(choice, i)) columns.push({ head: shortName(guide), title: `${guide}: ${MEANINGS.shift}`, cell: shiftCell(choice, i) });
  });
  if (stages > 1) columns.push({ head: "after guides", title: MEANINGS.guided, cell: (j) => probabilityCell(choice.logps[j].at(-1)) });
  const head = make("tr", {}, make("th", { scope: "col" }, "token"), ...columns.map(({ head, title }) => make("th", { scope: "col", title }, ...breakable(head))));
  const body = make("tbody");
  let divided = !order.some((j) => isWeighed(choice, j));
  for (const j of order) {
    if (!divided && !isWeighed(choice, j)) {
      const rest = "not candidates: less probable, or forbidden";
      body.append(make("tr", { class: "divider" }, make("td", { colspan: columns.length + 1 }, rest)));
      divided = true;
    }
    body.append(row(choice, j, columns));
  }
  body.firstElementChild?.setAttribute("tabindex", "0");
  const caption = make("p", { class: "caption", id: "candidates" }, "What could have stood here. The token that was chosen is marked ✓.");
  const inside = make("table", { "aria-labelledby": "candidates" }, make("thead", {}, head), body);
  return make("div", {}, caption, make("div", { class: "scroll" }, inside)); // a caption would be as wide as the table
}

function row(choice, j, columns) {
  const token = choice.candidates[j];
  const chosen = token === choice.id;
  const name = make("th", { scope: "row", title: `${spoken(lookOf(token))} (id ${token})` }, make("bdi", {}, ...visible(lookOf(token))), chosen ? " ✓" : "");
  const cells = columns.map(({ cell }) => {
    const made = cell(j);
    return made instanceof Element && made.tagName === "TD" ? made : make("td", {}, made ?? "");
  });
  const line = make("tr", { class: chosen ? "chosen" : null, tabindex: "-1", "data-candidate": j }, name, ...cells);
  const show = () => point(placeOf(choice, j));
  line.addEventListener("mouseenter", show);
  line.addEventListener("focus", show);
  line.addEventListener("mouseleave", () => point(placeOf(choice, chosenIndex(choice))));
  return line;
}

// Whether a guide did anything to what is shown here.
const isFelt = (choice, i) =>
  choice.logps.some(([...stages]) => (stages[i] === null) !== (stages[i + 1] === null) || Math.abs((stages[i + 1] ?? 0) - (stages[i] ?? 0)) >= 0.0005);

const bar = (from, size, kind = "") => make("span", { class: "bar", "aria-hidden": "true" }, style(make("i", { class: kind }), { from, size }));

function probabilityCell(logp) {
  if (logp === null) return make("td", { class: "forbidden" }, "forbidden");
  const p = probability(logp);
  return make("td", {}, make("span", { class: "value" }, percent(p)), bar(0, p));
}

function shiftCell(choice, i) {
  const all = choice.logps.map((stages) => (stages[i] === null || stages[i + 1] === null ? 0 : Math.abs(stages[i + 1] - stages[i])));
  const most = Math.max(...all, 0.7);
  return (j) => {
    const [before, after] = choice.logps[j].slice(i, i + 2);
    if (before !== null && after === null) return make("td", { class: "forbidden" }, "forbids");
    if (before === null && after !== null) return "allows";
    if (before === null) return "–";
    const shift = after - before;
    const size = Math.abs(shift) / most / 2;
    const drawn = bar(shift < 0 ? 0.5 - size : 0.5, size, shift < 0 ? "less" : "more");
    drawn.classList.add("two");
    return make("td", {}, make("span", { class: "value" }, Math.abs(shift) < 0.0005 ? "×1" : times(shift)), drawn);
  };
}

function termCell(choice, name) {
  const values = choice.terms[name].filter((value, j) => isWeighed(choice, j) && value !== null);
  const low = Math.min(0, ...values);
  const span = Math.max(...values, 0) - low;
  const unit = values.every((value) => value >= 0 && value <= 1) ? 1 : span || 1; // of 0 to 1, the whole
  const kind = (choice.weights[name] ?? 0) < 0 ? "less" : choice.weights[name] > 0 ? "more" : "";
  return (j) => {
    if (!isWeighed(choice, j)) return null;
    const value = choice.terms[name][j];
    if (value === null) return "–";
    const drawn = bar((Math.min(value, 0) - low) / unit, Math.abs(value) / unit, kind);
    return make("td", {}, make("span", { class: "value" }, show(value)), drawn);
  };
}

// The sum as it comes about: what adds to it to the right of zero, what takes away to the left, a line at the score.
function scoreCell(choice) {
  const names = Object.keys(choice.weights);
  const parts = (j) => names.map((name) => choice.weights[name] * choice.terms[name][j]);
  const weighed = choice.candidates.map((_, j) => j).filter((j) => isWeighed(choice, j));
  const sum = (values) => values.reduce((a, b) => a + b, 0);
  const ups = weighed.map((j) => sum(parts(j).filter((v) => v > 0)));
  const downs = weighed.map((j) => sum(parts(j).filter((v) => v < 0)));
  const scores = weighed.map((j) => choice.terms.score[j] ?? 0);
  const low = Math.min(0, ...downs, ...scores);
  const span = Math.max(0, ...ups, ...scores) - low || 1;
  return (j) => {
    if (!isWeighed(choice, j)) return null;
    const score = choice.terms.score[j];
    if (score === null) return make("td", { class: "forbidden" }, "forbidden");
    const drawn = style(make("span", { class: "bar sum two", "aria-hidden": "true" }), { zero: -low / span });
    for (const [kind, side] of [["more", 1], ["less", -1]]) {
      const size = names.length ? Math.abs(sum(parts(j).filter((v) => v * side > 0))) : Math.max(0, score * side);
      drawn.append(style(make("i", { class: kind }), { from: (side < 0 ? -size - low : -low) / span, size: size / span }));
    }
    drawn.append(style(make("u"), { at: (score - low) / span }));
    return make("td", {}, make("span", { class: "value" }, make("b", {}, show(score))), drawn);
  };
}

// What the words mean

const meaning = (name) => call().meanings[name] ?? null;

function meanings(choice) {
  const list = make("dl", { class: "meanings" });
  const add = (name, text) => text && list.append(make("dt", {}, name), make("dd", {}, text));
  if (choice.logps[0]?.length) {
    const felt = call().guides.filter((_, i) => isFelt(choice, i)).map(shortName);
    add(felt.join(", "), felt.length ? MEANINGS.shift : null);
    add(call().guides.filter((_, i) => !isFelt(choice, i)).map(shortName).join(", "), felt.length < call().guides.length ? MEANINGS.idle : null);
  }
  for (const name of [...Object.keys(choice.terms), ...Object.keys(choice.places)]) add(name, meaning(name));
  return list;
}

function setUpAnswer() {
  find("answer").addEventListener("keydown", (event) => {
    const line = event.target.closest?.("tr[tabindex]");
    if (event.key === "Escape") tokens()[state.pinned]?.focus();
    else if (line && (event.key === "ArrowDown" || event.key === "ArrowUp")) {
      const lines = [...find("answer").querySelectorAll("tbody tr[tabindex]")];
      const next = lines[lines.indexOf(line) + (event.key === "ArrowDown" ? 1 : -1)];
      if (next) {
        line.tabIndex = -1;
        next.tabIndex = 0;
        next.focus();
      }
    } else return;
    event.preventDefault();
  });
}
