// The page: controls, plane and trajectory. Reads circletEvaluate (losses.js) and the page's data, written by the
// library: each loss with its form and its sliders, the first of which is shown first.

const LOSSES = new Map(JSON.parse(document.getElementById("data").textContent).losses.map((loss) => [loss.name, loss]));
const LOW = -0.4, HIGH = 1; // the part of the plane that is drawn, on both axes
const LEFT = 48, TOP = 18, SIDE = 414; // of the plot within the 480 x 480 view box
const STEP = 0.005, MOST_STEPS = 2000;
const CELLS = 96, ARROWS = 15;

const byId = (id) => document.getElementById(id);
const defaults = (name) => Object.fromEntries(LOSSES.get(name).sliders.map(({ name: key, start }) => [key, start]));
const first = LOSSES.keys().next().value;
const state = { loss: first, settings: defaults(first), s_n: 0.8, s_p: 0.8 };
const clamp = (x, low, high) => Math.min(Math.max(x, low), high);
const toX = (s_n) => LEFT + (SIDE * (s_n - LOW)) / (HIGH - LOW);
const toY = (s_p) => TOP + (SIDE * (HIGH - s_p)) / (HIGH - LOW);
const at = (s_n, s_p) => circletEvaluate(LOSSES.get(state.loss), state.settings, s_n, s_p);

function svg(name, attributes, parent, text) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  parent.append(element);
  return element;
}

// Plain gradient descent on the two similarities, in units in which the slope of a plain similarity is 1.
function descend(s_n, s_p) {
  const path = [[s_n, s_p]];
  for (let i = 0; i < MOST_STEPS; i++) {
    const here = at(s_n, s_p);
    const next_n = clamp(s_n - (STEP * here.gradient_n) / here.unit, -1, 1);
    const next_p = clamp(s_p - (STEP * here.gradient_p) / here.unit, -1, 1);
    if (Math.hypot(next_n - s_n, next_p - s_p) < 1e-6) break;
    [s_n, s_p] = [next_n, next_p];
    path.push([s_n, s_p]);
  }
  return path;
}
window.circletDescend = (loss, settings, s_n, s_p) => {
  const kept = { ...state };
  Object.assign(state, { loss, settings });
  const path = descend(s_n, s_p);
  Object.assign(state, kept);
  return path;
};

function drawHeat() {
  const canvas = byId("heat");
  canvas.width = canvas.height = CELLS;
  const rgb = getComputedStyle(document.documentElement).getPropertyValue("--heat").split(",").map(Number);
  const context = canvas.getContext("2d");
  const image = context.createImageData(CELLS, CELLS);
  const cell = (i) => LOW + ((HIGH - LOW) * (i + 0.5)) / CELLS;
  const values = [];
  for (let row = 0; row < CELLS; row++)
    for (let column = 0; column < CELLS; column++) values.push(at(cell(column), cell(CELLS - 1 - row)).loss);
  const lowest = Math.min(0, ...values), highest = Math.max(...values);
  values.forEach((value, i) => {
    const share = highest > lowest ? Math.sqrt((value - lowest) / (highest - lowest)) : 0;
    image.data.set([...rgb, Math.round(255 * 0.75 * share)], 4 * i);
  });
  context.putImageData(image, 0, 0);
}

function drawAxes() {
  const axes = byId("axes");
  svg("rect", { x: LEFT, y: TOP, width: SIDE, height: SIDE }, axes);
  svg("line", { class: "zero", x1: toX(0), x2: toX(0), y1: TOP, y2: TOP + SIDE }, axes);
  svg("line", { class: "zero", x1: LEFT, x2: LEFT + SIDE, y1: toY(0), y2: toY(0) }, axes);
  for (const s of [-0.4, 0, 0.5, 1]) {
    svg("text", { x: toX(s), y: TOP + SIDE + 19, "text-anchor": "middle" }, axes, s);
    svg("text", { x: LEFT - 6, y: toY(s) + 5, "text-anchor": "end" }, axes, s);
  }
  for (const [letter, x, y] of [["n", toX(0.25), TOP + SIDE + 36], ["p", LEFT - 34, toY(0.25)]]) {
    const name = svg("text", { class: "name", x, y, "text-anchor": "middle" }, axes, "s");
    svg("tspan", { dy: 4, "font-size": 13 }, name, letter);
  }
}

