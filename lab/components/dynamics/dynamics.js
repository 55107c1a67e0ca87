/* What the Dynamics page shares: its questions, made when they are first wanted, and the layer that is looked at. */
(() => {
  "use strict";

  const lab = window.lab;
  const PAGE = "dynamics";
  const LAYER = `${PAGE}.layer`;
  const SLICE = `${PAGE}.slice`;
  const questions = new Map();

  /* The run and its last checkpoint: a slice is of the checkpoints that there were when it was asked for. */
  const sliceOfNow = () => `${lab.state.run} ${lab.run()?.steps.at(-1)}`;
  const slicing = () => lab.choices.get(SLICE) === sliceOfNow();

  /* Checkpoints are compared where there are some. */
  const several = () => (lab.run()?.steps.length > 1 ? {} : null);

  const ASKED = {
    "weight-path": { prompt: false, whole: true, options: several },
    "loss-slice": { prompt: false, whole: true, options: () => (slicing() ? { rows: 32 } : null) },
    similarity: { whole: true, options: several },
    weights: { prompt: false, scrub: true },
    lens: { scrub: true, options: () => ({ k: 1 }) },
    "position-loss": { prompt: false, options: () => ({ rows: 128 }) },
  };

  lab.dynamics = {
    LAYER,
    ALONE: "This run keeps one checkpoint; it takes two to compare.",
    ask(what) {
      if (!questions.has(what)) questions.set(what, lab.question(what, { page: PAGE, ...ASKED[what] }));
      return questions.get(what);
    },
    slicing,
    slice: (wanted) => lab.choices.set(SLICE, wanted ? sliceOfNow() : null),
    layer: () => lab.choices.number(LAYER, lab.run()?.n_layers ?? 1, 0),
    /* A choice of the layer, the same for every figure that has one. */
    layerChoice(root) {
      const values = () => Array.from({ length: lab.run()?.n_layers ?? 1 }, (_, i) => [i, `L${i}`]);
      const choice = lab.choice(root, { name: LAYER, label: "layer", values });
      lab.watch(["run", "runs"], choice.refresh);
      return choice;
    },
    /* fn() when the step has changed while the page is shown, or before it is. */
    onStep: (fn) => lab.on(["step", "page"], () => lab.state.page === PAGE && fn()),
    /* The answers of a question at the checkpoints that are in the browser, in order. */
    there: (q) => (lab.run()?.steps ?? []).map((step) => q.step(step)).filter(Boolean),
  };
})();
