/* All weight matrices by a number each, and the chosen one's singular values and entries. */
lab.component("weights-matrices", (root) => {
  "use strict";

  const { weights } = lab;
  const { NAME } = weights;
  const BY = "weights.by";
  const PARTS = ["W_Q", "W_K", "W_V", "W_O", "W_in", "W_out"];
  const MEASURES = {
    norm: ["norm", "Frobenius norm"],
    effective_rank: ["effective rank", "effective rank"],
    largest: ["largest singular value", "largest singular value"],
    std: ["spread", "standard deviation of the entries"],
  };
  const q = weights.ask("weights");
  const grid = lab.el("div", { class: "kit-grid" });
  root.append(grid);

  const names = () => q.shown?.facts.names ?? [];
  const chosen = () => lab.choices.get(NAME.matrix, names().length ? ["blocks.0.attn.W_Q", ...names()] : ["blocks.0.attn.W_Q"]);
  const index = (name) => names().indexOf(name);
  const by = () => lab.choices.get(BY, Object.keys(MEASURES));
  const layers = () => (names().length - 2) / PARTS.length;
  const nameAt = (layer, part) => `blocks.${layer}.${part < 4 ? "attn" : "mlp"}.${PARTS[part]}`;

  const measure = (i, answer = q.shown) => (by() === "largest" ? answer.at("singular", i, 0) : answer.arrays[by()].data[i]);

  function describe(i) {
    const { facts, arrays } = q.shown;
    const [norm, rank, mean, std] = ["norm", "effective_rank", "mean", "std"].map((name) => arrays[name].data[i]);
    const most = Math.min(facts.rows[i], facts.columns[i]);
    const sizes = `${lab.count(facts.rows[i])} × ${lab.count(facts.columns[i])}`;
    const off = facts.unused[i] ? ", not used in this run" : "";
    return `${facts.names[i]} (${sizes}${off}): norm ${lab.number(norm)}, effective rank ${lab.number(rank)} of ${most}, mean ${lab.signed(mean)}, standard deviation ${lab.number(std)}`;
  }

  const all = lab.matrix(grid, {
    title: () => `Every matrix: ${MEASURES[by()][1]}`,
    about: "A click chooses one for the figures beside and below.",
    question: q,
    rowTitle: "layer",
    columnTitle: "matrix",
    square: false,
    cellHeight: 28,
    scale: "magnitude",
    data: () => {
      const n = layers();
      const values = Array.from({ length: n * PARTS.length }, (_, at) => measure(index(nameAt(Math.floor(at / PARTS.length), at % PARTS.length))));
      return { rows: Array.from({ length: n }, (_, i) => `L${i}`), columns: PARTS, values, text: (r, c) => lab.number(values[r * PARTS.length + c]) };
    },
    describe: (r, c) => describe(index(nameAt(r, c))),
    pinned: () => {
      const at = names().indexOf(chosen()) - 2;
      return at < 0 ? null : [Math.floor(at / PARTS.length), at % PARTS.length];
    },
    pin: (at) => lab.choices.set(NAME.matrix, at ? nameAt(...at) : null),
    note: () => `Tables: ${describe(0)}. ${describe(1)}.`,
    caption: () => q.caption(MEASURES[by()][1]),
  });
  lab.choice(all.controls, { name: BY, label: "show", values: Object.entries(MEASURES).map(([key, [short]]) => [key, short]) });
  const picked = lab.choice(all.controls, {
    name: NAME.matrix,
    label: "matrix",
    select: true,
    values: () => ["blocks.0.attn.W_Q", ...names().filter((name) => name !== "blocks.0.attn.W_Q")].map((name) => [name, name]),
  });

  const spectrum = (answer) => {
    const { data, shape } = answer.arrays.singular;
    const i = answer.facts.names.indexOf(chosen());
    return Array.from(data.subarray(i * shape[1], (i + 1) * shape[1])).filter((value) => !Number.isNaN(value));
  };

  const curve = lab.lines(grid, {
    title: () => `Singular values of ${chosen()}`,
    about: "How strongly the matrix passes on each of its directions, strongest first. A flat curve uses all of them, a steep one few.",
    question: q,
    unit: "",
    data: () => {
      const first = lab.run()?.steps[0];
      const begin = first === q.shown.step ? null : q.step(first);
      const line = (name, values, style) => ({ name, x: values.map((_, i) => i + 1), y: values, ...style });
      const series = [line(`step ${lab.count(q.shown.step)}`, spectrum(q.shown), { color: "accent" })];
      if (begin) series.push(line(`step ${lab.count(first)}`, spectrum(begin), { color: "reference", dash: [4, 3] }));
      const rank = q.shown.arrays.effective_rank.data[index(chosen())];
      return { series, lines: [{ x: rank, label: `effective rank ${lab.number(rank)}` }], xTitle: "component", yTitle: "singular value" };
    },
    note: () => describe(index(chosen())),
    caption: () => q.caption(chosen()),
  });

  const spread = lab.lines(grid, {
    title: () => `Entries of ${chosen()}`,
    about: "How many of its weights have which value.",
    question: q,
    data: () => {
      const i = index(chosen());
      const { data, shape } = q.shown.arrays.histogram;
      const edge = q.shown.arrays.edge.data[i] || 1;
      const counts = Array.from(data.subarray(i * shape[1], (i + 1) * shape[1]));
      const wide = (2 * edge) / shape[1];
      const series = [{ name: "", x: counts.map((_, bin) => -edge + (bin + 0.5) * wide), y: counts, color: "attention-1" }];
      return { series, lines: [{ x: 0, label: "0" }], xTitle: `weight, in bins ${lab.number(wide)} wide`, yTitle: "entries" };
    },
    unit: "entries",
    showX: (x) => lab.signed(x),
    caption: () => q.caption(chosen()),
  });

  const grown = lab.lines(grid, {
    title: "Through training",
    about: () => `${MEASURES[by()][1]} of ${chosen()}, at the checkpoints that are in the browser; a click goes there.`,
    question: q,
    mark: () => q.shown.step,
    pick: (step) => lab.set({ step }),
    data: () => {
      const there = (lab.run()?.steps ?? []).map((step) => [step, q.step(step)]).filter(([, answer]) => answer);
      const y = there.map(([, answer]) => measure(index(chosen()), answer));
      return { series: [{ name: "", x: there.map(([step]) => step), y, color: "accent", points: true }], xTitle: "step", yTitle: MEASURES[by()][1], logX: true };
    },
    caption: () => q.caption(chosen()),
  });

  function repaint() {
    picked.refresh();
    if (q.shown) for (const fig of [all, curve, spread, grown]) fig.paint();
  }

  q.on(() => picked.refresh());
  lab.choices.on([BY, NAME.matrix], repaint);
});