function drawField() {
  const field = byId("field");
  field.replaceChildren();
  const longest = (0.42 * SIDE) / ARROWS;
  const drawn = [];
  for (let i = 0; i < ARROWS; i++)
    for (let j = 0; j < ARROWS; j++) {
      const s_n = LOW + ((HIGH - LOW) * (i + 0.5)) / ARROWS, s_p = LOW + ((HIGH - LOW) * (j + 0.5)) / ARROWS;
      const { gradient_n, gradient_p } = at(s_n, s_p);
      drawn.push([toX(s_n), toY(s_p), -gradient_n, gradient_p, Math.hypot(gradient_n, gradient_p)]);
    }
  const strongest = Math.max(...drawn.map((arrow) => arrow[4]));
  for (const [x, y, dx, dy, length] of drawn) {
    const factor = strongest > 0 ? (2 * longest) / strongest : 0;
    svg("circle", { cx: x, cy: y, r: 1.6 }, field);
    if (length * factor > 1) svg("line", { x1: x, y1: y, x2: x + dx * factor, y2: y + dy * factor }, field);
  }
}

// Where `decision` changes its sign along the sides of small squares, joined within each square.
function drawBoundary() {
  const size = (HIGH - LOW) / CELLS;
  const s = Array.from({ length: CELLS + 1 }, (_, i) => LOW + i * size);
  const value = s.map((s_p) => s.map((s_n) => at(s_n, s_p).decision));
  const parts = [];
  for (let j = 0; j < CELLS; j++)
    for (let i = 0; i < CELLS; i++) {
      const corners = [[i, j], [i + 1, j], [i + 1, j + 1], [i, j + 1]];
      const crossings = [];
      corners.forEach(([i0, j0], k) => {
        const [i1, j1] = corners[(k + 1) % 4];
        const from = value[j0][i0], to = value[j1][i1];
        if (from <= 0 === to <= 0) return;
        const t = from / (from - to);
        crossings.push(`${toX(s[i0] + t * (s[i1] - s[i0])).toFixed(2)} ${toY(s[j0] + t * (s[j1] - s[j0])).toFixed(2)}`);
      });
      for (let k = 0; k + 1 < crossings.length; k += 2) parts.push(`M${crossings[k]}L${crossings[k + 1]}`);
    }
  byId("boundary").setAttribute("d", parts.join(""));
}

function drawPoint() {
  const { s_n, s_p } = state;
  const here = at(s_n, s_p);
  const x = toX(s_n), y = toY(s_p);
  byId("point").setAttribute("transform", `translate(${x} ${y})`);
  const reach = 0.2 * (SIDE / (HIGH - LOW));
  const place = (id, x2, y2) => {
    const line = byId(id);
    for (const [key, number] of Object.entries({ x1: x, y1: y, x2, y2 })) line.setAttribute(key, number);
  };
  place("pull-n", x - (reach * here.gradient_n) / here.unit, y);
  place("pull-p", x, y + (reach * here.gradient_p) / here.unit);
  const path = descend(s_n, s_p);
  const [end_n, end_p] = path[path.length - 1];
  byId("trajectory").setAttribute("points", path.map(([n, p]) => `${toX(n).toFixed(2)},${toY(p).toFixed(2)}`).join(" "));
  byId("end").setAttribute("cx", toX(end_n));
  byId("end").setAttribute("cy", toY(end_p));
  const side = here.decision <= 0 ? "past the boundary" : "not past the boundary";
  const shown = { "alpha-n": here.alpha_n, "alpha-p": here.alpha_p, "gradient-n": here.gradient_n,
    "gradient-p": here.gradient_p, "loss-value": here.loss };
  for (const [id, number] of Object.entries(shown)) byId(id).textContent = format(number);
  byId("side").textContent = side;
  byId("point").setAttribute("aria-label", `s_n ${s_n.toFixed(2)}, s_p ${s_p.toFixed(2)}, loss ${format(here.loss)}`);
  byId("readout").textContent = `Loss ${format(here.loss)}, ${side}`;
  for (const field of byId("position").querySelectorAll("input"))
    if (field !== document.activeElement || field.type === "range") {
      field.value = +state[field.name].toFixed(4);
      if (field.type === "range") field.setAttribute("aria-valuetext", field.value);
    }
}

function format(x) {
  if (x === 0) return "0";
  return Math.abs(x) >= 1e-3 && Math.abs(x) < 1e5 ? String(+x.toPrecision(5)) : x.toExponential(3);
}

let waiting;
function speak() { // once the point rests
  clearTimeout(waiting);
  waiting = setTimeout(() => {
    byId("spoken").textContent = `${byId("point").getAttribute("aria-label")}, ${byId("side").textContent}`;
  }, 500);
}

