/* How surprising the text is to the model: every token shaded, and in bits, with what was expected instead. */
lab.component("sampling-surprise", (root) => {
  "use strict";

  const { sampling } = lab;
  const PIN = "sampling.position";
  const [LEFT, TOP, PLOT, LABELS] = [40, 12, 170, 84];
  const SMALL = { size: 11, color: "ink-2" };
  const q = sampling.ask("surprise");
  const percent = (share) => `${lab.number(100 * share)}%`;
  const data = (name) => q.shown.arrays[name].data;
  const count = () => data("bits").length;
  const pinned = () => (q.shown ? lab.choices.number(PIN, count()) : null);
  const pin = (i) => lab.choices.set(PIN, i);

  // -- in words --------------------------------------------------------------------------------------

  const word = (i) => lab.tokenText(q.shown.facts.text[i]);

  function describe(i) {
    const bits = data("bits")[i];
    if (Number.isNaN(bits)) return `‘${word(i)}’ (position ${i}): nothing comes before it, so nothing was expected.`;
    const [p, entropy, rank] = ["probability", "entropy", "rank"].map((name) => data(name)[i]);
    const [ids, shares] = [q.shown.arrays.alternatives, q.shown.arrays.alternative_probability];
    const k = ids.shape[1];
    const expected = Array.from({ length: k }, (_, j) => `‘${lab.tokenText(q.shown.facts.words[q.shown.at("alternatives", i, j)])}’ ${percent(shares.data[i * k + j])}`);
    const place = rank === 1 ? "the likeliest" : `number ${lab.count(rank)} by probability`;
    return `‘${word(i)}’ (position ${i}): ${lab.number(bits)} bits, ${percent(p)}, ${place}; ${lab.number(entropy)} bits were expected. Likeliest here: ${expected.join(", ")}.`;
  }

  const WHO = { user: "the prompt", assistant: "the reply", text: "the text" };

  function totals() {
    return q.shown.facts.turns
      .map(({ role, tokens, bits, bits_per_token: each }) => {
        return `${WHO[role]}: ${lab.number(bits)} bits in ${tokens} token${tokens === 1 ? "" : "s"}, ${lab.number(each)} a token`;
      })
      .join(" · ");
  }

  // -- the bars --------------------------------------------------------------------------------------

  let place = null;

  function measure(width) {
    const n = count();
    const step = Math.min(56, (width - LEFT - 4) / n);
    const [bits, entropy] = [data("bits"), data("entropy")];
    const max = 1.06 * Math.max(1, lab.extent(bits), lab.extent(entropy));
    const y = (value) => TOP + PLOT * (1 - value / max);
    return { n, step, bits, entropy, max, y, x: (i) => LEFT + i * step };
  }

  function draw(ink, width) {
    place = measure(width);
    const { n, step, bits, entropy, max, x, y } = place;
    const every = max > 12 ? 4 : max > 5 ? 2 : 1;
    for (let value = 0; value <= max; value += every) {
      ink.line(LEFT, Math.round(y(value)) + 0.5, x(n), Math.round(y(value)) + 0.5);
      ink.text(LEFT - 6, y(value), String(value), { ...SMALL, align: "right" });
    }
    ink.text(8, TOP + PLOT / 2, "bits", { ...SMALL, align: "center", rotate: -90 });
    const wide = Math.max(1, Math.min(0.7 * step, 22));
    const labels = Math.ceil(13 / step);
    for (let i = 0; i < n; i++) {
      const middle = x(i) + step / 2;
      if (!Number.isNaN(bits[i])) {
        ink.rect(middle - wide / 2, y(bits[i]), wide, TOP + PLOT - y(bits[i]), { fill: "attention-1" });
        ink.line(middle - wide / 2 - 2, y(entropy[i]), middle + wide / 2 + 2, y(entropy[i]), { stroke: "accent", width: 2 });
      }
      if (i % labels === 0) ink.text(middle, TOP + PLOT + 8, word(i), { ...SMALL, mono: true, rotate: -90, align: "right", max: LABELS - 12 });
    }
    ink.line(LEFT, TOP + PLOT + 0.5, x(n), TOP + PLOT + 0.5, { stroke: "edge" });
    return key(ink, TOP + PLOT + LABELS + 8, width);
  }

  /* What bars and lines mean, side by side where there is room. */
  function key(ink, y, width) {
    const first = "surprise: −log₂ of the probability it had";
    const beside = LEFT + 36 + lab.ink.measure(first, SMALL);
    const narrow = beside + 180 > width;
    const [x, next] = narrow ? [LEFT, y + 18] : [beside, y];
    ink.rect(LEFT, y - 5, 10, 10, { fill: "attention-1" });
    ink.text(LEFT + 16, y, first, { ...SMALL, max: width - LEFT - 16 });
    ink.line(x, next, x + 12, next, { stroke: "accent", width: 2 });
    ink.text(x + 18, next, "entropy: the surprise expected", { ...SMALL, max: width - x - 18 });
    return next + 12;
  }

  function over(ink) {
    const i = fig.target ?? hover ?? pinned();
    if (i === null || i >= place.n) return;
    const { x, step } = place;
    ink.rect(x(i) + 0.5, TOP - 4, step - 1, PLOT + LABELS, { stroke: "accent" });
  }

  function hit(x) {
    const i = Math.floor((x - LEFT) / place.step);
    return i >= 0 && i < place.n ? i : null;
  }

  const csv = () => [
    ["position", "token", "bits", "probability", "entropy in bits", "rank"],
    ...Array.from({ length: count() }, (_, i) => [i, word(i), ...["bits", "probability", "entropy", "rank"].map((name) => data(name)[i])]),
  ];

  let hover = null; // a chip under the hand

  const fig = lab.figure(root, {
    title: "How surprising the text is",
    about: "Each token by the probability the model gave it before it came. One bit: as likely as heads; every bit more halves that.",
    question: q,
    label: "Surprise of each token in bits; arrow keys read them",
    draw,
    over,
    hit,
    csv,
    readout: (at) => {
      const i = at ?? hover ?? pinned();
      return i === null ? "Point at a token to read what was expected in its place; a click keeps it." : describe(i);
    },
    note: totals,
    caption: () => sampling.caption(q),
    click: (i) => pin(pinned() === i ? null : i),
    move: ([right]) => {
      fig.aim(null);
      pin(Math.min(count() - 1, Math.max(0, (pinned() ?? -1) + right)));
    },
    leave: () => pin(null),
  });

  const strip = lab.strip(fig.controls, {
    tokens: () => q.shown.facts.text,
    values: () => data("bits"),
    scale: "magnitude",
    max: () => Math.max(1, lab.extent(data("bits"))),
    unit: "bits",
    label: "The text, shaded by surprise",
    describe: () => "",
    pinned,
    pin,
    hover: (i) => {
      hover = i;
      fig.point();
    },
  });
  fig.controls.classList.add("sampling-strip");

  q.on(() => {
    strip.element.hidden = !q.shown;
    if (q.shown) strip.paint();
  });
  lab.choices.on([PIN], () => {
    if (!q.shown) return;
    strip.point();
    fig.point();
  });
});
