// The texts: one prompt at a time, all systems side by side. Only the prompt that is shown is in the document, so
// thousands cost no more than one.

const browser = { at: 0, matches: [], query: "", pattern: null, seed: "" };

// A text is [system, seed, continuation, tokens, finished, seconds].
const textsOf = (prompt) => prompt.texts.filter(([system, seed]) => !hidden.has(system) && isChosen(system, seed));

// Systems that do not draw have one seed, and are shown under all.
const isChosen = (system, seed) => browser.seed === "" || seedsOf[system].size < 2 || String(seed) === browser.seed;
const seedsOf = data.systems.map(() => new Set());
for (const prompt of data.prompts) {
  for (const [system, seed] of prompt.texts) seedsOf[system].add(String(seed));
}

const escapePattern = (text) => text.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&");

// Search for what is asked for, if it is something else than before.
function ask() {
  const query = find("query").value.trim();
  if (query === browser.query) return;
  browser.query = query;
  browser.pattern = query ? new RegExp(escapePattern(query).replace(/\s+/g, "\\s+"), "giu") : null;
  search();
}

function matches(prompt) {
  if (!browser.pattern) return true;
  const hit = (text) => typeof text === "string" && text.search(browser.pattern) >= 0;
  return hit(prompt.prefix) || hit(prompt.reference) || textsOf(prompt).some((text) => hit(text[2]));
}

function search() {
  browser.matches = data.prompts.map((_, i) => i).filter((i) => matches(data.prompts[i]));
  if (browser.matches.length && !browser.matches.includes(browser.at)) {
    browser.at = browser.matches.find((i) => i > browser.at) ?? browser.matches[0];
  }
  drawSample();
}

// To a prompt before (-1) or behind (1) the one that is shown, among those that match.
function step(by) {
  const next = by > 0 ? browser.matches.find((i) => i > browser.at) : browser.matches.findLast((i) => i < browser.at);
  if (next === undefined) return;
  browser.at = next;
  drawSample();
}

// Which characters of a text begin or continue a run of four words that was there before.
function findRepeats(text) {
  const words = [...text.matchAll(/\S+/gu)].map((found) => ({ word: found[0], from: found.index, to: found.index + found[0].length }));
  const seen = new Set();
  const spans = [];
  for (let i = 0; i + 4 <= words.length; i += 1) {
    const gram = words.slice(i, i + 4).map(({ word }) => word).join(" ");
    if (seen.has(gram)) {
      const span = { from: words[i].from, to: words[i + 3].to };
      const last = spans[spans.length - 1];
      if (last && last.to >= span.from) last.to = span.to;
      else spans.push(span);
    }
    seen.add(gram);
  }
  return spans;
}

function findMatches(text) {
  if (!browser.pattern) return [];
  return [...text.matchAll(browser.pattern)].filter((found) => found[0]).map((found) => ({ from: found.index, to: found.index + found[0].length }));
}

// A paragraph of a text, in pieces where something is marked.
function drawText(text) {
  if (!text) return make("p", { class: "text nothing" }, "(empty)");
  const found = findMatches(text);
  const again = find("repeats").checked ? findRepeats(text) : [];
  const edges = [...new Set([0, text.length, ...[...found, ...again].flatMap(({ from, to }) => [from, to])])].sort((a, b) => a - b);
  const inside = (spans, at) => spans.some(({ from, to }) => from <= at && at < to);
  const pieces = edges.slice(0, -1).map((from, i) => {
    const piece = text.slice(from, edges[i + 1]);
    const plain = inside(again, from) ? make("span", { class: "again" }, piece) : piece;
    return inside(found, from) ? make("mark", {}, plain) : plain;
  });
  return make("p", { class: "text", dir: "auto" }, ...pieces);
}

