/* How alike the checkpoints of a run are: in their weights, and in what they compute on the prompt. */
lab.component("dynamics-alike", (root) => {
  "use strict";

  const { dynamics } = lab;
  const [way, cka] = [dynamics.ask("weight-path"), dynamics.ask("similarity")];
  const grid = lab.el("div", { class: "kit-grid" });
  root.append(grid);

  function alike(q, { values, ...options }) {
    const steps = () => q.shown.facts.steps;
    const labels = () => steps().map(lab.count);
    const here = () => steps().indexOf(lab.state.step);
    const fig = lab.matrix(grid, {
      question: q,
      empty: dynamics.ALONE,
      rowTitle: "step",
      columnTitle: "compared with step",
      max: 1,
      data: () => ({ rows: labels(), columns: labels(), values: values(), text: (r, c) => values()[r * steps().length + c].toFixed(2) }),
      pinned: () => (here() < 0 ? null : [here(), here()]),
      // A cell is of two steps: it goes to its row's, and in the row that is looked at to its column's.
      pin: (at) => at && lab.set({ step: steps()[at[0] === here() ? at[1] : at[0]] }),
      ...options,
      describe: (r, c, value) => `Steps ${labels()[r]} and ${labels()[c]}: ${options.unit} ${lab.signed(value)}`,
    });
    dynamics.onStep(fig.point);
    return fig;
  }

  const weights = () => way.shown.arrays.cosine.data;
  alike(way, {
    title: "How alike their weights are",
    about: "The cosine between all weights of two checkpoints: 1, they point the same way; 0, they have nothing in common. A click goes to the row's step.",
    unit: "cosine",
    scale: () => (weights().some((value) => value < 0) ? "signed" : "probability"),
    values: weights,
  });

  const NAME = "dynamics.cka";
  const layers = () => cka.shown?.arrays.cka.shape[0] ?? lab.run()?.n_layers ?? 1;
  const layer = () => lab.choices.number(NAME, layers(), layers() - 1);
  const stream = alike(cka, {
    title: "How alike they read the prompt",
    about: "CKA of the residual stream after a layer: 1, two checkpoints place the prompt's tokens alike, up to a turn and a scale. On a short prompt much looks alike.",
    unit: "CKA",
    scale: "probability",
    values: () => {
      const n = cka.shown.facts.steps.length;
      return cka.shown.arrays.cka.data.subarray(layer() * n * n, (layer() + 1) * n * n);
    },
    caption: () => cka.caption(`after L${layer()}, ${lab.count(cka.shown.facts.positions)} tokens`),
  });
  // The last layer first: it is what is shown until another is chosen.
  const values = () => Array.from({ length: layers() }, (_, i) => layers() - 1 - i).map((i) => [i, `L${i}`]);
  const choice = lab.choice(stream.controls, { name: NAME, label: "after layer", values });
  cka.on(choice.refresh);
  lab.choices.on([NAME], () => cka.shown && stream.paint());
});
