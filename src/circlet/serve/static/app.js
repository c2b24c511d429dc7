// The page: a picture in, a verdict and neighbours out; enrolling, and taking back.

import { $, added, classRow, count, make, neighbour, number } from "/parts.js";
import { ask, form, Refused } from "/requests.js";

const FIRST = 12, FIRST_CLASSES = 30, MOST = 500;
const MARKS = { known: "✓", unknown: "?", undecided: "≈" };

let about = null;
let picture = null;      // the file that is looked at
let looking = null;      // stops the request under way
let lastAdded = null;    // what Undo takes back
let shownAdded = FIRST, shownClasses = FIRST_CLASSES;

// Whatever goes wrong becomes a sentence where people look.
function guarded(work, problem = $("problem")) {
  return async (...given) => {
    problem.textContent = "";
    try {
      return await work(...given);
    } catch (error) {
      if (error.name === "AbortError") return undefined;
      if (error.status === 401 && problem === $("problem")) { await start(); return undefined; }
      problem.textContent = error instanceof Refused ? error.message : `Something went wrong: ${error.message}`;
      if (!(error instanceof Refused)) console.error(error);
      return undefined;
    }
  };
}

// ---- Looking

const look = guarded(async (files) => {
  const chosen = [...files].find((file) => file.type.startsWith("image/") || !file.type);
  if (!chosen) throw new Refused(0, "That is no picture.");
  if (chosen.size > about.max_mib * 2 ** 20) {
    throw new Refused(0, `That file is larger than ${about.max_mib} MiB, which is as much as this service takes.`);
  }
  picture = chosen;
  looking?.abort();
  looking = new AbortController();
  const { signal } = looking;
  preview(chosen);
  show({ answer: true, looking: true, verdict: false, enrol: false, neighbours: false });
  $("app").classList.add("asked");
  $("answer").setAttribute("aria-busy", "true");
  try {
    const found = await ask("POST", "/api/identify", { body: form({ image: chosen }), signal, query: { k: FIRST } });
    tell(found);
    show({ looking: false, verdict: true, enrol: !about.read_only, neighbours: found.neighbours.length > 0 });
    if (matchMedia("(max-width: 55.99rem)").matches) $("answer").scrollIntoView({ block: "nearest" });
  } catch (error) {
    if (error.name !== "AbortError") show({ answer: false });
    throw error;
  } finally {
    if (looking?.signal === signal) $("answer").setAttribute("aria-busy", "false");
  }
});

function preview(file) {
  const image = $("preview");
  if (image.src) URL.revokeObjectURL(image.src);
  image.src = URL.createObjectURL(file);
  show({ preview: true, prompt: false, "no-preview": false });
  $("picture").classList.add("full");
  $("choose").textContent = "Choose another";
  $("photograph").textContent = "Take another";
}

function tell({ verdict, label, similarity, threshold, candidates, neighbours, meaning }) {
  const nearest = candidates[0]?.label;
  $("verdict").className = verdict;
  $("mark").textContent = MARKS[verdict];
  $("label").textContent = label ?? (verdict === "undecided" ? nearest : "Unknown");
  $("numbers").textContent = similarity === null ? "Nothing in the index has a class yet."
    : { known: () => `Similarity ${number(similarity)}, at or above the threshold of ${number(threshold)}.`,
        unknown: () => `Most like ${nearest}, but similarity ${number(similarity)} is below the threshold of ${number(threshold)}.`,
        undecided: () => `The most similar class: similarity ${number(similarity)}.` }[verdict]();
  $("sentence").textContent = meaning;
  const at = (value) => `${100 * Math.min(Math.max(value, 0), 1)}%`;
  show({ scale: similarity !== null, threshold: threshold !== null });
  $("bar").style.width = at(similarity ?? 0);
  $("threshold").style.left = at(threshold ?? 0);
  $("neighbour-list").replaceChildren(...neighbours.map(neighbour));
  $("chips").replaceChildren(...candidates.slice(0, 4).map((each) => {
    const chip = make("button", "", each.label);
    chip.type = "button";
    chip.addEventListener("click", () => enrol(each.label));
    return chip;
  }));
  show({ chips: candidates.length > 0 });
  $("enrol-how").textContent = neighbours[0]?.same_picture && neighbours[0].label
    ? `This very picture is in the index, as ${neighbours[0].label}.` : "";
  $("class").value = "";
}

// ---- Enrolling and taking back

const enrol = guarded(async (label) => {
  for (const button of $("enrol").querySelectorAll("button")) button.disabled = true;
  try {
    const done = await ask("POST", "/api/items", { body: form({ image: picture, label }) });
    lastAdded = done.created ? done : null;
    toast(done.created ? `Added to ${done.label}.` : `It is in ${done.label} already.`, done.created);
    $("enrol-how").textContent = `This picture is in the index, as ${done.label}.`;
    $("class").value = "";
  } finally {
    for (const button of $("enrol").querySelectorAll("button")) button.disabled = false;
  }
  await refresh();
});

const takeBack = guarded(async (id, label) => {
  await ask("DELETE", `/api/items/${id}`);
  if (lastAdded?.id === id) lastAdded = null;
  toast(`Taken back from ${label}.`, false);
  $("enrol-how").textContent = "";
  await refresh();
  ($("added-list").querySelector("button") ?? $("choose")).focus();
});

