// The text: its tokens in colour, one of them chosen; mouse and keyboard.

const state = { call: 0, chain: [], prompt: 0, row: 0, at: -1, pinned: -1, last: null };
const call = () => data.calls[state.call];
const lookOf = (token) => call().vocabulary[token] ?? `#${token}`;
const chosenIndex = (choice) => choice.candidates.indexOf(choice.id);

function chainTo(call, last) {
  const chain = [];
  for (let node = last; node !== null && node !== undefined; node = call.choices[node].parent) chain.push(node);
  return chain.reverse();
}

// What the colour can say. Each: label, value of a choice, how to show it, whether it has two sides.
function quantities() {
  const found = { none: { label: "nothing", of: () => null, show: () => "" } };
  const choices = state.chain.map((node) => call().choices[node]);
  const stages = call().guides.length;
  const logp = (stage) => (choice) => choice.logps[chosenIndex(choice)]?.[stage] ?? null;
  const p = (stage) => (choice) => (choice.logps[0]?.length ? probability(logp(stage)(choice)) : null);
  if (choices.some((choice) => choice.rank !== null)) {
    found.probability = { label: stages ? "probability, after guides" : "probability", of: p(stages), show: percent, from: 0, to: 1 };
    if (stages) found.model = { label: "probability, the model's own", of: p(0), show: percent, from: 0, to: 1 };
    found.rank = { label: "rank", of: (choice) => choice.rank && Math.log2(choice.rank), show: (v) => show(Math.round(2 ** v)), from: 0 };
    found.entropy = { label: "entropy (how open the choice was)", of: (choice) => choice.entropy, show: (v) => `${show(v)} nats`, from: 0 };
  }
  call().guides.forEach((guide, i) => {
    const of = (choice) => (logp(i + 1)(choice) === null || logp(i)(choice) === null ? null : logp(i + 1)(choice) - logp(i)(choice));
    if (choices.some((choice) => of(choice) !== null))
      found[`guide-${i}`] = { label: `shift by ${shortName(guide)}`, of, show: times, two: true };
  });
  for (const name of new Set(choices.flatMap((choice) => Object.keys(choice.terms)))) {
    const of = (choice) => choice.terms[name]?.[chosenIndex(choice)] ?? null;
    const values = choices.map(of).filter((value) => value !== null);
    if (values.length) found[`term-${name}`] = { label: name, of, show, two: values.some((value) => value < 0) };
  }
  if (!choices.some((choice) => "score" in choice.terms) && choices.some((choice) => choice.score))
    found.score = { label: "score", of: (choice) => choice.score, show };
  return found;
}

function paint() {
  const quantity = quantities()[find("colour").value] ?? quantities().none;
  const values = state.chain.map((node) => quantity.of(call().choices[node]));
  const there = values.filter((value) => value !== null);
  const size = Math.max(...there.map(Math.abs), 1e-9);
  const low = quantity.two ? -size : (quantity.from ?? Math.min(...there));
  const high = quantity.two ? size : (quantity.to ?? Math.max(...there));
  const heat = (value) => (quantity.two ? Math.abs(value) / size : high > low ? (value - low) / (high - low) : 0);
  tokens().forEach((token, i) => {
    const value = values[i];
    style(token, { heat: value === null ? 0 : heat(value).toFixed(3) });
    token.classList.toggle("more", Boolean(quantity.two) && value > 0);
    token.classList.toggle("less", Boolean(quantity.two) && value < 0);
    const choice = call().choices[state.chain[i]];
    token.setAttribute("aria-label", `${spoken(choice.text || lookOf(choice.id))}${value === null ? "" : `, ${quantity.label.split(" (")[0]} ${quantity.show(value)}`}`);
  });
  const ramp = make("span", { class: "ramp", "aria-hidden": "true" });
  for (let i = 0; i <= 8; i++) {
    const value = low + ((high - low) * i) / 8;
    const side = !quantity.two ? "" : value > 0 ? " more" : value < 0 ? " less" : "";
    ramp.append(style(make("i", { class: `heat${side}` }), { heat: heat(value).toFixed(3) }));
  }
  find("legend").replaceChildren(...(there.length ? [quantity.show(low), ramp, quantity.show(high)] : []));
}

const tokens = () => [...find("text").querySelectorAll(".token")];
const places = () => [...find("text").children];

