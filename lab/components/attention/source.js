/* What wall and large head show: patterns, scores before the softmax, value-weighted attention or rollout. Each is a
   picture of the same form, read from data kept in the browser; patterns come from lab.attention, the others are asked
   for when they are chosen. */
(() => {
  "use strict";

  const lab = window.lab;
  const { attention } = lab;
  const CHOICE = "attention.show";
  const ROLLOUT = ["so far", "one layer"];

  attention.SHOWN = [
    ["pattern", "Pattern"],
    ["scores", "Scores before softmax"],
    ["value-weighted", "Value-weighted"],
    ["rollout", "Rollout"],
  ];
  const NAMES = attention.SHOWN.map(([name]) => name);
  const questions = new Map();
  const listeners = new Set();

  attention.chosen = () => lab.choices.get(CHOICE, NAMES);

  /* fn() when another sort of picture was chosen, or when there is another picture to show. */
  attention.onPicture = (fn) => {
    listeners.add(fn);
    attention.on(() => attention.chosen() === "pattern" && fn());
  };

  const tell = () => listeners.forEach((fn) => fn());

  lab.choices.on([CHOICE], () => {
    question();
    attention.preview(null);
    tell();
  });

  /* The question behind what is chosen; null for patterns. */
  function question() {
    const name = attention.chosen();
    if (name === "pattern") return null;
    if (!questions.has(name)) {
      const options = () => (attention.chosen() === name ? {} : null);
      const q = lab.question(name, { page: "attention", options, scrub: true });
      questions.set(name, q);
      q.on(() => attention.chosen() === name && tell());
    }
    return questions.get(name);
  }

  attention.trouble = () => (question() ?? attention).problem;
  attention.have = () => (question() ?? attention).progress();

  // -- pictures --------------------------------------------------------------------------------------

  /* null, or {name, header: {run, prompt, tokens, surgery, …}, step, n, layers, columns: names of the wall's columns,
     values(layer, head): n * n numbers, paint(image, values), value(number) in its unit, say(query, key, value),
     scale, max, unit, where(layer, head): hook names, caption(where), title(layer, head)}. */
  attention.picture = () => {
    const name = attention.chosen();
    const q = question();
    return name === "pattern" ? patterns() : q.shown && FROM[name](q.shown, q);
  };

  const heads = (count) => Array.from({ length: count }, (_, head) => `H${head}`);
  const headTitle = (layer, head) => `Layer ${layer} · head ${head}`;

  function patterns() {
    const { shown } = attention;
    if (!shown) return null;
    const { header, step } = shown;
    return {
      name: "pattern",
      header,
      step,
      n: header.n,
      layers: header.layers,
      columns: heads(header.heads),
      values: shown.pattern,
      paint: lab.color.paintAttention,
      value: (number) => number / 65535,
      say: (query, key, p) => `the query ‘${query}’ looks at ‘${key}’: ${lab.number(p)}`,
      scale: "probability",
      max: 1,
      unit: "attention probability",
      exact: "exact to 1/65\u202f535",
      where: (layer, head) => `blocks.${layer}.attn.hook_pattern[${head}]`,
      everywhere: "blocks.*.attn.hook_pattern",
      caption: attention.caption,
      title: headTitle,
    };
  }

  function asked(name, { header, step, arrays }, q, more) {
    const [layers, n] = [Object.values(arrays)[0].shape[0], header.tokens.length];
    const { scale, max } = more;
    const paint = (image, values) => lab.color.paint(image, values, scale, max);
    const caption = (where) => q.caption(where);
    return { name, header, step, n, layers, paint, caption, value: (number) => number, exact: "exact", everywhere: "", title: headTitle, ...more };
  }

  /* The square of one layer and head of an array [layer head query key]. */
  const square = ({ data, shape }) => {
    const size = shape[2] * shape[3];
    return (layer, head) => data.subarray((layer * shape[1] + head) * size).subarray(0, size);
  };

  const largest = new WeakMap();

  /* An array's largest distance from zero, looked for once. */
  function extent(data) {
    if (!largest.has(data)) largest.set(data, lab.extent(data));
    return largest.get(data);
  }

  const FROM = {
    scores: (shown, q) => {
      const { scores } = shown.arrays;
      return asked("scores", shown, q, {
        columns: heads(scores.shape[1]),
        values: square(scores),
        scale: "signed",
        max: extent(scores.data),
        unit: "score in nats",
        say: (query, key, score) =>
          score === -Infinity
            ? `the query ‘${query}’ cannot see ‘${key}’: the mask makes its score −∞`
            : `the query ‘${query}’ scores ‘${key}’: ${lab.signed(score)} nats`,
        where: (_, head) => `head ${head}`,
      });
    },
    "value-weighted": (shown, q) => {
      const { norms } = shown.arrays;
      return asked("value-weighted", shown, q, {
        columns: heads(norms.shape[1]),
        values: square(norms),
        scale: "magnitude",
        max: extent(norms.data),
        unit: "norm of α·v·W_O, without b_O",
        say: (query, key, norm) => `‘${key}’ adds a vector of length ${lab.number(norm)} to the query ‘${query}’`,
        where: (_, head) => `head ${head}`,
      });
    },
    rollout: (shown, q) => {
      const { rollout, layers } = shown.arrays;
      const size = rollout.shape[1] * rollout.shape[2];
      return asked("rollout", shown, q, {
        columns: ROLLOUT.slice(0, lab.run()?.n_heads ?? 1),
        values: (layer, column) => (column ? layers : rollout).data.subarray(layer * size, (layer + 1) * size),
        scale: "probability",
        max: 1,
        unit: "share of the input token",
        say: (query, key, share) => `of the query ‘${query}’ the share of ‘${key}’ is ${lab.number(share)}`,
        where: (_, column) => (column ? "mean of the heads and identity" : "layers multiplied"),
        title: (layer, column) => (column ? `Layer ${layer} · mean of its heads, half identity` : `Rollout up to layer ${layer}`),
      });
    },
  };
})();
