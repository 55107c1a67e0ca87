/* All subsets of the MLPs (or attention layers): the loss with each of them, what each layer is worth, and each pair. */
lab.component("cause-subsets", (root) => {
  "use strict";

  const { cause } = lab;
  const ABOUT =
    "With every subset of the layers switched on, the loss shows how they share the work. A Shapley value is how much " +
    "a layer lowers the loss on average over all orders of switching them on; together they make up the whole fall.";
  const [LEFT, RIGHT, TOP, BOTTOM] = [52, 16, 12, 40];
  const SPREAD = 0.7; // of the room between two sizes, over which subsets of one size lie side by side
  const SMALL = { size: 11, color: "ink-2" };
  const NAMES = { mlp: "MLP", attention: "attention" };

  const grid = cause.section(root, "What the layers do together", ABOUT);
  const controls = cause.controls(grid);
  const of = lab.choice(controls, { name: "cause.of", label: "Layers", values: [["mlp", "MLPs"], ["attention", "Attention"]] });
  cause.how(controls);
  const q = lab.question("shapley", { page: "cause", options: () => ({ part: of.value, how: cause.howNow() }) });
  const layers = () => q.shown.arrays.on.shape[1];
  const called = () => NAMES[q.shown.facts.part];

  // -- every subset as a point ---------------------------------------------------------------------------

  let points = []; // {x, y, on: [layer…], loss} of every subset, in the order of the answer
  let place = null;

  function measure(width) {
    const { on, loss } = q.shown.arrays;
    const count = layers();
    const subsets = Array.from(loss.data, (nats, s) => ({
      loss: nats,
      on: Array.from({ length: count }, (_, layer) => layer).filter((layer) => on.data[s * count + layer]),
    }));
    const bySize = Array.from({ length: count + 1 }, () => []);
    for (const subset of subsets) bySize[subset.on.length].push(subset);
    const high = Math.max(...loss.data);
    const low = Math.min(...loss.data);
    const pad = (high - low || 1) * 0.06;
    const height = 340;
    const between = (width - LEFT - RIGHT) / (count + 1);
    const y = (nats) => TOP + ((high + pad - nats) / (high - low + 2 * pad)) * (height - TOP - BOTTOM);
    bySize.forEach((group, size) =>
      group.forEach((subset, i) => {
        const shift = group.length > 1 ? (i / (group.length - 1) - 0.5) * SPREAD : 0;
        Object.assign(subset, { x: LEFT + (size + 0.5 + shift) * between, y: y(subset.loss) });
      }),
    );
    return { subsets, bySize, between, height, high, low, y, bottom: height - BOTTOM };
  }

  /* The subset with or without one layer. */
  const toggled = (s, layer) => s ^ (1 << (layers() - 1 - layer));

  function draw(ink, width) {
    place = measure(width);
    points = place.subsets;
    const { bottom, between, bySize, height } = place;
    drawAxes(ink, width);
    points.forEach(({ x, y }, s) => {
      for (let layer = 0; layer < layers(); layer++) {
        const next = toggled(s, layer);
        if (next > s) ink.line(x, y, points[next].x, points[next].y, { stroke: "hairline", opacity: 0.7 });
      }
    });
    const mean = (group) => group.reduce((sum, { loss }) => sum + loss, 0) / group.length;
    const line = bySize.map((group, size) => [LEFT + (size + 0.5) * between, place.y(mean(group))]);
    ink.path(line, { stroke: "accent", width: 1.75 });
    for (const { x, y } of points) ink.circle(x, y, 3, { fill: "ink-2" });
    ink.text(line.at(-1)[0], bottom - 8, "", SMALL);
    return height;
  }

  function drawAxes(ink, width) {
    const { bottom, between, bySize, high, low, y } = place;
    const step = niceStep((high - low) / 8);
    for (let nats = Math.ceil(low / step) * step; nats <= high; nats += step) {
      ink.line(LEFT, y(nats), width - RIGHT, y(nats), { stroke: "hairline" });
      ink.text(LEFT - 6, y(nats), worded(nats), { ...SMALL, align: "right" });
    }
    ink.line(LEFT, bottom, width - RIGHT, bottom, { stroke: "edge" });
    bySize.forEach((_, size) => ink.text(LEFT + (size + 0.5) * between, bottom + 12, String(size), { ...SMALL, align: "center" }));
    ink.text((LEFT + width - RIGHT) / 2, bottom + 30, q.shown.facts.part === "mlp" ? "MLPs left in" : "attention layers left in", { ...SMALL, align: "center" });
    ink.text(10, (TOP + bottom) / 2, "loss, nats per token", { ...SMALL, align: "center", rotate: -90 });
  }

  /* A tick's number; a model that surgery has broken has losses of millions. */
  const worded = (nats) =>
    nats >= 1e4 ? Number(nats.toPrecision(2)).toExponential().replace("e+", "e") : String(Number(nats.toPrecision(6)));

  function niceStep(rough) {
    const power = 10 ** Math.floor(Math.log10(rough || 1));
    return [1, 2, 5, 10].find((each) => each * power >= rough) * power;
  }

  function hit(x, y) {
    const distance = (p) => (p.x - x) ** 2 + (p.y - y) ** 2;
    const nearest = points.reduce((best, p, s) => (distance(p) < distance(points[best]) ? s : best), 0);
    return distance(points[nearest]) < 400 ? nearest : null;
  }

  function over(ink) {
    const s = cloud.target;
    if (s === null || s >= points.length) return;
    const { x, y, on } = points[s];
    for (let layer = 0; layer < layers(); layer++) {
      const next = points[toggled(s, layer)];
      ink.line(x, y, next.x, next.y, { stroke: on.includes(layer) ? "negative" : "positive", width: 1.5 });
      ink.circle(next.x, next.y, 3, { fill: "ink" });
    }
    ink.circle(x, y, 5, { fill: "accent" });
  }

  function readout(s) {
    if (s === null) return `Each point is one of ${lab.count(points.length)} subsets; a line adds one ${called()}. Orange: their mean.`;
    const { on, loss } = points[s];
    const list = on.length ? `${called()} of layer${on.length > 1 ? "s" : ""} ${on.join(", ")} left in` : `no ${called()} left in`;
    return `${list}: ${lab.number(loss)} nats per token`;
  }

  const cloud = lab.figure(grid, {
    title: () => `The loss with every subset of the ${of.value === "mlp" ? "MLPs" : "attention layers"}`,
    question: q,
    label: "Loss of every subset against its size",
    draw,
    over,
    hit,
    readout,
    move: ([right, down]) => cloud.aim(Math.min(points.length - 1, Math.max(0, (cloud.target ?? -1) + right + down))),
    csv: () => [
      [...Array.from({ length: layers() }, (_, layer) => `${called()} ${layer}`), "loss (nats per token)"],
      ...points.map(({ on, loss }) => [...Array.from({ length: layers() }, (_, layer) => (on.includes(layer) ? 1 : 0)), loss]),
    ],
    filename: () => q.filename(q.shown.facts.part),
  });
  cloud.element.points = () => points;

  // -- what each is worth, and each pair -------------------------------------------------------------------

  const side = lab.el("div", { class: "cause-stack" });
  grid.append(side);

  lab.bars(side, {
    title: "Shapley values",
    question: q,
    signed: true,
    unit: "nats per token",
    data: () =>
      Array.from(q.shown.arrays.shapley.data, (value, layer) => ({
        label: `L${layer} ${called()}`,
        value,
        alone: q.shown.arrays.alone.data[layer],
        last: q.shown.arrays.last.data[layer],
      })),
    describe: ({ label, value, alone, last }) =>
      `${label} lowers the loss by ${lab.signed(value)} on average; by ${lab.signed(alone)} where it is the only one, ` +
      `by ${lab.signed(last)} on top of all others`,
    note: () => {
      const { loss } = q.shown.arrays;
      return (
        `They sum to ${lab.signed(q.shown.facts.total)} nats per token: the loss without any (${lab.number(loss.data[0])}) ` +
        `less the loss with all (${lab.number(loss.data.at(-1))}).`
      );
    },
    filename: () => q.filename(`${q.shown.facts.part}-values`),
  });

  lab.matrix(side, {
    title: "Pairs",
    about: "Orange: worth more together than apart. Blue: they do the same work.",
    question: q,
    scale: "signed",
    unit: "nats per token",
    rowTitle: "layer",
    columnTitle: "layer",
    data: () => {
      const count = layers();
      const values = Float32Array.from(q.shown.arrays.interaction.data, (value, i) => (i % (count + 1) ? value : NaN));
      return { rows: cause.layers(count), columns: cause.layers(count), values };
    },
    describe: (r, c, value) =>
      r === c
        ? `layer ${r}: its own value is in the bars above`
        : `layers ${r} and ${c}: ${lab.signed(value)} nats per token ${value > 0 ? "more" : "less"} together than apart`,
    filename: () => q.filename(`${q.shown.facts.part}-pairs`),
  });
});
