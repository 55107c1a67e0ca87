/* The stages of the walk outside attention's inside: what each says and draws. In the order of the code they are put
   together by walk.js.

   A stage: {id, title, group, code: [names of code_lines] or (s) => the same, say(s), draw(board, s), moments(s), reads, writes, off(s)}.
   s is the answer of the question "anatomy"; moments are rows of its `stream` that the spine shows beside it. */
(() => {
  "use strict";

  const lab = window.lab;
  const { anatomy } = lab;
  const vector = (s, name) => s.arrays[name].data;
  const row = (s, name, i) => {
    const { data, shape } = s.arrays[name];
    return data.subarray(i * shape[1], (i + 1) * shape[1]);
  };
  const length = (values) => Math.hypot(...values);
  const has = (s, name) => s.facts.off.includes(name);
  const token = (s) => `‘${lab.tokenText(s.facts.token)}’`;
  const STRONG = 3; // root mean squares at which a colour is full
  const rms = (values) => length(values) / Math.sqrt(values.length);
  /* Where the colours of some strips are full: at what stands out, not at the one number that may stand far out. */
  const extent = (...vectors) => Math.min(Math.max(...vectors.map(lab.extent)), STRONG * Math.max(...vectors.map(rms)));
  const now = (s) => ({ layer: s.facts.layer, pos: s.facts.pos, head: s.facts.head });
  const dModel = (s) => s.arrays.embed.shape[0];
  const element = (s, stage, more = {}) => (index) => ({ stage, ...now(s), ...more, index });
  Object.assign(anatomy, { vector, row, length, has, token, extent, rms, STRONG, element, dModel });

  const entering = (s) => 2 * s.facts.layer;
  const count = (n, word) => `${lab.count(n)} ${word}${n === 1 ? "" : "s"}`;

  // -- strips that several stages share ----------------------------------------------------------------

  /* An addition: rows of {op, label, stage, values}, all in one scale, so that colours can be compared. */
  function sum(board, s, rows, more = {}) {
    const max = extent(...rows.map(({ values }) => values));
    rows.forEach(({ stage, faded, layer, ...each }, i) =>
      board.vector({
        ...each,
        faded,
        max,
        tail: i ? "" : undefined,
        element: element(s, stage, layer === undefined ? {} : { layer }),
        name: (at) => `${stage}[${at}]`,
        ...more,
      }),
    );
  }

  const NORMS = { ln1: "resid_pre", ln2: "resid_mid", ln_final: "resid_post" };

  /* LayerNorm: the stream, its mean and spread, what is left of it, gain and bias. */
  function norm(name) {
    return (board, s) => {
      const last = name === "ln_final" ? s.facts.n_layers - 1 : s.facts.layer;
      const stream = name === "ln_final" ? row(s, "stream", 2 * s.facts.n_layers) : vector(s, NORMS[name]);
      const from = element(s, NORMS[name], { layer: last });
      board.vector({ label: "stream", values: stream, max: extent(stream), element: from, name: (i) => `${NORMS[name]}[${i}]` });
      if (has(s, "layernorm")) return;
      const strip = (label, part, op, max) => {
        const values = vector(s, `${name}_${part}`);
        const weight = part === "gain" || part === "bias";
        board.vector({
          op,
          label,
          values,
          max: max ?? extent(values),
          low: 7,
          element: weight ? element(s, name) : element(s, `${name}_${part}`),
          name: (i) => (weight ? `${name}.${part === "gain" ? "weight" : "bias"}[${i}]` : `${name}_${part}[${i}]`),
        });
      };
      board.scalars(
        ["mean", "variance", "scale"].map((part) => ({
          label: part === "scale" ? "√(variance + eps)" : part,
          value: s.facts[`${name}_${part}`],
          element: element(s, `${name}_${part}`)(0),
        })),
      );
      strip("normalised", "normalized", "");
      strip("gain", "gain", "×");
      strip("bias", "bias", "+");
      const out = vector(s, name);
      board.vector({ op: "=", label: "output", values: out, max: extent(out), element: element(s, name), name: (i) => `${name}[${i}]` });
    };
  }

  const normCode = (name) => (s) =>
    has(s, "layernorm") ? ["layernorm_off"] : [`${name}_mean`, `${name}_scale`, `${name}_normalized`, name];

  const normSays = (what) => (s) =>
    has(s, "layernorm")
      ? "LayerNorm is switched off in this model: the stream is read as it is."
      : `Before ${what} reads the stream, LayerNorm takes a copy: it moves the mean to 0, divides by the spread, then stretches and shifts each number by a gain and a bias that were learned.`;

  // -- entering ----------------------------------------------------------------------------------------

  const embedding = {
    id: "embedding",
    title: "Embedding",
    group: "Enter",
    code: ["embed"],
    say: (s) =>
      `Every one of the ${lab.count(s.facts.d_vocab)} tokens has ${dModel(s)} learned numbers of its own. These belong to ${token(s)}, token number ${lab.count(s.facts.id)}.`,
    moments: () => [],
    draw: (board, s) => {
      const values = vector(s, "embed");
      board.vector({ label: "embedding", values, max: extent(values), element: element(s, "embed"), name: (i) => `embed[${i}]` });
    },
    first: true,
  };

  const position = {
    id: "position",
    title: "Position",
    group: "Enter",
    code: ["pos_embed", "entry"],
    off: (s) => has(s, "positions") && "no positions: zeros are added",
    say: (s) =>
      `So has every place in the text; this is place ${s.facts.pos} of ${s.facts.n}, counted from 0. The sum is the residual stream: the one vector that everything below reads from and adds to.`,
    moments: () => [0],
    begins: true,
    draw: (board, s) =>
      sum(board, s, [
        { label: "embedding", stage: "embed", values: vector(s, "embed") },
        { op: "+", label: "position", stage: "pos_embed", values: vector(s, "pos_embed"), faded: has(s, "positions") },
        { op: "=", label: "stream", stage: "resid_pre", layer: 0, values: row(s, "stream", 0) },
      ]),
  };

  /* Layers that are not looked at, a line for each: what they wrote, and a way there. */
  const fold = (id, group, from, to) => ({
    id,
    title: "",
    group,
    fold: (s) => {
      const stream = (i) => row(s, "stream", i);
      const wrote = (i) => (has(s, "residual") ? length(stream(i)) : Math.hypot(...stream(i).map((x, d) => x - stream(i - 1)[d])));
      return Array.from({ length: Math.max(0, to(s) - from(s)) }, (_, i) => {
        const layer = from(s) + i;
        return { layer, attention: wrote(2 * layer + 1), mlp: wrote(2 * layer + 2) };
      });
    },
    moments: (s) => Array.from({ length: 2 * Math.max(0, to(s) - from(s)) }, (_, i) => 2 * from(s) + 1 + i),
  });

  const before = fold("before", "Layers before", () => 0, (s) => s.facts.layer);
  const after = fold("after", "Layers after", (s) => s.facts.layer + 1, (s) => s.facts.n_layers);

  // -- around attention and the MLP --------------------------------------------------------------------

  const norm1 = { id: "norm1", title: "LayerNorm", group: "Attention", code: normCode("ln1"), reads: true };
  Object.assign(norm1, { say: normSays("attention"), moments: (s) => [entering(s)], draw: norm("ln1") });

  const residual = (id, group, stages, code, what, from) => ({
    id,
    title: "Residual",
    group,
    code: [code],
    writes: true,
    off: (s) => has(s, "residual") && "no residual: what is written replaces the stream",
    say: (s) =>
      has(s, "residual")
        ? `In this model ${what} replaces the stream instead of adding to it.`
        : `${what} does not replace the stream, it adds to it. Whatever stood there before is still in the sum.`.replace(/^./, (c) => c.toUpperCase()),
    moments: (s) => [entering(s) + from, entering(s) + from + 1],
    draw: (board, s) => {
      const [pre, out, post] = stages;
      const rows = [
        { label: "stream", stage: pre, values: vector(s, pre), faded: has(s, "residual") },
        { op: "+", label: id === "residual1" ? "attention" : "MLP", stage: out, values: vector(s, out) },
        { op: "=", label: "stream", stage: post, values: vector(s, post) },
      ];
      if (has(s, "residual")) rows.shift();
      sum(board, s, rows);
    },
  });

  const residual1 = residual("residual1", "Attention", ["resid_pre", "attn_out", "resid_mid"], "resid_mid", "attention", 0);
  const residual2 = residual("residual2", "MLP", ["resid_mid", "mlp_out", "resid_post"], "resid_post", "the MLP", 1);

  const norm2 = { id: "norm2", title: "LayerNorm", group: "MLP", code: normCode("ln2"), reads: true };
  Object.assign(norm2, { say: normSays("the MLP"), moments: (s) => [entering(s) + 1], draw: norm("ln2") });

  const mlpOff = (s) => has(s, "mlp") && "no MLP in this layer: what it finds is replaced by zeros";
  const width = (s) => s.arrays.mlp_pre.shape[0];
  const active = (s) => vector(s, "mlp_pre").reduce((n, x) => n + (x > 0), 0);

  const up = {
    id: "up",
    title: "MLP up",
    group: "MLP",
    code: ["mlp_pre"],
    off: mlpOff,
    say: (s) =>
      `Each of ${lab.count(width(s))} neurons holds the vector against a pattern of its own: number times number, added up. This happens at every token by itself.`,
    moments: (s) => [entering(s) + 1],
    draw: (board, s) => {
      const values = vector(s, "mlp_pre");
      board.vector({ label: "before", values, max: extent(values), element: element(s, "mlp_pre"), name: (i) => `neuron ${i} before` });
    },
    matrix: (s) => [["ln2", 1, dModel(s), vector(s, "ln2")], ["W_up", dModel(s), width(s), "w_up"], ["before", 1, width(s), vector(s, "mlp_pre")]],
  };

  const activation = {
    id: "activation",
    title: "Activation",
    group: "MLP",
    code: ["mlp_post"],
    off: mlpOff,
    say: (s) =>
      s.facts.act_fn === "relu"
        ? `ReLU silences every neuron below zero and lets the others through. Here ${count(active(s), "neuron")} of ${lab.count(width(s))} speak.`
        : `GELU all but silences what is below zero and lets the rest through. Here ${count(active(s), "neuron")} of ${lab.count(width(s))} are above it.`,
    moments: (s) => [entering(s) + 1],
    draw: (board, s) => {
      const values = vector(s, "mlp_post");
      board.vector({ label: "after", values, max: extent(values), element: element(s, "mlp_post"), name: (i) => `neuron ${i} after` });
      curve(board, vector(s, "mlp_pre"), values);
    },
  };

  /* Each neuron as a dot: what went in, what came out. */
  function curve(board, pre, post) {
    const { ink, left, y } = board;
    const [w, h] = [Math.min(board.area, 340), 84];
    const [low, high] = [Math.min(-0.1, ...pre), Math.max(0.1, ...pre)];
    const [floor, top] = [Math.min(0, ...post), Math.max(0.1, ...post)];
    const px = (x) => left + ((x - low) / (high - low)) * w;
    const py = (value) => y + h - ((value - floor) / (top - floor)) * h;
    board.caption({ label: "each neuron" }, h);
    ink.line(left, py(0), left + w, py(0), { stroke: "edge" });
    ink.line(px(0), y, px(0), y + h, { stroke: "edge" });
    pre.forEach((x, i) => ink.circle(px(x), py(post[i]), 1.8, { fill: post[i] > 0 ? "positive" : "negative", opacity: 0.55 }));
    const small = { size: 11, color: "ink-2" };
    ink.text(left, y + h + 10, lab.signed(low), small);
    if (px(0) - left > 46 && left + w - px(0) > 46) ink.text(px(0), y + h + 10, "0", { ...small, align: "center" });
    ink.text(left + w, y + h + 10, `${lab.signed(high)} before`, { ...small, align: "right" });
    ink.text(left + w + 6, py(top) + 5, lab.signed(top), small);
    ink.text(left + w + 6, py(top) + 18, "after", small);
    board.y = y + h + 22;
  }

  const down = {
    id: "down",
    title: "MLP down",
    group: "MLP",
    code: ["mlp_out"],
    off: mlpOff,
    say: () => "Every neuron that speaks has a vector of its own; each is taken as strongly as its neuron speaks, and they are added up.",
    moments: (s) => [entering(s) + 1],
    draw: (board, s) => {
      const values = vector(s, "mlp_out");
      board.vector({ label: "output", values, max: extent(values), element: element(s, "mlp_out"), name: (i) => `mlp_out[${i}]`, faded: has(s, "mlp") });
    },
    matrix: (s) => [["after", 1, width(s), vector(s, "mlp_post")], ["W_down", width(s), dModel(s), "w_down"], ["output", 1, dModel(s), vector(s, "mlp_out")]],
  };

  const final = { id: "final", title: "Final LayerNorm", group: "Leave", code: normCode("ln_final"), reads: true };
  Object.assign(final, { say: normSays("the output"), moments: (s) => [2 * s.facts.n_layers], draw: norm("ln_final"), ends: true });

  anatomy.parts = { embedding, position, before, norm1, residual1, norm2, up, activation, down, residual2, after, final };
})();
