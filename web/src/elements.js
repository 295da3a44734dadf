// Elements of the page.

export const element = (id) => document.getElementById(id);

/** Make an element; text never becomes markup. */
export function make(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}
