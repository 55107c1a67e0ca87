/* How the kinds of heads came about over training: the best head of each kind, or every head of one kind. */
lab.component("attention-development", (root) => {
  "use strict";

  const { attention } = lab;
  const q = attention.kinds();
  const sight = lab.sight(root);
  const CHOICE = "attention.kind";
  const BEST = "best";

  const values = () => [[BEST, "the best head of each"], ...(q.shown?.facts.kinds ?? []).map((kind) => [kind, kind])];

  /* The answers at the checkpoints that are in the browser, in order. */
  const there = () => (lab.run()?.steps ?? []).map((step) => q.step(step)).filter(Boolean);

  function best(answers, x) {
    const { shape } = answers[0].arrays.score;
    const size = shape[1] * shape[2];
    const most = ({ arrays }, i) => arrays.score.data.subarray(i * size, (i + 1) * size).reduce((a, b) => Math.max(a, b), 0);
    return q.shown.facts.kinds.map((name, i) => ({ name, x, y: answers.map((answer) => most(answer, i)) }));
  }

  function heads(answers, x, i) {
    const [, layers, count] = answers[0].arrays.score.shape;
    const threshold = q.shown.at("thresholds", i);
    const all = Array.from({ length: layers * count }, (_, at) => {
      const [layer, head] = [Math.floor(at / count), at % count];
      const pinned = lab.state.layer === layer && lab.state.head === head;
      return { name: `L${layer} H${head}`, pinned, x, y: answers.map((answer) => answer.at("score", i, layer, head)) };
    });
    const passed = ({ pinned, y }) => pinned || Math.max(...y) >= threshold;
    const quiet = (each) => ({ ...each, color: "edge", width: 1, opacity: 0.45 });
    // Those with a name in the legend are those that ever were of the kind, the strongest first.
    const named = all.filter(passed).sort((a, b) => Math.max(...b.y) - Math.max(...a.y));
    const loud = named.map((each) => ({ ...each, width: each.pinned ? 3 : 1.75 }));
    return [...loud, ...all.filter((each) => !passed(each)).map((each) => ({ ...quiet(each), name: "" }))];
  }

  function data() {
    const answers = there();
    const x = answers.map(({ step }) => step);
    const i = q.shown.facts.kinds.indexOf(choice.value);
    const axes = { xTitle: "step", yTitle: "score", logX: true, yRange: [0, 1] };
    if (i < 0) return { series: best(answers, x), ...axes };
    return { series: heads(answers, x, i), lines: [{ y: q.shown.at("thresholds", i), label: "threshold" }], ...axes };
  }

  const fig = lab.lines(root, {
    title: "How the kinds came about",
    about: "Scores over training, a line for the best head of each kind or for every head of one. A click goes to that step.",
    question: sight.question(q),
    data,
    note: () => (there().length === 1 ? "There is one checkpoint, so there are points and no lines." : ""),
    mark: () => q.shown.step,
    pick: (step) => lab.set({ step }),
    height: 300,
  });
  const choice = lab.choice(fig.controls, { name: CHOICE, label: "Kind", values, select: true });
  q.on(() => choice.refresh());
  const soon = sight.when(() => q.shown && fig.paint());
  lab.choices.on([CHOICE], soon);
  lab.on(["layer", "head"], soon);
});
