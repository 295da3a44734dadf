// Search by name and by what is in a place, without any service.

const PLAIN = /[\u0300-\u036f]/g; // accents, once letters are taken apart

export function plain(text) {
  return text.normalize("NFD").replace(PLAIN, "").toLowerCase();
}

/** Read the texts of a run once, for many searches. */
export async function makeIndex(run) {
  const [{ id, name }, inside, size] = await Promise.all(
    [run.texts(), run.inside(), sizes(run)]);
  const entries = Array.from({ length: run.count }, (_, place) => ({
    place,
    name: plain(name(place)),
    id: plain(id(place)),
    inside: inside ? inside[place].map(plain) : [],
    size: size?.[place] || 0,
  }));
  return { entries, original: inside };
}

/** Of places of one name, the one with most people or movement is likely meant. */
function sizes(run) {
  const { columns } = run.meta;
  const column = ["people", "movement"]
    .map((kind) => columns.find((other) => other.kind === kind))
    .find(Boolean);
  return column ? run.array(column.values) : null;
}

/** List the places that have every word: [{ place, because }], the best first. */
export function searchIndex({ entries, original }, text, count) {
  const query = plain(text).trim();
  if (!query) return [];
  const found = [];
  for (const entry of entries) {
    const rank = rankOf(entry, query);
    if (rank.score < Infinity) found.push({ ...rank, place: entry.place, size: entry.size });
  }
  found.sort((a, b) => a.score - b.score || b.size - a.size || a.place - b.place);
  return found.slice(0, count).map(({ place, at }) => ({
    place,
    because: at === undefined ? "" : original[place][at],
  }));
}

/** Names before things inside, whole words before parts; infinite where nothing meets. */
function rankOf(entry, query) {
  if (entry.id === query || entry.name === query) return { score: 0 };
  if (entry.name.startsWith(query)) return { score: 1 };
  const words = query.split(/\s+/);
  if (words.every((word) => startsWord(entry.name, word))) return { score: 2 };
  const at = entry.inside.findIndex((text) => words.every((word) => startsWord(text, word)));
  return at < 0 ? { score: Infinity } : { score: 3, at };
}

function startsWord(text, word) {
  for (let at = text.indexOf(word); at >= 0; at = text.indexOf(word, at + 1)) {
    if (at === 0 || !/[\p{L}\p{N}]/u.test(text[at - 1])) return true;
  }
  return false;
}
