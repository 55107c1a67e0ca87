/* From one position back to the tokens that were read: attention rollout, and attention flow. */
lab.component("attention-flow", (root) => {
  "use strict";

  const { attention } = lab;
  const sight = lab.sight(root);

  const fits = () => attention.shown?.header.run === lab.state.run && attention.shown.header.prompt === lab.state.prompt;
  let last = null;

  /* The pinned query or the last position. */
  function options() {
    if (!sight.ever) return null;
    if (fits()) last = { query: Math.min(lab.state.query ?? Infinity, attention.shown.header.n - 1) };
    return last;
  }

  const q = lab.question("flow", { page: "attention", options });
  attention.on(() => sight.ever && q.refresh());
  sight.on(q.refresh);

  const labels = () => lab.tokenLabels(q.shown.tokens);

  lab.matrix(root, {
    title: () => (q.shown ? `Where ‘${labels()[q.shown.facts.query]}’ (position ${q.shown.facts.query}) comes from` : "Where a position comes from"),
    about:
      "Attention of all layers together, the residual stream counted as half of each. Rollout multiplies the layers; flow asks how much each token could send at most. Click a token to follow it.",
    question: q,
    data: () => {
      const { rollout, flow } = q.shown.arrays;
      return { rows: ["rollout", "flow"], columns: labels(), values: [...rollout.data, ...flow.data] };
    },
    square: false,
    cellHeight: 26,
    cellWidth: 40,
    scale: "probability",
    unit: "share",
    rowTitle: "",
    columnTitle: "input token",
    describe: (row, key, value) => {
      const [of, to] = [labels()[q.shown.facts.query], labels()[key]];
      return row
        ? `At most ${lab.number(value)} can flow from ‘${of}’ to ‘${to}’ (position ${key})`
        : `Of ‘${of}’ the share of ‘${to}’ (position ${key}) is ${lab.number(value)}`;
    },
    pin: (at) => {
      if (!at) return lab.set({ query: null, key: null });
      const [layer, head] = [lab.state.layer ?? 0, lab.state.head ?? 0];
      lab.set({ layer, head, query: at[1], key: at[1] });
    },
    pinned: () => null,
  });
});
