// What the service says in English, in the reader's language. The API keeps to English; the table has
// each sentence of it with `{places}`. What stands at `{why}` is itself such a sentence, or the word
// of somebody else, which is shown as it is; so is `{origin}`, and at `{list}` stand several of them.

const PLACE = /\{(\w+)\}/g;
// What places of these names may hold; the others: anything.
const SHAPES = {
  address: "\\S+",
  file: "(?:[^:]|:(?! ))+",
  line: "\\d+",
  origin: "flag|environment variable \\S+|[^]*? line \\d+",
};
const BETWEEN = "; also ";
// Sentences in sentences: the service says no more, and a hostile text must not cost more.
const DEPTH = 6;
const LONGEST = 4000;
// The one that says most about a message comes first.
const SENTENCES = Object.values(SAID).flatMap(Object.entries).sort(([one], [other]) => fixed(other) - fixed(one))
  .map(([english, chinese]) => ({ pattern: pattern(english), places: [...english.matchAll(PLACE)].map(([, place]) => place), chinese }));

/** How many letters of a sentence are always the same. */
function fixed(sentence) { return sentence.replace(PLACE, "").length; }

function pattern(sentence) {
  // Split by a group, the names of the places stand between the fixed parts.
  const parts = sentence.split(PLACE).map((part, at) => {
    if (at % 2 === 0) return part.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&");
    return "(" + (SHAPES[part] ?? "[^]*?") + ")";
  });
  return new RegExp("^" + parts.join("") + "$");
}

/** A message of the service in the language of the page. */
function said(message, depth = DEPTH) {
  if (language === "en" || !depth || !message || message.length > LONGEST) return message;
  for (const { pattern, places, chinese } of SENTENCES) {
    const found = message.match(pattern);
    if (!found) continue;
    const values = Object.fromEntries(places.map((place, at) => [place, saidAt(place, found[at + 1], depth - 1)]));
    return chinese.replace(PLACE, (whole, place) => values[place] ?? whole);
  }
  const several = message.split("; ");
  return several.length > 1 ? several.map((one) => said(one, depth - 1)).join("; ") : message;
}

/** What stands at a place of a sentence. */
function saidAt(place, text, depth) {
  if (place === "list") return text.split(BETWEEN).map((one) => said(one, depth)).join("；另外，");
  return place.startsWith("why") || place === "origin" ? said(text, depth) : text;
}
