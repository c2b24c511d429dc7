// Parts of the page. Whatever comes from the index or from people is set as text, never as markup.

export const $ = (id) => document.getElementById(id);

export function make(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

export function thumbnail(id) {
  const image = make("img", "thumb");
  image.loading = "lazy";
  image.alt = "";
  image.src = `/api/items/${id}/thumbnail`;
  image.addEventListener("error", () => { image.removeAttribute("src"); }, { once: true });
  return image;
}

export function neighbour({ id, label, name, similarity, same_picture: same }) {
  const item = make("li"), text = make("div", "text");
  const title = make("div", "clipped", label || "no class");
  title.title = label ? `${label} (${name})` : name;
  text.append(title, make("div", "score", same ? `${number(similarity)}, this picture` : number(similarity)));
  item.append(thumbnail(id), text);
  return item;
}

export function added({ id, label }, takeBack) {
  const item = make("li"), text = make("div", "text clipped", label);
  const button = make("button", "plain", "Take back");
  button.type = "button";
  button.setAttribute("aria-label", `Take the picture back from ${label}`);
  button.addEventListener("click", () => takeBack(id, label, button));
  item.append(thumbnail(id), text, button);
  return item;
}

export function classRow({ label, images, id }, pictures) {
  const details = make("details"), summary = make("summary"), text = make("span", "text");
  text.append(make("span", "clipped", label), make("span", "quiet", count(images, "picture")));
  summary.append(thumbnail(id), text);
  details.append(summary);
  details.addEventListener("toggle", async () => {
    if (!details.open || details.querySelector(".grid")) return;
    const grid = make("ul", "grid");
    details.append(grid);
    for (const item of await pictures(label)) {
      const entry = make("li"), image = thumbnail(item.id);
      image.alt = item.name;
      entry.append(image);
      grid.append(entry);
    }
  });
  return details;
}

export const number = (value) => value.toFixed(2).replace("-", "−");

export const count = (n, one, many = `${one}s`) => `${n.toLocaleString("en")} ${n === 1 ? one : many}`;
