// The map of the embedding: point at an image, or choose a class, to see its class picked out. Reads `map` of the
// page's data: labels and files of the points, names of the classes, and how the sheet of pictures is laid out.

const map = JSON.parse(document.getElementById("data").textContent).map;
if (map) {
  const byId = (id) => document.getElementById(id);
  const drawing = byId("map-points"), circles = [...drawing.children], select = byId("map-class");
  const places = circles.map((circle) => [Number(circle.getAttribute("cx")), Number(circle.getAttribute("cy"))]);
  const SHOWN = 72, NEAR = 14; // pixels of the picture; units of the drawing
  let here = -1;

  const pick = (label) => {
    drawing.classList.toggle("chosen", label !== null);
    circles.forEach((circle, i) => circle.classList.toggle("on", map.labels[i] === label));
    select.value = label === null ? "" : label;
  };

  const point = (i) => {
    if (i === here) return;
    if (here >= 0) circles[here].classList.remove("here");
    here = i;
    byId("map-card").hidden = i < 0;
    pick(i < 0 ? null : map.labels[i]);
    if (i < 0) return;
    circles[i].classList.add("here");
    const sheet = byId("map-sheet"), scale = SHOWN / map.side;
    sheet.style.width = `${map.columns * map.side * scale}px`;
    sheet.style.left = `${-(i % map.columns) * SHOWN}px`;
    sheet.style.top = `${-Math.floor(i / map.columns) * SHOWN}px`;
    byId("map-name").textContent = map.classes[map.labels[i]];
    byId("map-file").textContent = map.files[i];
  };

  const nearest = (event) => {
    const box = drawing.getBoundingClientRect(), unit = drawing.viewBox.baseVal.width / box.width;
    const x = (event.clientX - box.left) * unit, y = (event.clientY - box.top) * unit;
    let best = -1, least = NEAR * Math.max(1, unit);
    places.forEach(([a, b], i) => {
      const distance = Math.hypot(a - x, b - y);
      if (distance < least) [best, least] = [i, distance];
    });
    return best;
  };

  drawing.addEventListener("pointermove", (event) => {
    const found = nearest(event);
    if (event.pointerType === "mouse" && found >= 0) point(found);
  });
  drawing.addEventListener("click", (event) => point(nearest(event)));
  select.addEventListener("change", () => {
    const label = select.value === "" ? null : Number(select.value);
    point(label === null ? -1 : map.labels.indexOf(label));
    pick(label);
  });
}
