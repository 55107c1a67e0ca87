/* Positions: where heads look by position alone, and how position embeddings lie. */
lab.component("weights-positions", (root) => {
  "use strict";

  const { weights } = lab;
  const SHOW = "weights.position";
  const qk = weights.ask("positional-qk");
  const reach = weights.ask("positional-reach");
  const table = weights.ask("positions");
  const grid = lab.el("div", { class: "kit-grid" });
  root.append(grid);

  const named = () => weights.head().join(".");
  const scores = () => lab.choices.get(SHOW, ["pattern", "score"]) === "score";

  /* A query sees no later key under the mask: those cells are empty. */
  function visible({ data, shape: [n] }, causal) {
    if (!causal) return data;
    return data.map((value, i) => (i % n > Math.floor(i / n) ? NaN : value));
  }

  const one = lab.matrix(grid, {
    title: () => `Head ${named()}: where it looks by position alone`,
    about: () =>
      scores()
        ? "The part of its scores that no token changes, less its mean over the keys that the query sees."
        : "The attention it would pay if all tokens were alike: the softmax of its positional scores.",
    question: qk,
    rowTitle: "query position",
    columnTitle: "key position",
    scale: () => (scores() ? "signed" : "probability"),
    // Far from the start a row is spread over many keys: the largest off the first rows sets the scale.
    max: () => (scores() ? lab.extent(visible(qk.shown.arrays.score, qk.shown.facts.causal)) : bright()),
    data: () => {
      const { facts, arrays } = qk.shown;
      const { shape } = arrays.score;
      return { rows: shape[0], columns: shape[1], values: visible(arrays[scores() ? "score" : "pattern"], facts.causal) };
    },
    describe: (r, c, value) => {
      if (Number.isNaN(value)) return `query position ${r} cannot see key position ${c}: it comes later`;
      const other = qk.shown.at(scores() ? "pattern" : "score", r, c);
      const [p, score] = scores() ? [other, value] : [value, other];
      return `query position ${r}, key position ${c}: probability ${lab.number(p)}, score ${lab.signed(score)}`;
    },
    caption: () => qk.caption(`head ${named()} · W_pos W_Qᵀ W_K W_posᵀ`),
  });

  /* The brightest of the rows from the eighth on. */
  function bright() {
    const { data, shape } = qk.shown.arrays.pattern;
    return lab.extent(data.subarray(Math.min(8, shape[0] - 1) * shape[1])) || 1;
  }

  lab.choice(one.controls, { name: SHOW, label: "show", values: [["pattern", "attention"], ["score", "scores"]] });

  lab.matrix(grid, {
    title: "All heads: how far back they look by position alone",
    about: "Mean attention to the key so many positions before the query, if all tokens were alike. A click chooses the head.",
    question: reach,
    rowTitle: "head",
    columnTitle: "positions back",
    unit: "mean attention",
    square: false,
    cellHeight: 14,
    scale: "probability",
    max: () => lab.extent(near().values),
    data: near,
    describe: (r, c, value) => `head ${headOf(r).join(".")} looks ${c === 0 ? "at itself" : `${c} back`}: ${lab.number(value)}`,
    pin: (at) => at && lab.set({ layer: headOf(at[0])[0], head: headOf(at[0])[1] }),
    caption: () => reach.caption("W_pos W_Qᵀ W_K W_posᵀ"),
  });

  const headOf = (row) => {
    const [, heads] = reach.shown.arrays.share.shape;
    return [Math.floor(row / heads), row % heads];
  };

  /* The first offsets: farther back there are few queries left. */
  function near() {
    const { data, shape } = reach.shown.arrays.share;
    const [layers, heads, n] = shape;
    const kept = Math.min(n, 33);
    const values = new Float32Array(layers * heads * kept);
    for (let row = 0; row < layers * heads; row++) values.set(data.subarray(row * n, row * n + kept), row * kept);
    return { rows: Array.from({ length: layers * heads }, (_, i) => `L${Math.floor(i / heads)}H${i % heads}`), columns: kept, values };
  }

  lab.matrix(grid, {
    title: "How alike positions are",
    about: "Cosines of the position embeddings, their mean taken away. A band along the diagonal: neighbours are alike.",
    question: table,
    rowTitle: "position",
    columnTitle: "position",
    unit: "cosine",
    scale: "signed",
    max: 1,
    data: () => ({ rows: table.shown.arrays.similarity.shape[0], columns: table.shown.arrays.similarity.shape[1], values: table.shown.arrays.similarity.data }),
    caption: () => table.caption("pos_embed.W_pos"),
  });

  lab.lines(grid, {
    title: "Principal components of positions",
    about: "Each position's place along the three directions in which positions differ most.",
    question: table,
    data: () => {
      const { data, shape } = table.shown.arrays.points;
      const explained = table.shown.arrays.explained.data;
      const x = Array.from({ length: shape[0] }, (_, i) => i);
      const series = [0, 1, 2].map((axis) => ({ name: `component ${axis + 1} (${lab.number(100 * explained[axis])}%)`, x, y: x.map((i) => data[3 * i + axis]) }));
      return { series, xTitle: "position", yTitle: "coordinate", lines: [{ y: 0, label: "" }] };
    },
    caption: () => table.caption("pos_embed.W_pos"),
  });

  lab.choices.on([SHOW], () => qk.shown && one.paint());
});
