// What everything else uses: texts with what cannot be seen made visible, numbers.

const style = (element, values) => {
  for (const [name, value] of Object.entries(values)) element.style.setProperty(`--${name}`, value);
  return element;
};

// Texts: control characters, and those that turn or hide what is around them, by name

const HIDDEN = /[\u0000-\u001f\u007f-\u00a0\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202f\u2060-\u206f\ufeff\ufff9-\ufffb]|[\u{e0000}-\u{e007f}]/u;
const MARKS = { "\n": "⏎", "\t": "⇥", "\r": "␍", "\u00a0": "⍽" };

// A token's text as nodes; `whole` has the line breaks too, a table has the marks alone.
function visible(text, whole = false) {
  const nodes = [];
  let plain = "";
  const flush = () => {
    if (plain) nodes.push(plain);
    plain = "";
  };
  for (const character of text) {
    if (!HIDDEN.test(character)) {
      plain += character;
      continue;
    }
    flush();
    if (MARKS[character]) nodes.push(make("span", { class: "mark" }, MARKS[character]));
    else {
      const code = character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
      nodes.push(make("span", { class: "chip" }, `U+${code}`));
    }
    if (whole && character === "\n") plain += "\n";
  }
  flush();
  return nodes;
}

// The same as a string, for labels.
const spoken = (text) =>
  [...text].map((c) => (!HIDDEN.test(c) ? c : (MARKS[c] ?? `U+${c.codePointAt(0).toString(16).toUpperCase()}`))).join("");
const quote = (text) => make("q", { class: "quote" }, ...visible(text));

// Numbers

const MINUS = "\u2212";
const signed = (text) => text.replace("-", MINUS);
function show(value) {
  if (value === null || value === undefined) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (Number.isInteger(value) && size < 1e6) return signed(String(value));
  return signed(size >= 100 ? value.toFixed(0) : size >= 0.001 ? String(Number(value.toPrecision(3))) : value.toExponential(1));
}
const probability = (logp) => (logp === null || logp === undefined ? 0 : Math.exp(logp));
const percent = (p) => (p === 0 ? "0 %" : p < 0.0001 ? "under 0.01 %" : `${Number((100 * p).toPrecision(p > 0.1 ? 3 : 2))} %`);
const times = (shift) => `×${shift > 6.9 || shift < -6.9 ? Math.exp(shift).toExponential(0) : Number(Math.exp(shift).toPrecision(3))}`;
function ordinal(n) {
  const tail = n % 100 > 10 && n % 100 < 14 ? "th" : (["th", "st", "nd", "rd"][n % 10] ?? "th");
  return `${n}${tail}`;
}

// "NoRepeatNGramLogitsProcessor(3)" -> "NoRepeatNGram"
const shortName = (name) => name.split("(")[0].replace(/(Logits(Processor|Warper))$/, "") || name;
const breakable = (name) => name.split(/(?<=[a-z_.])(?=[A-Z])|(?<=[_.])/).flatMap((part, i) => (i ? [make("wbr"), part] : [part]));
