/* The map: every neuron of every layer as a square. Hover previews one, a click keeps it, arrow keys walk. */
lab.component("neuron-map", (root) => {
  "use strict";

  const VIEWS = [
    ["prompt", "this prompt"],
    ["token", "pinned token"],
    ["share", "how often"],
    ["largest", "largest"],
  ];
  const ABOUT = {
    prompt: "Each square is one neuron: the stronger its colour, the larger its largest activation in this prompt.",
    token: "Each square is one neuron: the stronger its colour, the larger its activation at the pinned token.",
    share: "Each square is one neuron: the stronger its colour, the more of the corpus's tokens it is active on. A dot: on none.",
    largest: "Each square is one neuron: the stronger its colour, the larger its largest activation in the whole corpus.",
  };
  const UNITS = { share: "of tokens", prompt: "activation", token: "activation", largest: "activation" };
  const [LABEL, GAP, SCALE] = [30, 8, 26]; // px: names of layers, between layers, the colour scale
  const page = lab.neurons();
  let place = null; // {columns, rows, cell, pitch, layers, neurons}
  let values = []; // by layer

  const counted = () => page.activity.shown;
  const views = () => (counted() ? VIEWS : VIEWS.slice(0, 2));

  const fig = lab.figure(root, {
    title: "All neurons",
    about: () => ABOUT[view()],
    label: "Map of all neurons; arrow keys walk from one to the next, Escape lets go",
    question: page.all,
    draw,
    over,
    hit,
    hover: page.preview,
    click: (at) => page.choose(isHere(at) && page.isPinned() ? null : at),
    move,
    leave: () => page.choose(null),
    readout,
    caption: () => (["share", "largest"].includes(view()) ? page.activity.caption() : page.all.caption()),
    csv,
  });
  const choice = lab.choice(fig.controls, { name: "neurons.map", label: "coloured by", values: views });
  const view = () => lab.choices.get("neurons.map", views().map(([key]) => key));

  // -- numbers ---------------------------------------------------------------------------------------

  function collect() {
    const [layers, positions, neurons] = page.shape();
    const pos = page.position();
    const largest = (layer, neuron) => {
      let most = -Infinity;
      for (let i = 0; i < positions; i++) most = Math.max(most, page.all.shown.at("activation", layer, i, neuron));
      return most;
    };
    const of = {
      prompt: largest,
      token: (layer, neuron) => page.all.shown.at("activation", layer, pos, neuron),
      share: (layer, neuron) => counted().at("share", layer, neuron),
      largest: (layer, neuron) => counted().at("largest", layer, neuron),
    }[view()];
    return Array.from({ length: layers }, (_, layer) => Float64Array.from({ length: neurons }, (_, neuron) => of(layer, neuron)));
  }

  // -- drawing ---------------------------------------------------------------------------------------

  function measure(width) {
    const [layers, , neurons] = page.shape();
    const room = width - LABEL;
    const wanted = layers * neurons > 2500 ? 6 : 8.5;
    const columns = Math.min(neurons, 16 * Math.max(1, Math.round(room / wanted / 16)));
    const cell = room / columns;
    const rows = Math.ceil(neurons / columns);
    return { layers, neurons, columns, rows, cell, pitch: rows * cell + GAP };
  }

  function draw(ink, width) {
    values = collect();
    place = measure(width);
    const { layers, neurons, columns, rows, cell, pitch } = place;
    const max = view() === "share" ? 1 : Math.max(1e-9, ...values.map(lab.extent));
    lab.drawScale(ink, LABEL, 4, { scale: "magnitude", max, unit: UNITS[view()] });
    const off = page.all.shown.facts.off;
    for (let layer = 0; layer < layers; layer++) {
      const top = SCALE + layer * pitch;
      const image = new ImageData(columns, rows);
      const padded = new Float64Array(columns * rows).fill(NaN);
      padded.set(values[layer]);
      lab.color.paint(image, padded, "magnitude", max);
      ink.image(LABEL, top, columns * cell, rows * cell, image);
      if (counted() && view() === "share") markDead(ink, layer, top);
      ink.rect(LABEL - 0.5, top - 0.5, columns * cell + 1, rows * cell + 1, { stroke: off.includes(layer) ? "surgery" : "hairline" });
      ink.text(0, top + 7, `L${layer}`, { size: 12, mono: true, color: "ink-2" });
      if (off.includes(layer)) ink.text(0, top + 22, "off", { size: 11, color: "surgery" });
    }
    return SCALE + layers * pitch - GAP + 2;
  }

  /* A dead neuron has a dot: it is no pale one, but none at all. */
  function markDead(ink, layer, top) {
    const { columns, cell, neurons } = place;
    for (let neuron = 0; neuron < neurons; neuron++) {
      if (!counted().at("dead", layer, neuron)) continue;
      const [x, y] = [(neuron % columns) + 0.5, Math.floor(neuron / columns) + 0.5];
      ink.circle(LABEL + x * cell, top + y * cell, Math.min(1.5, cell / 5), { fill: "danger" });
    }
  }

  function over(ink) {
    const { columns, cell, pitch } = place;
    const outline = ([layer, neuron], style) => {
      const [x, y] = [LABEL + (neuron % columns) * cell, SCALE + layer * pitch + Math.floor(neuron / columns) * cell];
      ink.rect(x - 1, y - 1, cell + 2, cell + 2, style);
    };
    outline(page.chosen(), { stroke: "accent", width: 2 });
    if (fig.target) outline(fig.target, { stroke: "ink" });
  }

  // -- the hand --------------------------------------------------------------------------------------

  function hit(x, y) {
    const { layers, neurons, columns, rows, cell, pitch } = place;
    const layer = Math.floor((y - SCALE) / pitch);
    const row = Math.floor((y - SCALE - layer * pitch) / cell);
    const column = Math.floor((x - LABEL) / cell);
    const neuron = row * columns + column;
    const inside = layer >= 0 && layer < layers && row >= 0 && row < rows && column >= 0 && column < columns;
    return inside && neuron < neurons ? [layer, neuron] : null;
  }

  const isHere = ([layer, neuron]) => page.chosen()[0] === layer && page.chosen()[1] === neuron;

  /* One square on; over the edge of a layer into the next. */
  function move([right, down]) {
    const { layers, neurons, columns } = place;
    const [layer, neuron] = page.chosen();
    const next = neuron + right + down * columns;
    if (next >= 0 && next < neurons) return page.choose([layer, next]);
    const to = layer + Math.sign(right + down);
    if (to < 0 || to >= layers) return;
    const column = neuron % columns;
    const last = Math.floor((neurons - 1 - column) / columns) * columns + column;
    if (right) page.choose([to, right > 0 ? 0 : neurons - 1]);
    else page.choose([to, down > 0 ? column : last]);
  }

  function readout(at) {
    const [layer, neuron] = at ?? page.chosen();
    const value = values[layer][neuron];
    const number = view() === "share" ? `active on ${page.percent(value)} of tokens` : `${lab.signed(value)} activation`;
    const dead = counted()?.at("dead", layer, neuron) ? " · dead" : counted()?.at("saturated", layer, neuron) ? " · saturated" : "";
    const kept = at ? "" : page.isPinned() ? " (kept)" : " (click one to keep it)";
    return `${page.title([layer, neuron])}: ${number}${dead}${kept}`;
  }

  function csv() {
    const rows = values.flatMap((layer, i) => Array.from(layer, (value, neuron) => [i, neuron, value]));
    return [["layer", "neuron", `${view()} (${UNITS[view()]})`], ...rows];
  }

  root.place = () => place; // where the squares are, for whoever points at them from outside

  lab.choices.on(["neurons.map", "neurons.position"], fig.paint);
  lab.choices.on(["neurons.layer", "neurons.neuron"], fig.point);
  page.activity.on(() => {
    choice.refresh();
    fig.paint();
  });
});
