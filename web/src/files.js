// Reads the files of the data folder, over HTTP or from disk.

const ARRAYS = {
  u8: Uint8Array,
  i8: Int8Array,
  u32: Uint32Array,
  u64: BigUint64Array,
  f32: Float32Array,
};

export async function readArray(path) {
  const bytes = await readBytes(path);
  return new ARRAYS[path.split(".").pop()](bytes.buffer);
}

export async function readJson(path) {
  return JSON.parse(new TextDecoder().decode(await readBytes(path)));
}

function readBytes(path) {
  return location.protocol === "file:" ? readScript(path) : fetchBytes(path);
}

async function fetchBytes(path) {
  const response = await fetch(path);
  if (!response.ok) throw new Error(`${path} cannot be read (${response.status}).`);
  return new Uint8Array(await response.arrayBuffer());
}

/** Read a file's copy as a script: from disk, a page may load nothing else. */
function readScript(path) {
  return new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = `${path}.js`;
    script.takeFile = resolve;
    script.onload = () => script.remove();
    script.onerror = () => reject(
      new Error(`${path}.js is missing; write the folder with offline=True.`));
    document.head.append(script);
  });
}

globalThis.moraFile = (packed) => {
  const text = atob(packed);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  document.currentScript.takeFile(bytes);
};
