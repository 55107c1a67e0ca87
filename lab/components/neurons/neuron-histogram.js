/* How strongly the chosen neuron is active over the corpus: a histogram, read from the index. */
lab.component("neuron-histogram", (root) => {
  "use strict";

  const [LEFT, RIGHT, TOP, BOTTOM, HEIGHT] = [64, 12, 10, 38, 220];
  const SMALL = { size: 11, color: "ink-2" };
  const page = lab.neurons();
  const { activity } = page;

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
    empty: page.untold,
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
      if (from && !Number.isInteger(Math.log2(from))) return; // every octave is enough
      const text = page.plain(from);
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
    const range = from === 0 ? `below ${page.plain(to)}` : to === Infinity ? `from ${page.plain(from)}` : `${page.plain(from)} to ${page.plain(to)}`;
    return `activation ${range}: ${lab.count(count)} tokens (${page.percent(count / activity.shown.facts.tokens)})`;
  }

  lab.choices.on(["neurons.layer", "neurons.neuron", "neurons.position"], fig.paint);
});
