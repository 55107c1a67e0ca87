/* Heads by their weights: which copy, what the chosen one attends to and writes, for all tokens and for one. */
lab.component("weights-heads", (root) => {
  "use strict";

  const { weights } = lab;
  const copying = weights.ask("copying");
  const circuits = weights.ask("circuits");
  const one = weights.ask("token-circuits");
  const UNITS = { score: "attention score", logit: "logit" };

  const named = () => {
    const [layer, head] = weights.head();
    return `${layer}.${head}`;
  };
  const word = (q) => `‘${lab.tokenText(q.shown.facts.words[q.shown.facts.token])}’`;
  const silent = (q) => (q.shown.facts.off ? "This head is off in this run: its weights are there, but nothing it does is used." : "");

  const labels = (letter, count) => Array.from({ length: count }, (_, i) => `${letter}${i}`);
  const grid = lab.el("div", { class: "kit-grid" });
  root.append(grid);

  const heads = lab.matrix(grid, {
    title: "Heads that copy",
    about: "From the eigenvalues of what a head writes about each token: 1 makes whatever it attends to likelier, −1 less likely. A click chooses the head for everything below.",
    question: copying,
    scale: "signed",
    max: 1,
    unit: "copying score",
    rowTitle: "layer",
    columnTitle: "head",
    square: false,
    cellHeight: 28,
    data: () => {
      const { data, shape } = copying.shown.arrays.score;
      return { rows: labels("L", shape[0]), columns: labels("H", shape[1]), values: data, text: (r, c) => lab.signed(data[r * shape[1] + c]) };
    },
    describe: (r, c, value) => `head ${r}.${c}: copying score ${lab.signed(value)}`,
    pinned: () => weights.head(),
    pin: (at) => lab.set(at ? { layer: at[0], head: at[1] } : { layer: null, head: null }),
    caption: () => copying.caption("W_E W_V W_O W_U"),
  });

  eigenvalues();

  /* The chosen head's eigenvalues in the plane: what the score sums up. */
  function eigenvalues() {
    const SIDE = 240;
    const SMALL = { size: 11, color: "ink-2" };
    const of = (name) => {
      const { data, shape } = copying.shown.arrays[name];
      const [layer, head] = weights.head();
      const from = (layer * shape[1] + head) * shape[2];
      return data.subarray(from, from + shape[2]);
    };
    let points = [];

    function draw(ink, width) {
      const [real, imaginary] = [of("eigenvalue_real"), of("eigenvalue_imaginary")];
      const max = Math.max(lab.extent(real), lab.extent(imaginary)) || 1;
      const side = Math.min(SIDE, width - 40);
      const [cx, cy, scale] = [20 + side / 2, 12 + side / 2, side / 2 / (1.08 * max)];
      ink.rect(20.5, 12.5, side, side, { stroke: "hairline" });
      ink.line(20, cy, 20 + side, cy, { stroke: "edge" });
      ink.line(cx, 12, cx, 12 + side, { stroke: "edge" });
      points = Array.from(real, (x, i) => ({ re: x, im: imaginary[i], x: cx + x * scale, y: cy - imaginary[i] * scale }));
      for (const { re, x, y } of points) ink.circle(x, y, 3.5, { fill: re < 0 ? "negative" : "positive", opacity: 0.75 });
      ink.text(20 + side, cy + 10, `${lab.number(max)} real`, { ...SMALL, align: "right" });
      ink.text(cx + 5, 20, "imaginary", SMALL);
      return side + 26;
    }

    const nearest = (x, y) => {
      const found = points.findIndex((point) => Math.hypot(point.x - x, point.y - y) < 8);
      return found < 0 ? null : found;
    };

    const fig = lab.figure(grid, {
      title: () => `Eigenvalues of head ${named()}`,
      about: "One dot for each direction that the head passes on: to the right it strengthens what it reads, to the left it weakens it.",
      question: copying,
      draw,
      over: (ink) => fig.target !== null && points[fig.target] && ink.circle(points[fig.target].x, points[fig.target].y, 5, { stroke: "accent", width: 2 }),
      hit: nearest,
      readout: (i) => {
        if (i !== null && points[i]) return `${lab.signed(points[i].re)} ${points[i].im < 0 ? "−" : "+"} ${lab.number(Math.abs(points[i].im))} i`;
        const [sum, size] = points.reduce(([a, b], { re, im }) => [a + re, b + Math.hypot(re, im)], [0, 0]);
        return points.length ? `Their sum ${lab.signed(sum)} over the sum of their sizes ${lab.number(size)}: ${lab.signed(size ? sum / size : 0)}` : "";
      },
      csv: () => [["real", "imaginary"], ...points.map(({ re, im }) => [re, im])],
      caption: () => copying.caption(`head ${named()} · W_E W_V W_O W_U`),
    });
    lab.on(["layer", "head"], () => copying.shown && fig.paint());
  }

  // -- pairs and the chosen token ----------------------------------------------------------------------

  const MOST = 10; // of each end
  const shared = { mono: true, signed: true, most: 2 * MOST };

  /* The highest of `above`, then the lowest of `below`, the most extreme at both ends. */
  const ends = (q, above, below, text) => {
    const [high, low] = [above, below].map(([ids, values]) => weights.pairs(q.shown, ids, values, text).slice(0, MOST));
    return [...high, ...low.reverse()];
  };

  /* The pairs of a circuit, "qk" or "ov". */
  function pairs(circuit, unit, words) {
    const part = (end) => [`${circuit}_${end}ids`, `${circuit}_${end}${unit}`];
    const spread = () => `Standard deviation over all pairs of tokens: ${lab.number(circuits.shown.facts[`${circuit}_spread`])}.`;
    return lab.bars(grid, {
      ...shared,
      ...words,
      question: circuits,
      unit: UNITS[unit],
      data: () => ends(circuits, part(""), part("low_"), (from, to) => `${from} → ${to}`),
      click: ({ ids: [first] }) => weights.choose(first),
      caption: () => circuits.caption(`head ${named()} · ${circuit.toUpperCase()} circuit`),
      note: () => [silent(circuits), spread()].filter(Boolean).join(" "),
    });
  }

  /* One token's row of a circuit; `names` are the parts of its answer with the highest and the lowest. */
  function row(unit, names, words) {
    return lab.bars(grid, {
      ...shared,
      ...words,
      question: one,
      unit: UNITS[unit],
      data: () => ends(one, ...names.map((name) => [`${name}_ids`, `${name}_${unit}`]), (word) => word),
      click: ({ ids: [id] }) => weights.choose(id),
      caption: () => one.caption(`head ${named()} · ${word(one)}`),
      note: () => `On itself: ${lab.signed(one.shown.facts[`own_${unit}`])}.`,
    });
  }

  pairs("qk", "score", {
    title: () => `Head ${named()}: who looks at whom`,
    about: "Query → key: e to the power of a score is how many times the attention of an average token this one gets. The highest, then the lowest.",
  });
  pairs("ov", "logit", {
    title: () => `Head ${named()}: what it writes`,
    about: "Attended → written: what full attention on the first adds to the logit of the second. The highest, then the lowest.",
  });
  row("score", ["attends", "avoids"], {
    title: () => `Head ${named()}: where ${one.shown ? word(one) : "the token"} looks`,
    about: "When this token asks: how it scores the others as keys.",
  });
  row("logit", ["writes", "suppresses"], {
    title: () => `Head ${named()}: what it writes about ${one.shown ? word(one) : "the token"}`,
    about: "When the head attends to this token: what that adds to every token's logit.",
  });

  lab.on(["layer", "head"], () => copying.shown && heads.paint());
});
