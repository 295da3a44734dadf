// Similar places, computed in the page from vectors rounded to 8 bits.

const lengths = new WeakMap();

/** Give the cosine of every place's vector with that of one place. */
export async function cosines(run, place) {
  const { dim } = run.meta;
  const vectors = await run.array(run.meta.vectors.values);
  const length = lengthsOf(vectors, dim);
  const query = Float32Array.from(vectors.subarray(dim * place, dim * (place + 1)));
  const found = new Float32Array(run.count);
  for (let other = 0, at = 0; other < run.count; other++) {
    let product = 0;
    for (let i = 0; i < dim; i++) product += query[i] * vectors[at++];
    found[other] = product / (length[place] * length[other] || 1);
  }
  return found;
}

function lengthsOf(vectors, dim) {
  if (!lengths.has(vectors)) {
    const found = new Float32Array(vectors.length / dim);
    for (let place = 0, at = 0; place < found.length; place++) {
      let square = 0;
      for (let i = 0; i < dim; i++, at++) square += vectors[at] * vectors[at];
      found[place] = Math.sqrt(square);
    }
    lengths.set(vectors, found);
  }
  return lengths.get(vectors);
}

/** List the places of highest value but one, the highest first; equals in order. */
export function highest(values, count, except) {
  const found = [];
  for (let place = 0; place < values.length; place++) {
    if (place === except) continue;
    if (found.length === count && values[place] <= values[found.at(-1)]) continue;
    let slot = found.length;
    while (slot > 0 && values[place] > values[found[slot - 1]]) slot--;
    found.splice(slot, 0, place);
    if (found.length > count) found.pop();
  }
  return found.map((place) => ({ place, score: values[place] }));
}
