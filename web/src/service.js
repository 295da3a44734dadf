// What the Mora service answers, where the page is served by one.

/** Give { similar(id, count), words(text, count) }: places as { place, score }, best first. */
export function makeService(address) {
  const post = async (path, body) => {
    const response = await fetch(`${address}/${path}`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
    });
    const said = await response.json().catch(() => ({}));
    if (!response.ok) throw new Error(said.error ?? `the service answers ${response.status}`);
    return said.places.map(({ row, score }) => ({ place: row, score }));
  };
  return {
    similar: (id, count) => post("similar", { plus: [id], k: count }),
    words: (text, count) => post("search", { text, k: count }),
  };
}