function drawCard([system, seed, text, tokens, finished, seconds], many) {
  const facts = [
    many && seed !== null ? `seed ${seed}` : null,
    Number.isFinite(tokens) ? `${tokens} tokens` : null,
    finished === true ? "ended by itself" : finished === false ? "cut at its length" : null,
    Number.isFinite(seconds) ? `${seconds.toFixed(2)} s` : null,
  ].filter(Boolean);
  return make("article", { "data-colour": colourOf(system), "data-system": system },
    make("h3", {}, make("span", { class: "dot", "data-colour": colourOf(system) }), data.systems[system]),
    make("p", { class: "facts" }, facts.join(" · ")),
    drawText(text));
}

function drawSample() {
  const place = find("sample");
  const { at } = browser;
  const rank = browser.matches.indexOf(at);
  const all = data.prompts.length;
  find("number").value = at + 1;
  find("previous").disabled = !browser.matches.some((i) => i < at);
  find("next").disabled = !browser.matches.some((i) => i > at);
  if (!browser.matches.length) {
    find("found").textContent = "nothing found";
    place.replaceChildren(make("p", { class: "note prefix" }, "No prefix, and no text of the systems and the seed that are chosen, has these words."));
    return;
  }
  const prompt = data.prompts[at];
  find("found").textContent = browser.pattern ? `of ${all}; match ${rank + 1} of ${browser.matches.length}` : `of ${all}`;
  const head = make("div", { class: "prefix" }, make("p", { class: "facts" }, `prompt ${prompt.id}`), drawText(prompt.prefix));
  const cards = textsOf(prompt).map((text) => drawCard(text, seedsOf[text[0]].size > 1));
  if (typeof prompt.reference === "string") {
    cards.unshift(make("article", { class: "human" },
      make("h3", {}, make("span", { class: "dot" }), "human"), make("p", { class: "facts" }, "how the text goes on"),
      drawText(prompt.reference)));
  }
  place.replaceChildren(head, ...cards);
}

function setUpKeys() {
  const query = find("query");
  query.addEventListener("keydown", (event) => {
    if (event.key === "Escape") query.value = "";
    if (event.key === "Enter" || event.key === "Escape") {
      const before = browser.query;
      ask();
      if (event.key === "Enter" && before === browser.query) step(event.shiftKey ? -1 : 1);
    }
  });
  document.addEventListener("keydown", (event) => {
    const busy = event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input:not([type='checkbox']), select, .scroll");
    const { top, bottom } = find("texts").getBoundingClientRect();
    if (busy || (event.key !== "/" && (bottom < 0 || top > window.innerHeight))) return;
    if (event.key === "ArrowRight") step(1);
    else if (event.key === "ArrowLeft") step(-1);
    else if (event.key === "/") {
      query.focus();
      query.select();
    } else return;
    event.preventDefault();
  });
}

function setUpSamples() {
  if (!data.prompts.length) return;
  const seeds = [...new Set(seedsOf.flatMap((own) => [...own]))];
  find("seed").append(...seeds.map((seed) => make("option", { value: seed }, seed)), make("option", { value: "" }, "all"));
  find("seed-label").hidden = seeds.length < 2;
  browser.seed = seeds[0];
  find("number").max = data.prompts.length;
  let waiting = null;
  find("query").addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(ask, 120); // not at every letter
  });
  find("seed").addEventListener("change", (event) => {
    browser.seed = event.target.value;
    search();
  });
  find("repeats").addEventListener("change", drawSample);
  find("previous").addEventListener("click", () => step(-1));
  find("next").addEventListener("click", () => step(1));
  find("number").addEventListener("change", (event) => {
    const wanted = Math.min(Math.max(1, Math.round(Number(event.target.value)) || 1), data.prompts.length) - 1;
    browser.at = browser.matches.includes(wanted) ? wanted : (browser.matches.find((i) => i > wanted) ?? browser.matches.at(-1) ?? 0);
    drawSample();
  });
  find("browse").addEventListener("submit", (event) => event.preventDefault());
  listeners.push(search);
  setUpKeys();
  search();
}

setUpSamples();