function drawAll() {
  drawHeat();
  drawField();
  drawBoundary();
  drawPoint();
}

function move(s_n, s_p) {
  state.s_n = clamp(Math.round(s_n * 1e4) / 1e4, LOW, HIGH);
  state.s_p = clamp(Math.round(s_p * 1e4) / 1e4, LOW, HIGH);
  drawPoint();
  speak();
}

// A slider and a number input for one value; `apply` gets every valid one. A logarithmic slider stands at log2(value).
// The label may have a subscript; text: what the value is, after the label.
function control(parent, { name, label, subscript, text, logarithmic, low, high, step, least, most }, value, apply) {
  const toPlace = (x) => (logarithmic ? Math.log2(x) : x);
  const toValue = (place) => (logarithmic ? +(2 ** place).toPrecision(3) : place);
  const row = document.createElement("div");
  row.className = "setting";
  const title = document.createElement("label");
  title.textContent = label;
  if (subscript) title.append(Object.assign(document.createElement("sub"), { textContent: subscript }));
  if (text) title.append(" ", Object.assign(document.createElement("small"), { textContent: text }));
  title.htmlFor = `number-${name}`;
  const slider = document.createElement("input"), number = document.createElement("input");
  Object.assign(slider, { type: "range", min: toPlace(low), max: toPlace(high), step, name, id: `slider-${name}` });
  slider.setAttribute("aria-label", title.textContent);
  Object.assign(number, { type: "number", min: least, max: most, step: "any", name, id: `number-${name}`,
    inputMode: "decimal", required: true });
  const show = (x) => {
    slider.value = toPlace(x);
    slider.setAttribute("aria-valuetext", x);
  };
  show(value);
  number.value = value;
  slider.addEventListener("input", () => {
    const chosen = toValue(Number(slider.value));
    slider.setAttribute("aria-valuetext", chosen);
    number.value = chosen;
    apply(chosen);
  });
  number.addEventListener("input", () => {
    if (!number.checkValidity()) return;
    show(Number(number.value));
    apply(Number(number.value));
  });
  row.append(title, slider, number);
  parent.append(row);
}

function showSettings() {
  const settings = byId("settings"), { sliders, idle } = LOSSES.get(state.loss);
  settings.replaceChildren();
  for (const slider of sliders)
    control(settings, slider, +slider.start.toPrecision(6), (chosen) => {
      state.settings[slider.name] = chosen;
      drawAll();
    });
  if (idle.length === 0) return;
  const note = Object.assign(document.createElement("p"), { className: "note" });
  note.textContent = `Of no effect with one positive and one negative: ${idle.join(", ")}.`;
  settings.append(note);
}

function choose(loss) {
  state.loss = loss;
  state.settings = defaults(loss);
  showSettings();
  drawAll();
}

function listen() {
  byId("loss").addEventListener("change", (event) => choose(event.target.value));
  byId("reset").addEventListener("click", () => choose(state.loss));
  const plane = byId("plane"), point = byId("point");
  const follow = (event) => {
    const box = plane.getBoundingClientRect();
    const x = ((event.clientX - box.left) * 480) / box.width, y = ((event.clientY - box.top) * 480) / box.height;
    move(LOW + ((x - LEFT) / SIDE) * (HIGH - LOW), HIGH - ((y - TOP) / SIDE) * (HIGH - LOW));
  };
  point.addEventListener("pointerdown", (event) => {
    point.setPointerCapture(event.pointerId);
    event.stopPropagation();
  });
  point.addEventListener("pointermove", (event) => {
    if (point.hasPointerCapture(event.pointerId)) follow(event);
  });
  plane.addEventListener("click", (event) => {
    if (!point.contains(event.target)) follow(event);
  });
  const directions = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowDown: [0, -1], ArrowUp: [0, 1] };
  point.addEventListener("keydown", (event) => {
    if (!(event.key in directions)) return;
    event.preventDefault();
    const [dn, dp] = directions[event.key], step = event.shiftKey ? 0.1 : 0.01;
    move(state.s_n + dn * step, state.s_p + dp * step);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawHeat);
}

drawAxes();
byId("loss").value = state.loss;
for (const [name, kind] of [["s_n", "negative"], ["s_p", "positive"]]) {
  const shown = { name, label: `similarity of the ${kind}, s`, subscript: kind[0], low: LOW, high: HIGH, step: 0.01,
    least: LOW, most: HIGH };
  control(byId("position"), shown, state[name], (chosen) => move(...(name === "s_n"
    ? [chosen, state.s_p] : [state.s_n, chosen])));
}
showSettings();
listen();
drawAll();
