// The plane of similarities over training: a slider and a button that plays. Reads `plane` of the page's data:
// steps, points (a flat list of tenths of pixels for each step) and means.

const plane = JSON.parse(document.getElementById("data").textContent).plane;
if (plane) {
  const byId = (id) => document.getElementById(id);
  const circles = [...byId("plane-anchors").children];
  const slider = byId("plane-frame"), button = byId("plane-play");
  const slow = matchMedia("(prefers-reduced-motion: reduce)");
  const last = plane.steps.length - 1;
  let timer = null;

  const show = (frame) => {
    const points = plane.points[frame];
    circles.forEach((circle, i) => {
      const there = 2 * i < points.length;
      circle.setAttribute("visibility", there ? "visible" : "hidden");
      if (!there) return;
      circle.setAttribute("cx", points[2 * i] / 10);
      circle.setAttribute("cy", points[2 * i + 1] / 10);
    });
    const path = plane.means.slice(0, frame + 1).map(([x, y]) => `${x / 10},${y / 10}`);
    byId("plane-mean").setAttribute("points", path.join(" "));
    slider.value = frame;
    slider.setAttribute("aria-valuetext", `step ${plane.steps[frame]}`);
    byId("plane-step").textContent = `step ${plane.steps[frame]}`;
  };

  const stop = () => {
    clearInterval(timer);
    timer = null;
    button.textContent = "Play";
  };

  const play = () => {
    if (Number(slider.value) === last) show(0);
    button.textContent = "Pause";
    // Without motion: one still after another, few enough to look at each.
    const [wait, stride] = slow.matches ? [1000, Math.max(1, Math.round(last / 10))] : [Math.max(60, 6000 / (last + 1)), 1];
    timer = setInterval(() => {
      show(Math.min(last, Number(slider.value) + stride));
      if (Number(slider.value) === last) stop();
    }, wait);
  };

  button.addEventListener("click", () => (timer === null ? play() : stop()));
  slider.addEventListener("input", () => {
    stop();
    show(Number(slider.value));
  });
  show(last);
}
