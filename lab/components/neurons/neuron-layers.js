/* How busy each layer is over the corpus: dead, rare and saturated neurons, and how large activations are. Both are read
   from the index. */
lab.component("neuron-layers", (root) => {
  "use strict";

  const SMALL = { size: 11, color: "ink-2" };
  const page = lab.neurons();
  const { activity } = page;

  const KINDS = [
    ["dead", "dead: never active", "reference"],
    ["rare", "on less than 1% of tokens", 0.25],
    ["some", "on 1% to 20%", 0.5],
    ["often", "on 20% to 90%", 0.75],
    ["saturated", "saturated: on more than 90%", 1],
  ];
  const [ROW, BAR, NAME] = [28, 18, 34];
  const colorOf = (tint) => (typeof tint === "string" ? tint : lab.color.attention(tint));
  let layers = []; // of each: neurons by kind

  function kinds(layer) {
    const found = Object.fromEntries(KINDS.map(([kind]) => [kind, 0]));
    const { shown } = activity;
    for (let neuron = 0; neuron < shown.arrays.share.shape[1]; neuron++) {
      const share = shown.at("share", layer, neuron);
      const kind = shown.at("dead", layer, neuron) ? "dead" : shown.at("saturated", layer, neuron) ? "saturated" : share < 0.01 ? "rare" : share < 0.2 ? "some" : "often";
      found[kind]++;
    }
    return found;
  }

  lab.figure(root, {
    title: "How often the neurons of each layer are active",
    about: "Neurons by the share of the corpus's tokens on which they are active.",
    label: "Dead, rare and saturated neurons by layer",
    question: activity,
    empty: page.untold,
    draw: (ink, width) => {
      layers = Array.from({ length: activity.shown.arrays.share.shape[0] }, (_, layer) => kinds(layer));
      const total = activity.shown.arrays.share.shape[1];
      const { names, top } = legend(width);
      for (const { words, tint, x, y } of names) {
        ink.rect(x, y + 3, 10, 10, { fill: colorOf(tint), stroke: "hairline" });
        ink.text(x + 16, y + 8, words, SMALL);
      }
      layers.forEach((counts, layer) => {
        const at = top + layer * ROW;
        ink.text(0, at + BAR / 2, `L${layer}`, { size: 12, mono: true, color: "ink-2" });
        let left = NAME;
        for (const [kind, , tint] of KINDS) {
          const size = ((width - NAME) * counts[kind]) / total;
          ink.rect(left, at, size, BAR, { fill: colorOf(tint) });
          const text = lab.count(counts[kind]);
          const fill = typeof tint === "string" ? "paper" : lab.ink.contrast(colorOf(tint));
          if (size > lab.ink.measure(text, SMALL) + 6) ink.text(left + size / 2, at + BAR / 2, text, { ...SMALL, color: fill, align: "center" });
          left += size;
        }
        ink.rect(NAME - 0.5, at - 0.5, width - NAME, BAR + 1, { stroke: "hairline" });
      });
      const axis = top + layers.length * ROW;
      ink.text((NAME + width) / 2, axis + 8, `neurons (${lab.count(total)} in each layer)`, { ...SMALL, align: "center" });
      root.dataset.kinds = JSON.stringify(layers);
      return axis + 20;
    },
    hit: (x, y, width) => {
      const layer = Math.floor((y - legend(width).top) / ROW);
      return layer >= 0 && layer < layers.length ? layer : null;
    },
    readout: (layer) => (layer === null ? "Point at a layer to read it." : `Layer ${layer}: ${KINDS.map(([kind, words]) => `${lab.count(layers[layer][kind])} ${words.replace(":", ",")}`).join(" · ")}`),
    csv: () => [["layer", ...KINDS.map(([kind]) => kind)], ...layers.map((counts, layer) => [layer, ...KINDS.map(([kind]) => counts[kind])])],
  });

  /* Where the names of the kinds stand, in rows; and where the bars begin. */
  function legend(width) {
    let [x, y] = [0, 0];
    const names = KINDS.map(([, words, tint]) => {
      const size = 16 + lab.ink.measure(words, SMALL) + 16;
      if (x && x + size > width) [x, y] = [0, y + 18];
      const at = { words, tint, x, y };
      x += size;
      return at;
    });
    return { names, top: y + 28 };
  }

  lab.lines(root, {
    title: "Activations by layer",
    about: "All neurons of a layer and all tokens together: how large their activations are where they are active.",
    label: "Histograms of activations by layer",
    question: activity,
    empty: page.untold,
    height: 240,
    unit: "of activations",
    show: page.percent,
    showX: (x) => `from ${page.plain(2 ** x)}`,
    data: () => {
      const { counts, edges } = activity.shown.arrays;
      const [n, neurons, bins] = counts.shape;
      const x = Array.from(edges.data.slice(1), Math.log2);
      const series = Array.from({ length: n }, (_, layer) => {
        const y = new Float64Array(bins - 2);
        for (let i = 0; i < neurons * bins; i++) if (i % bins > 1) y[(i % bins) - 2] += counts.data[layer * neurons * bins + i];
        return { name: `layer ${layer}`, x, y: Array.from(y, (count) => count / (neurons * activity.shown.facts.tokens)) };
      });
      const xTicks = x.filter((_, i) => i % 4 === 0).map((e) => [e, page.plain(2 ** e)]);
      return { series, xTitle: "activation", yTitle: "share of activations", xTicks };
    },
  });
});