// Show the text that ends with a choice.
function read(which, last, prompt) {
  Object.assign(state, { call: which, last, prompt, chain: chainTo(data.calls[which], last), at: -1, pinned: -1 });
  const text = find("text");
  text.replaceChildren();
  for (const [, piece] of call().prompts[prompt] ?? []) text.append(make("span", { class: "prompt" }, ...visible(piece, true)));
  const list = make("span", { role: "listbox", id: "tokens", "aria-label": "tokens that were chosen" });
  state.chain.forEach((node, i) => {
    const choice = call().choices[node];
    const shown = choice.text ? visible(choice.text, true) : [make("span", { class: "chip" }, ...visible(lookOf(choice.id)))];
    const classes = `token${choice.rank > 1 ? " departs" : ""}`;
    list.append(make("span", { class: classes, role: "option", tabindex: i ? "-1" : "0", "aria-selected": "false", "data-at": i }, ...shown));
  });
  text.append(list);
  const before = find("colour").value;
  const options = Object.entries(quantities()).map(([value, { label }]) => make("option", { value }, label));
  find("colour").replaceChildren(...options);
  const wanted = [before, "probability", "none"].find((value) => options.some((option) => option.value === value));
  find("colour").value = wanted;
  paint();
  const kept = call().rows.includes(last);
  find("branch").hidden = kept;
  if (!kept) find("branch").textContent = "This text was not returned: it is one of those that the reranker dropped. Choose one above, under “Text”, to go back.";
  explain(state.chain.length ? 0 : -1, true);
  if (state.chain.length) pin(0, false);
}

// The elements of the whole text, prompt and tokens, by their place.
function elementAt(place) {
  const heads = [...find("text").querySelectorAll(".prompt")];
  return place < heads.length ? heads[place] : tokens()[place - heads.length];
}

function point(place) {
  for (const element of find("text").querySelectorAll(".near")) element.classList.remove("near");
  if (place !== null && place !== undefined) elementAt(place)?.classList.add("near");
}

function pin(i, focus = true) {
  const all = tokens();
  if (!all[i]) return;
  all.forEach((token, j) => {
    token.setAttribute("aria-selected", String(i === j));
    token.tabIndex = i === j ? 0 : -1;
  });
  state.pinned = i;
  if (focus) all[i].focus();
  explain(i, true);
}

function preview(i) {
  if (i !== state.at) explain(i, i === state.pinned);
}

function setUpText() {
  const text = find("text");
  const index = (event) => {
    const token = event.target.closest?.(".token");
    return token ? Number(token.dataset.at) : -1;
  };
  text.addEventListener("click", (event) => index(event) >= 0 && pin(index(event)));
  text.addEventListener("mouseover", (event) => index(event) >= 0 && preview(index(event)));
  text.addEventListener("mouseleave", () => state.pinned >= 0 && preview(state.pinned));
  text.addEventListener("focusin", (event) => index(event) >= 0 && index(event) !== state.pinned && pin(index(event), false));
  text.addEventListener("keydown", (event) => {
    const i = index(event);
    if (i < 0 || event.altKey || event.ctrlKey || event.metaKey) return;
    const last = state.chain.length - 1;
    const forward = getComputedStyle(text).direction === "rtl" ? "ArrowLeft" : "ArrowRight";
    const moves = { Home: 0, End: last, ArrowUp: line(i, -1), ArrowDown: line(i, 1), ArrowLeft: i - 1, ArrowRight: i + 1 };
    if (forward === "ArrowLeft") [moves.ArrowLeft, moves.ArrowRight] = [moves.ArrowRight, moves.ArrowLeft];
    if (event.key in moves) pin(Math.max(0, Math.min(last, moves[event.key])));
    else if (event.key === "Enter" || event.key === " ") find("answer").querySelector("tbody tr[tabindex]")?.focus();
    else if (event.key === "Escape") point(null);
    else return;
    event.preventDefault();
  });
  find("colour").addEventListener("change", paint);
}

// The token above or below one: the nearest in the next line of that side.
function line(i, side) {
  const all = tokens();
  const here = all[i].getClientRects()[0];
  let row = null;
  let best = i;
  let far = Infinity;
  for (let j = i + side; all[j]; j += side) {
    const there = all[j].getClientRects()[0];
    if (!there || (there.top - here.top) * side < here.height / 2) continue;
    row ??= there.top;
    if (Math.abs(there.top - row) > here.height / 2) break;
    const distance = Math.abs((there.left + there.right) / 2 - (here.left + here.right) / 2);
    if (distance < far) [far, best] = [distance, j];
  }
  return best;
}
