/* How often neurons are active over the corpus: a histogram of the chosen one; by layer, how busy it is. Both are read
   from the index. */
lab.component("neuron-counts", (root) => {
  "use strict";

  const EMPTY = "Known as soon as the index below is built.";
  const [LEFT, RIGHT, TOP, BOTTOM, HEIGHT] = [52, 12, 10, 38, 220];
  const SMALL = { size: 11, color: "ink-2" };
  const page = lab.neurons();
  const { activity } = page;
  const plain = (x) => String(Number(x.toPrecision(3)));

  // -- one neuron ------------------------------------------------------------------------------------

  let bars = null; // {from, to, count} of each bin that is drawn
  let place = null;

  /* Counts of a neuron, [not active, bin, …]. */
  function countsOf([layer, neuron]) {
    const { data, shape } = activity.shown.arrays.counts;
    const start = (layer * shape[1] + neuron) * shape[2];
    return data.subarray(start, start + shape[2]);
  }

  const fig = lab.figure(root, {
    title: () => `How strongly it is active${page.all.shown ? `: ${page.title(page.chosen())}` : ""}`,
    about: "Tokens of the corpus on which the neuron is active, by activation. The axis is logarithmic, as each bin is half an octave wide.",
    label: "Histogram of the neuron's activations; arrow keys read the bars",
    question: [activity, page.all],
    empty: EMPTY,
    draw,
    over,
    hit,
    move: ([right]) => fig.aim(Math.min(bars.length - 1, Math.max(0, (fig.target ?? -1) + right))),
    readout,
    note: () => {
      const { shown } = activity;
      const off = countsOf(page.chosen())[0];
      const rest = off / shown.facts.tokens;
      return `Not active on ${lab.count(off)} of ${lab.count(shown.facts.tokens)} tokens (${page.percent(rest)}), which are not drawn.`;
    },
    csv: () => [["activation from", "activation below", "tokens"], ["", 0, countsOf(page.chosen())[0]], ...bars.map(({ from, to, count }) => [from, to, count])],
  });

  function draw(ink, width) {
    const counts = countsOf(page.chosen());
    const edges = [...activity.shown.arrays.edges.data, Infinity];
    const all = Array.from({ length: counts.length - 1 }, (_, i) => ({ from: edges[i], to: edges[i + 1], count: counts[i + 1] }));
    const there = all.map(({ count }, i) => (count ? i : -1)).filter((i) => i >= 0);
    bars = there.length ? all.slice(Math.max(0, there[0] - 1), there.at(-1) + 2) : all.slice(4, 16);
    const most = Math.max(1, ...bars.map(({ count }) => count));
    place = { wide: (width - LEFT - RIGHT) / bars.length, bottom: HEIGHT - BOTTOM, width };
    const { wide, bottom } = place;
    for (const share of [0, 0.5, 1]) {
      const y = Math.round(bottom - share * (bottom - TOP)) + 0.5;
      ink.line(LEFT, y, width - RIGHT, y, { stroke: share ? "hairline" : "edge" });
      ink.text(LEFT - 6, y, lab.number(share * most), { ...SMALL, align: "right" });
    }
    let free = -Infinity;
    bars.forEach(({ from, count }, i) => {
      const [x, h] = [LEFT + i * wide, (count / most) * (bottom - TOP)];
      ink.rect(x + 0.5, bottom - h, wide - 1, h, { fill: "attention-1" });
      const text = plain(from);
      const half = lab.ink.measure(text, SMALL) / 2;
      if (x - half < free) return;
      ink.line(x, bottom, x, bottom + 4, { stroke: "edge" });
      ink.text(x, bottom + 12, text, { ...SMALL, align: "center" });
      free = x + half + 10;
    });
    ink.text((LEFT + width - RIGHT) / 2, bottom + 29, "activation (logarithmic)", { ...SMALL, align: "center" });
    ink.text(8, (TOP + bottom) / 2, "tokens", { ...SMALL, align: "center", rotate: -90 });
    drawHere(ink);
    return HEIGHT;
  }

  /* Where the pinned token of the prompt stands among them. */
  function drawHere(ink) {
    const value = page.track(page.chosen())[page.position()];
    if (!(value > 0)) return;
    const at = bars.findIndex(({ from, to }) => value >= from && value < to);
    if (at < 0) return;
    const { from, to } = bars[at];
    const inside = from > 0 && to < Infinity ? Math.log(value / from) / Math.log(to / from) : 0.5;
    const x = LEFT + (at + inside) * place.wide;
    ink.line(x, TOP, x, place.bottom, { stroke: "accent", width: 2 });
    const word = `‘${lab.tokenText(page.all.shown.tokens[page.position()])}’`;
    const right = x + 6 + lab.ink.measure(word, SMALL) < place.width;
    ink.text(right ? x + 5 : x - 5, TOP + 6, word, { ...SMALL, color: "accent", align: right ? "left" : "right" });
  }

  function over(ink) {
    if (fig.target === null || fig.target >= bars.length) return;
    ink.rect(LEFT + fig.target * place.wide, TOP, place.wide, place.bottom - TOP, { stroke: "accent" });
  }

  function hit(x, y) {
    const i = Math.floor((x - LEFT) / place.wide);
    return i >= 0 && i < bars.length && y < place.bottom + 4 ? i : null;
  }

  function readout(i) {
    if (i === null || i >= bars.length) return "Point at a bar to read it.";
    const { from, to, count } = bars[i];
    const range = from === 0 ? `below ${plain(to)}` : to === Infinity ? `from ${plain(from)}` : `${plain(from)} to ${plain(to)}`;
    return `activation ${range}: ${lab.count(count)} tokens (${page.percent(count / activity.shown.facts.tokens)})`;
  }

  // -- every layer -----------------------------------------------------------------------------------

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

  const busy = lab.figure(root, {
    title: "How often the neurons of each layer are active",
    about: "Neurons by the share of the corpus's tokens on which they are active.",
    label: "Dead, rare and saturated neurons by layer",
    question: activity,
    empty: EMPTY,
    draw: (ink, width) => {
      layers = Array.from({ length: activity.shown.arrays.share.shape[0] }, (_, layer) => kinds(layer));
      const total = activity.shown.arrays.share.shape[1];
      let [x, y] = [0, 0];
      for (const [, words, tint] of KINDS) {
        const size = 16 + lab.ink.measure(words, SMALL) + 16;
        if (x && x + size > width) [x, y] = [0, y + 18];
        ink.rect(x, y + 3, 10, 10, { fill: colorOf(tint), stroke: "hairline" });
        ink.text(x + 16, y + 8, words, SMALL);
        x += size;
      }
      const top = y + 28;
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
      const rows = busyTop(width);
      const layer = Math.floor((y - rows) / ROW);
      return layer >= 0 && layer < layers.length ? layer : null;
    },
    readout: (layer) => (layer === null ? "Point at a layer to read it." : `Layer ${layer}: ${KINDS.map(([kind, words]) => `${lab.count(layers[layer][kind])} ${words.replace(":", ",")}`).join(" · ")}`),
    csv: () => [["layer", ...KINDS.map(([kind]) => kind)], ...layers.map((counts, layer) => [layer, ...KINDS.map(([kind]) => counts[kind])])],
  });

  /* Where the rows begin, below a legend that wraps. */
  function busyTop(width) {
    let [x, y] = [0, 0];
    for (const [, words] of KINDS) {
      const size = 16 + lab.ink.measure(words, SMALL) + 16;
      if (x && x + size > width) [x, y] = [0, y + 18];
      x += size;
    }
    return y + 28;
  }

  lab.lines(root, {
    title: "Activations by layer",
    about: "All neurons of a layer and all tokens together: how large their activations are where they are active.",
    label: "Histograms of activations by layer",
    question: activity,
    empty: EMPTY,
    height: 240,
    unit: "of activations",
    show: page.percent,
    showX: (x) => `from ${plain(2 ** x)}`,
    data: () => {
      const { counts, edges } = activity.shown.arrays;
      const [n, neurons, bins] = counts.shape;
      const x = Array.from(edges.data.slice(1), Math.log2);
      const series = Array.from({ length: n }, (_, layer) => {
        const y = new Float64Array(bins - 2);
        for (let i = 0; i < neurons * bins; i++) if (i % bins > 1) y[(i % bins) - 2] += counts.data[layer * neurons * bins + i];
        return { name: `layer ${layer}`, x, y: Array.from(y, (count) => count / (neurons * activity.shown.facts.tokens)) };
      });
      const xTicks = x.filter((_, i) => i % 4 === 0).map((e) => [e, plain(2 ** e)]);
      return { series, xTitle: "activation", yTitle: "share of activations", xTicks };
    },
  });

  page.on(() => activity.shown && page.all.shown && fig.paint());
  lab.onTheme(busy.paint);
});
