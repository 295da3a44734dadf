// The search box: a combobox with a list that keys and pointers can choose from.

import { element, make } from "./elements.js";

const PAUSE_MS = 120; // after the last key, so that typing is not slowed

/** `search(text, early)` gives { found: [{ place, title, note }], said }, to `early` as well. */
export function makeSearchBox(search, choose) {
  const [input, list, said] = ["query", "found", "found-note"].map(element);
  let active = -1;
  let asked = 0;
  let timer;

  const options = () => [...list.querySelectorAll("[role=option]")];

  const close = () => {
    list.replaceChildren();
    list.hidden = true;
    said.hidden = true;
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
    active = -1;
  };

  const take = (option) => {
    input.value = option.dataset.title;
    close();
    choose(Number(option.dataset.place));
  };

  const show = async () => {
    const text = input.value;
    const own = ++asked;
    if (!text.trim()) return close();
    const draw = (answer) => {
      if (own === asked) fill(answer); // else a later question is under way
    };
    draw(await search(text, draw));
  };

  const fill = ({ found, said: words }) => {
    close();
    list.replaceChildren(...found.map(optionOf));
    for (const option of options()) option.addEventListener("click", () => take(option));
    list.hidden = !found.length;
    said.textContent = words;
    said.hidden = false;
    input.setAttribute("aria-expanded", String(found.length > 0));
  };

  const move = (step) => {
    const all = options();
    if (!all.length) return;
    active = (active + step + all.length) % all.length;
    all.forEach((option, i) => option.setAttribute("aria-selected", String(i === active)));
    input.setAttribute("aria-activedescendant", all[active].id);
    all[active].scrollIntoView({ block: "nearest" });
  };

  input.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(show, PAUSE_MS);
  });
  input.addEventListener("keydown", async (event) => {
    if (event.key === "ArrowDown") move(1);
    else if (event.key === "ArrowUp") move(-1);
    else if (event.key === "Escape") close();
    else if (event.key === "Enter") {
      clearTimeout(timer);
      if (list.hidden) await show();
      const option = options()[Math.max(active, 0)];
      if (option) take(option);
    } else return;
    event.preventDefault();
  });
  document.addEventListener("pointerdown", (event) => {
    if (!element("search").contains(event.target)) close();
  });
}

function optionOf({ place, title, note }, number) {
  const option = make("li", { id: `found-${number}`, role: "option" },
    make("strong", { textContent: title }), make("small", { textContent: note }));
  option.setAttribute("role", "option");
  option.setAttribute("aria-selected", "false");
  Object.assign(option.dataset, { place, title });
  return option;
}
