/* The way through weight space, with the loss around it. */
lab.component("dynamics-space", (root) => {
  "use strict";

  const { dynamics } = lab;
  const [LEFT, RIGHT, TOP, BOTTOM, LEGEND] = [58, 14, 8, 40, 26]; // px
  const MARGIN = 0.325; // of the path's extent, on each side: the slice's, with the half of a cell beyond its last point
  const [NEAR, CLEAR] = [12, 6]; // px from the hand to a checkpoint; between labels
  const SMALL = { size: 11, color: "ink-2" };
  const way = dynamics.ask("weight-path");
  const slice = dynamics.ask("loss-slice");

  let place = null; // where things are drawn

  // -- geometry ----------------------------------------------------------------------------------------

  const along = (axis) => way.shown.facts.steps.map((_, i) => way.shown.at("xy", i, axis));

  function ends(values) {
    const [low, high] = [Math.min(...values), Math.max(...values)];
    const air = MARGIN * Math.max(high - low, 1e-6);
    return [low - air, high + air];
  }

  function measure(width) {
    const { steps } = way.shown.facts;
    const [[x0, x1], [y0, y1]] = [ends(along(0)), ends(along(1))];
    const [left, right, top] = [LEFT, width - RIGHT, TOP + (slice.shown ? LEGEND : 0)];
    const bottom = top + Math.min(420, Math.max(260, 0.72 * (right - left)));
    const px = (x) => left + ((x - x0) / (x1 - x0)) * (right - left);
    const py = (y) => bottom - ((y - y0) / (y1 - y0)) * (bottom - top);
    const points = steps.map((_, i) => [px(way.shown.at("xy", i, 0)), py(way.shown.at("xy", i, 1))]);
    return { steps, points, px, py, left, right, top, bottom, x0, x1, y0, y1 };
  }

  // -- drawing -----------------------------------------------------------------------------------------

  function draw(ink, width) {
    place = measure(width);
    const { left, right, top, bottom, points } = place;
    if (slice.shown) ink.clip(left, top, right - left, bottom - top, () => drawLoss(ink));
    if (slice.shown) drawScale(ink);
    ink.rect(left + 0.5, top + 0.5, right - left - 1, bottom - top - 1, { stroke: "hairline" });
    drawAxes(ink);
    ink.path(points, { stroke: "paper", width: 5, opacity: 0.8 });
    ink.path(points, { stroke: "ink", width: 1.5 });
    for (const point of points) ink.circle(...point, 4, { fill: "run-b", stroke: "paper" });
    drawLabels(ink);
    return bottom + BOTTOM;
  }

  function ticks(low, high) {
    const rough = (high - low) / 5;
    const power = 10 ** Math.floor(Math.log10(rough));
    const size = [1, 2, 5, 10].find((each) => each * power >= rough) * power;
    const first = Math.ceil(low / size);
    return Array.from({ length: Math.floor(high / size) - first + 1 }, (_, i) => (first + i) * size);
  }

  function drawAxes(ink) {
    const { left, right, top, bottom, px, py, x0, x1, y0, y1 } = place;
    const share = (axis) => `${lab.number(100 * way.shown.at("explained", axis))}% of the differences`;
    for (const x of ticks(x0, x1)) {
      ink.line(px(x), bottom, px(x), bottom + 4, { stroke: "edge" });
      ink.text(px(x), bottom + 12, lab.signed(x), { ...SMALL, align: "center" });
    }
    for (const y of ticks(y0, y1)) {
      ink.line(left - 4, py(y), left, py(y), { stroke: "edge" });
      ink.text(left - 6, py(y), lab.signed(y), { ...SMALL, align: "right" });
    }
    ink.text((left + right) / 2, bottom + 30, `first axis: ${share(0)}`, { ...SMALL, align: "center", max: right - left });
    ink.text(8, (top + bottom) / 2, `second axis: ${share(1)}`, { ...SMALL, align: "center", rotate: -90, max: bottom - top });
  }

  /* Steps beside their points, ends first, where there is room. */
  function drawLabels(ink) {
    const { steps, points, left, right } = place;
    const order = [...new Set([0, steps.length - 1, ...steps.keys()])];
    const taken = points.map(([x, y]) => [x - 5, y - 5, x + 5, y + 5]);
    for (const i of order) {
      const text = lab.count(steps[i]);
      const wide = ink.measure(text, { size: 11 });
      const [x, y] = points[i];
      const beside = [x + 9, x - 9 - wide].map((start) => [start, y]);
      const boxes = [...beside, [x - wide / 2, y - 16], [x - wide / 2, y + 16]].map(([a, b]) => [a - 2, b - 8, a + wide + 2, b + 8]);
      const free = ([a, b, c, d]) => a > left && c < right && taken.every(([l, t, r, e], j) => j === i || c + CLEAR < l || r + CLEAR < a || d < t || e < b);
      const box = boxes.find(free);
      if (!box) continue;
      taken.push(box);
      ink.rect(box[0], box[1] + 1, wide + 4, 14, { fill: "paper", opacity: 0.8, radius: 2 });
      ink.text(box[0] + 2, box[1] + 8, text, { size: 11 });
    }
  }

  // -- the loss around it ------------------------------------------------------------------------------

  /* The lowest and highest finite loss. */
  function span() {
    const there = Array.from(slice.shown.arrays.loss.data).filter(Number.isFinite);
    return there.length ? [Math.min(...there), Math.max(...there)] : [0, 1];
  }

  const spacing = ({ data }) => data[1] - data[0];

  /* Losses are as far apart as they are on the scale: the lowest is its light end. */
  function drawLoss(ink) {
    const { x, y, loss } = slice.shown.arrays;
    const [rows, columns] = loss.shape;
    const [low, high] = span();
    const image = new ImageData(columns, rows);
    const upward = (at) => (rows - 1 - Math.floor(at / columns)) * columns + (at % columns); // the first row is at the bottom
    const values = Float64Array.from(loss.data, (_, at) => (loss.data[upward(at)] - low) / (high - low || 1));
    lab.color.paint(image, values, "probability", 1);
    const [dx, dy] = [spacing(x), spacing(y)];
    const [l, r] = [x.data[0] - dx / 2, x.data.at(-1) + dx / 2].map(place.px);
    const [b, t] = [y.data[0] - dy / 2, y.data.at(-1) + dy / 2].map(place.py);
    ink.rect(l, t, r - l, b - t, { fill: "sunken" });
    ink.image(l, t, r - l, b - t, image);
  }

  function drawScale(ink) {
    const [low, high] = span().map(lab.number);
    const image = new ImageData(120, 1);
    lab.color.paint(image, Float64Array.from({ length: 120 }, (_, i) => i / 119), "probability", 1);
    const left = LEFT + ink.measure(low, SMALL) + 6;
    ink.text(LEFT, 9, low, SMALL);
    ink.image(left, 4, 120, 10, image);
    ink.rect(left - 0.5, 3.5, 121, 11, { stroke: "hairline" });
    ink.text(left + 126, 9, `${high}  nats a token`, SMALL);
  }

  // -- the hand ----------------------------------------------------------------------------------------

  /* {step} of the checkpoint under the hand, or {cell: [row, column]} of the loss. */
  function hit(x, y) {
    const { points, steps, left, right, top, bottom } = place;
    const away = points.map(([a, b]) => Math.hypot(a - x, b - y));
    const nearest = away.indexOf(Math.min(...away));
    if (away[nearest] <= NEAR) return { step: steps[nearest] };
    if (!slice.shown || x < left || x > right || y < top || y > bottom) return null;
    const { arrays } = slice.shown;
    const column = closest(arrays.x.data, place.px, x);
    return { cell: [closest(arrays.y.data, place.py, y), column] };
  }

  const closest = (data, at, where) => data.reduce((best, each, i) => (Math.abs(at(each) - where) < Math.abs(at(data[best]) - where) ? i : best), 0);

  function over(ink) {
    const { steps, points, px, py } = place;
    const mark = (step, style) => steps.includes(step) && ink.circle(...points[steps.indexOf(step)], 7, style);
    mark(lab.state.step, { fill: "accent", stroke: "paper", width: 2 });
    if (fig.target?.step !== undefined) mark(fig.target.step, { stroke: "accent", width: 2 });
    if (!fig.target?.cell || !slice.shown) return;
    const { x, y } = slice.shown.arrays;
    const [row, column] = fig.target.cell;
    const [dx, dy] = [spacing(x), spacing(y)];
    const [l, t] = [px(x.data[column] - dx / 2), py(y.data[row] + dy / 2)];
    ink.rect(l, t, px(x.data[column] + dx / 2) - l, py(y.data[row] - dy / 2) - t, { stroke: "accent", width: 2 });
  }

  function readout(target) {
    if (target?.cell && slice.shown) {
      const [row, column] = target.cell;
      const { x, y } = slice.shown.arrays;
      return `Weights at ${lab.signed(x.data[column])}, ${lab.signed(y.data[row])}: loss ${lab.number(slice.shown.at("loss", row, column))} nats a token`;
    }
    const i = way.shown.facts.steps.indexOf(target?.step ?? lab.state.step);
    if (i < 0) return "Point at a checkpoint to read it; a click goes there.";
    const [x, y] = [0, 1].map((axis) => lab.signed(way.shown.at("xy", i, axis)));
    return `Step ${lab.count(way.shown.facts.steps[i])}: at ${x}, ${y} · norm of all weights ${lab.number(way.shown.at("norm", i))}`;
  }

  function move([right, down]) {
    const { steps } = place;
    const i = steps.indexOf(fig.target?.step ?? lab.state.step);
    fig.aim({ step: steps[Math.min(steps.length - 1, Math.max(0, i + (right || -down)))] });
  }

  /* The checkpoints, then the places of the slice, which are at no step. */
  function csv() {
    const points = way.shown.facts.steps.map((step, i) => [step, way.shown.at("xy", i, 0), way.shown.at("xy", i, 1), way.shown.at("norm", i), ""]);
    const places = [];
    if (slice.shown) {
      const { x, y, loss } = slice.shown.arrays;
      loss.data.forEach((value, at) => places.push(["", x.data[at % x.data.length], y.data[Math.floor(at / x.data.length)], "", value]));
    }
    return [["step", "first axis", "second axis", "norm", "loss"], ...points, ...places];
  }

  const fig = lab.figure(root, {
    title: "The way through weight space",
    about: "Every checkpoint is a point: all its weights, seen along the two directions in which the checkpoints differ most. The way begins at the random start.",
    question: way,
    empty: dynamics.ALONE,
    draw,
    over,
    hit,
    readout,
    move,
    csv,
    leave: () => fig.aim(null),
    caption: () => way.caption() + (slice.shown ? "; the loss approximate: a sample of held-out rows" : ""),
    click: ({ step }) => step !== undefined && lab.set({ step }),
    note: () =>
      slice.shown
        ? `Behind it: the loss on ${lab.count(slice.shown.facts.rows)} held-out rows of weights mixed to lie on this plane. Training never had them; checkpoints beside the plane have another loss than its cells.`
        : "",
  });

  // -- asking for the slice ----------------------------------------------------------------------------

  const told = lab.el("span", { class: "caption", role: "status" });
  const ask = lab.el("button", { type: "button", class: "plain", onclick: () => dynamics.slice(!dynamics.slicing()) }, "Loss around it");
  fig.controls.append(ask, told);

  function showAsked() {
    ask.setAttribute("aria-pressed", String(dynamics.slicing()));
    ask.textContent = dynamics.slicing() ? "Without the loss" : "Loss around it";
    ask.hidden = !way.shown;
    told.textContent = slice.problem ?? (slice.busy ? "computing the loss at 121 places; this takes seconds to a minute …" : "");
  }

  way.on(showAsked);
  slice.on(() => {
    showAsked();
    if (way.shown) fig.paint();
  });
  dynamics.onStep(fig.point);
  // Where the checkpoints are, for whoever points at them from outside.
  fig.element.way = () => place;
});
