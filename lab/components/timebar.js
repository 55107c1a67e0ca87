/* The time bar: the run's checkpoints on top of its own loss curve, both log-spaced: log2(1 + step).

   A slider for hand, keyboard and screen reader: drag snaps to the nearest checkpoint, arrows step, Home and End go to
   the ends, space plays. Curves: training loss as a line, held-out loss dashed; forks are marked where they leave. */
lab.component("timebar", (root) => {
  "use strict";

  const PLAY_MS = 300;
  const PAD = { left: 10, right: 10, top: 6, bottom: 12 };

  const icon = (path) => `<svg viewBox="0 0 16 16" width="16" height="16" aria-hidden="true"><path d="${path}"/></svg>`;
  const PLAY = icon("M4 2.5v11l9-5.5z");
  const PAUSE = icon("M4 2.5h3v11H4zM9 2.5h3v11H9z");

  const play = lab.el("button", { type: "button", class: "play" });
  const canvas = lab.el("canvas", { "aria-hidden": "true" });
  const slider = lab.el("div", { class: "slider", role: "slider", tabindex: 0, "aria-label": "Training step" }, canvas);
  const step = lab.el("output", { class: "step" });
  const loss = lab.el("output", { class: "loss" });
  root.append(play, slider, lab.el("div", { class: "reading" }, step, loss));

  let feed = null;
  let unfollow = () => {};
  let playing = 0;

  // -- where things are ------------------------------------------------------------------------------

  const steps = () => lab.run()?.steps ?? [];
  const scale = (at) => Math.log2(1 + at);

  function geometry() {
    const { width, height } = slider.getBoundingClientRect();
    const end = scale(Math.max(1, steps().at(-1) ?? 1, feed?.rows.at(-1)?.step ?? 0));
    return { width, height, x: (at) => PAD.left + (scale(at) / end) * (width - PAD.left - PAD.right) };
  }

  function nearestTo(clientX) {
    const { x } = geometry();
    const target = clientX - slider.getBoundingClientRect().left;
    const distance = (at) => Math.abs(x(at) - target);
    return steps().reduce((best, at) => (distance(at) < distance(best) ? at : best), steps()[0] ?? null);
  }

  // -- moving ----------------------------------------------------------------------------------------

  function move(by) {
    const all = steps();
    const at = all.indexOf(lab.state.step);
    const to = all[Math.min(all.length - 1, Math.max(0, at + by))];
    if (to !== undefined) lab.set({ step: to });
  }

  function toggle(on = !playing) {
    clearInterval(playing);
    playing = 0;
    if (on && steps().length > 1) {
      if (lab.state.step === steps().at(-1)) lab.set({ step: steps()[0] });
      playing = setInterval(() => (lab.state.step === steps().at(-1) ? toggle(false) : move(1)), PLAY_MS);
    }
    play.innerHTML = playing ? PAUSE : PLAY;
    play.setAttribute("aria-label", playing ? "Pause" : "Play through the checkpoints");
  }

  const keys = {
    ArrowLeft: () => move(-1),
    ArrowDown: () => move(-1),
    ArrowRight: () => move(1),
    ArrowUp: () => move(1),
    PageDown: () => move(-4),
    PageUp: () => move(4),
    Home: () => move(-Infinity),
    End: () => move(Infinity),
    " ": () => toggle(),
  };

  function press(event) {
    if (!keys[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    keys[event.key]();
  }

  slider.addEventListener("keydown", press);
  document.addEventListener("keydown", (event) => {
    const free = document.activeElement === document.body || document.activeElement === null;
    if (free && ["ArrowLeft", "ArrowRight"].includes(event.key)) press(event);
  });
  play.addEventListener("click", () => toggle());

  slider.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    slider.setPointerCapture(event.pointerId);
    toggle(false);
    drag(event);
  });
  slider.addEventListener("pointermove", (event) => slider.hasPointerCapture(event.pointerId) && drag(event));

  function drag(event) {
    const at = nearestTo(event.clientX);
    if (at !== null) lab.set({ step: at });
  }

  // -- drawing ---------------------------------------------------------------------------------------

  /* The curve is drawn once into `backdrop`; while the hand moves only the cursor is drawn over it. */
  const backdrop = document.createElement("canvas");
  let range = [0, 1];
  let curves = { training: [], heldout: [] };

  function readCurves() {
    const rows = feed?.rows ?? [];
    const points = (kind, name) =>
      rows.filter((row) => row.kind === kind && Number.isFinite(row[name])).map((row) => [row.step, row[name]]);
    curves = { training: points("step", "loss"), heldout: points("eval", "heldout_loss") };
  }

  function drawBackdrop() {
    const { width, height, x } = geometry();
    if (!width) return;
    const ratio = devicePixelRatio || 1;
    for (const each of [canvas, backdrop]) {
      each.width = Math.round(width * ratio);
      each.height = Math.round(height * ratio);
    }
    const ink = backdrop.getContext("2d");
    ink.setTransform(ratio, 0, 0, ratio, 0, 0);
    ink.clearRect(0, 0, width, height);
    const { training, heldout } = curves;
    const values = [...training, ...heldout].map(([, y]) => y);
    range = values.length ? [Math.min(...values), Math.max(...values)] : [0, 1];
    const floor = height - PAD.bottom;
    ink.fillStyle = lab.css("--hairline");
    ink.fillRect(PAD.left, floor, width - PAD.left - PAD.right, 1);
    const trace = (points, dash, alpha) => {
      ink.setLineDash(dash);
      ink.globalAlpha = alpha;
      ink.beginPath();
      for (const [at, y] of points) ink.lineTo(x(at), height_of(y, height));
      ink.stroke();
      ink.globalAlpha = 1;
    };
    ink.strokeStyle = lab.css("--accent");
    ink.lineWidth = 1.5;
    ink.lineJoin = "round";
    trace(training, [], 0.9);
    trace(heldout, [4, 3], 0.7);
    ink.setLineDash([]);
    ink.fillStyle = lab.css("--ink-2");
    for (const at of steps()) ink.fillRect(Math.round(x(at)) - 0.5, floor - 3, 1, 7);
    ink.fillStyle = lab.css("--surgery");
    for (const at of forks()) triangle(ink, x(at), floor + 4);
    drawCursor();
  }

  function height_of(y, height) {
    const [low, high] = range;
    const share = high > low ? (y - low) / (high - low) : 0.5;
    return PAD.top + (1 - share) * (height - PAD.top - PAD.bottom - 4);
  }

  const forks = () => lab.runs.filter((run) => run.parent?.run === lab.state.run).map((run) => run.parent.step);

  function triangle(ink, x, y) {
    ink.beginPath();
    ink.moveTo(x, y);
    ink.lineTo(x + 4, y + 7);
    ink.lineTo(x - 4, y + 7);
    ink.fill();
  }

  function drawCursor() {
    const { height, x } = geometry();
    const at = lab.state.step;
    const ratio = devicePixelRatio || 1;
    const ink = canvas.getContext("2d");
    ink.setTransform(1, 0, 0, 1, 0, 0);
    ink.clearRect(0, 0, canvas.width, canvas.height);
    if (backdrop.width) ink.drawImage(backdrop, 0, 0);
    if (at === null) return;
    ink.setTransform(ratio, 0, 0, ratio, 0, 0);
    const left = Math.round(x(at));
    ink.fillStyle = lab.css("--ink");
    ink.fillRect(left - 1, 0, 2, height - PAD.bottom + 4);
    ink.beginPath();
    ink.arc(left, height - PAD.bottom, 6, 0, 2 * Math.PI);
    ink.fill();
  }

  // -- in words --------------------------------------------------------------------------------------

  /* Held-out loss is measured at every checkpoint; the training loss stands in where it is not there yet. */
  function lossAt(at) {
    const { heldout, training } = curves;
    const exact = (points) => points.findLast(([each]) => each === at)?.[1];
    const held = exact(heldout);
    if (held !== undefined) return { value: held, kind: "held-out" };
    const trained = exact(training);
    return trained === undefined ? null : { value: trained, kind: "training" };
  }

  function write() {
    const at = lab.state.step;
    const all = steps();
    const found = at === null ? null : lossAt(at);
    step.textContent = at === null ? "no checkpoint yet" : `step ${lab.count(at)}`;
    loss.textContent = found ? `${found.kind} loss ${lab.number(found.value)}` : "";
    loss.title = found ? `${lab.number(found.value)} nats per token, perplexity ${lab.number(Math.exp(found.value))}` : "";
    slider.setAttribute("aria-valuemin", 0);
    slider.setAttribute("aria-valuemax", Math.max(0, all.length - 1));
    slider.setAttribute("aria-valuenow", Math.max(0, all.indexOf(at)));
    const spoken = found ? `, ${found.kind} loss ${lab.number(found.value)} nats per token` : "";
    slider.setAttribute("aria-valuetext", at === null ? "no checkpoint yet" : `step ${at}${spoken}`);
    slider.setAttribute("aria-disabled", String(all.length < 2));
    play.disabled = all.length < 2;
  }

  function redraw() {
    readCurves();
    drawBackdrop();
    write();
  }

  lab.on(["step"], () => {
    drawCursor();
    write();
  });
  lab.on(["runs"], redraw);
  lab.watch(["run"], () => {
    toggle(false);
    unfollow();
    feed = null;
    redraw();
    if (lab.state.run === null) return;
    unfollow = lab.follow(lab.state.run, (latest) => {
      feed = latest;
      redraw();
    });
  });
  lab.onTheme(drawBackdrop);
  new ResizeObserver(drawBackdrop).observe(slider);
  toggle(false);
});
