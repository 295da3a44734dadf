// Similar places and search: by the service where there is one, else in the page.

import { placeText } from "./numbers.js";
import { makeIndex, searchIndex } from "./search.js";
import { makeService } from "./service.js";
import { cosines, highest } from "./similar.js";

const SIMILAR = 10;
const FOUND = 12;
const MEANING = "Similarity is the cosine of two vectors: 1 alike, 0 unrelated.";
const indexes = new WeakMap();

/** Give the places most like one: { similar: [{ place, score }], source, likeness }. */
export async function findSimilar(run, place) {
  const likeness = await cosines(run, place); // the map can be coloured by it
  const here = {
    similar: highest(likeness, SIMILAR, place),
    source: `${MEANING} Computed in this page from vectors rounded to 8 bits.`,
    likeness,
  };
  if (!run.meta.service) return here;
  try {
    const { id } = await run.texts();
    const similar = await makeService(run.meta.service).similar(id(place), SIMILAR);
    return { similar, source: `${MEANING} From the service.`, likeness };
  } catch (error) {
    return { ...here, source: `${here.source} The service did not help: ${error.message}` };
  }
}

/** Search: { found: [{ place, title, note }], said }; `early` is given what is known before. */
export async function findWords(run, text, early) {
  const { name } = await run.texts();
  const where = (place) => placeText(run.middle(place), run.meta.kind !== "grid");
  if (!indexes.has(run)) indexes.set(run, makeIndex(run));
  const named = searchIndex(await indexes.get(run), text, FOUND);
  const found = named.map(({ place, because }) =>
    ({ place, title: name(place), note: because ? `has ${because}` : where(place) }));
  const by = run.meta.inside ? "by name and by the names of what is there" : "by name";
  const nothing = found.length ? "" : "Nothing found. ";
  if (!run.meta.service) return { found, said: `${nothing}Searched ${by}.` };
  early({ found, said: `Searched ${by}; asking the service for the meaning…` });
  try {
    return await withMeaning(run, text, found, { name, where });
  } catch (error) {
    return { found, said: `${nothing}Searched ${by}; by meaning: ${error.message}` };
  }
}

/** Add the places that the service finds by meaning to those found by name. */
async function withMeaning(run, text, found, { name, where }) {
  const answer = await makeService(run.meta.service).words(text, FOUND);
  const listed = new Set(found.map(({ place }) => place));
  const others = answer
    .filter(({ place }) => !listed.has(place))
    .map(({ place }) => ({ place, title: name(place), note: `by meaning, ${where(place)}` }));
  return { found: [...found, ...others], said: "Searched by name and by meaning." };
}