let fading = null;
function toast(text, undo) {
  $("toast-text").textContent = text;
  show({ undo });
  $("toast").classList.add("shown");
  clearTimeout(fading);
  fading = setTimeout(() => $("toast").classList.remove("shown"), undo ? 20000 : 5000);
}

// ---- What is there

const refresh = guarded(async () => {
  const [now, items, classes] = await Promise.all([
    ask("GET", "/api/about"),
    ask("GET", "/api/items", { query: { limit: shownAdded } }),
    ask("GET", "/api/classes", { query: { limit: MOST } }),
  ]);
  about = now;
  document.title = `${about.name} · circlet`;
  $("name").textContent = about.name;
  $("counts").textContent = `${count(about.items, "picture")}, ${count(about.classes, "class", "classes")}`
    + `${about.read_only ? ", to look at only" : ""}`;
  $("known-classes").replaceChildren(...classes.classes.map(({ label }) => new Option("", label)));
  $("added-list").replaceChildren(...items.items.map((item) => added(item, takeBack)));
  show({ added: items.total > 0, "more-added": items.total > items.items.length && shownAdded < MOST });
  if (about.read_only) for (const button of $("added-list").querySelectorAll("button")) button.remove();
  await listClasses();
});

let listing = 0;
const listClasses = guarded(async () => {
  const own = listing += 1, text = $("filter").value;
  const found = await ask("GET", "/api/classes", { query: { text, limit: shownClasses } });
  if (own !== listing) return;
  const open = new Set([...$("class-list").querySelectorAll("details[open]")].map((row) => row.dataset.label));
  $("class-list").replaceChildren(...found.classes.map((each) => {
    const row = classRow(each, pictures);
    row.dataset.label = each.label;
    row.open = open.has(each.label);
    return row;
  }));
  show({ "all-classes": about.classes > 0, "no-class": found.total === 0,
         "more-classes": found.total > found.classes.length && shownClasses < MOST });
});

async function pictures(label) {
  const found = await ask("GET", "/api/items", { query: { label, limit: 24 } });
  return found.items;
}

function show(parts) {
  for (const [id, shown] of Object.entries(parts)) $(id).hidden = !shown;
}

// ---- Signing in, and the start

const signIn = guarded(async (token) => {
  await ask("POST", "/api/session", { body: JSON.stringify({ token }) });
  $("token").value = "";
  await start();
}, $("sign-in-problem"));

async function start() {
  const health = await ask("GET", "/api/health");
  const known = !health.token || health.signed_in;
  show({ "sign-in": !known, app: known, "sign-out": health.token && known });
  if (!known) {
    $("token").focus();
    return;
  }
  await refresh();
}

$("sign-in").addEventListener("submit", (event) => {
  event.preventDefault();
  signIn($("token").value.trim()).catch(() => {});
});
$("sign-out").addEventListener("click", guarded(async () => {
  await ask("DELETE", "/api/session");
  location.reload();
}));
$("enrol").addEventListener("submit", (event) => {
  event.preventDefault();
  enrol($("class").value);
});
$("undo").addEventListener("click", () => { if (lastAdded) takeBack(lastAdded.id, lastAdded.label); });
$("filter").addEventListener("input", () => { shownClasses = FIRST_CLASSES; listClasses(); });
$("more-classes").addEventListener("click", () => { shownClasses = Math.min(MOST, 4 * shownClasses); listClasses(); });
$("more-added").addEventListener("click", () => { shownAdded = Math.min(MOST, 4 * shownAdded); refresh(); });

for (const way of ["choose", "photograph"]) {
  const input = $(`${way}-file`);
  $(way).addEventListener("click", () => input.click());
  input.addEventListener("change", () => { if (input.files.length) look(input.files); input.value = ""; });
}
if (matchMedia("(pointer: coarse)").matches) {
  show({ photograph: true });
  $("choose").classList.remove("main");
  $("ways").textContent = "Take a photo, or choose one.";
}

const ready = () => about !== null && !$("app").hidden;
addEventListener("paste", (event) => {
  const files = event.clipboardData?.files;
  if (files?.length && ready()) {
    event.preventDefault();
    look(files);
  }
});
addEventListener("keydown", (event) => {
  const typing = event.target.matches("input");
  if ((event.ctrlKey || event.metaKey) && event.key === "z" && !typing && lastAdded) $("undo").click();
});
let over = 0;
addEventListener("dragenter", (event) => { event.preventDefault(); over += 1; $("picture").classList.add("over"); });
addEventListener("dragleave", () => { over -= 1; if (over <= 0) $("picture").classList.remove("over"); });
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  event.preventDefault();
  over = 0;
  $("picture").classList.remove("over");
  if (event.dataTransfer.files.length && ready()) look(event.dataTransfer.files);
});
$("preview").addEventListener("error", () => show({ preview: false, "no-preview": true }));

const handed = new URLSearchParams(location.hash.slice(1)).get("token");
if (handed) history.replaceState(null, "", location.pathname);
if (handed) signIn(handed); else guarded(start)();
