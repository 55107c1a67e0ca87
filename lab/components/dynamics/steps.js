/* How far a step moves each matrix, and how large the matrices grow and how many directions they use. */
lab.component("dynamics-steps", (root) => {
  "use strict";

  const { dynamics } = lab;
  const RULE = 1e-3;
  const grid = lab.el("div", { class: "kit-grid" });
  root.append(grid);

  /* Whether a matrix is of the layer that is looked at, or of none. */
  const ofLayer = (name) => !name.startsWith("blocks.") || name.startsWith(`blocks.${dynamics.layer()}.`);
  const short = (name) => name.replace(/^blocks\.\d+\./, "").replace(/\.weight$/, "");

  // -- ratios, from the run's own metrics ----------------------------------------------------------------

  const RATIO = "dynamics.ratio";
  const RATIOS = { update: "update : weights", gradient: "gradient : weights" };
  const TITLE = "How far one step goes";
  const ABOUT = {
    update: "The size of the update after each checkpoint, over the size of the weights that it changes. One thousandth is a rule of thumb: far more shakes them, far less hardly moves them.",
    gradient: "The size of the gradient after each checkpoint, before it is clipped, over the size of the weights. The optimizer makes the update of it.",
  };
  let rows = []; // {step, update: {matrix: ratio}, gradient: {matrix: ratio}}
  let followed = null; // the run
  let unfollow = () => {};

  const there = lab.el("div", { hidden: true });
  const none = lab.el(
    "section",
    { class: "kit-figure" },
    lab.el("h2", {}, TITLE),
    lab.el("p", { class: "muted" }, "This run keeps no ratios of updates to weights: it was trained before they were kept, or has taken no step since its first checkpoint."),
  );
  grid.append(lab.el("div", {}, there, none));

  const ratios = lab.lines(there, {
    title: TITLE,
    about: () => ABOUT[ratio.value],
    data: () => {
      const names = Object.keys(rows[0]?.[ratio.value] ?? {}).filter(ofLayer);
      const x = rows.map(({ step }) => step);
      const series = names.map((name) => ({ name: short(name), x, y: rows.map((row) => row[ratio.value][name]), points: true }));
      const lines = ratio.value === "update" ? [{ y: RULE, label: "one thousandth" }] : [];
      return { series, lines, xTitle: "step", yTitle: `${RATIOS[ratio.value]}, log scale`, logX: true, logY: true };
    },
    mark: () => lab.state.step,
    pick: (step) => lab.set({ step }),
    caption: () => [followed, `L${dynamics.layer()}`, "norms of whole matrices", lab.run()?.surgery_text].filter(Boolean).join(" · "),
    filename: () => `${followed}-${ratio.value}-ratios`,
  });
  const ratio = lab.choice(ratios.controls, { name: RATIO, label: "show", values: Object.entries(RATIOS) });
  dynamics.layerChoice(ratios.controls);

  function show(all) {
    rows = all.filter(({ kind }) => kind === "ratios");
    there.hidden = !rows.length;
    none.hidden = rows.length > 0;
    ratios.paint();
  }

  function follow({ page, run }) {
    const wanted = page === "dynamics" ? run : null;
    if (wanted === followed) return;
    unfollow();
    followed = wanted;
    unfollow = wanted === null ? () => {} : lab.follow(wanted, (feed) => show(feed.rows));
  }

  lab.watch(["page", "run"], follow);

  // -- the matrices themselves -----------------------------------------------------------------------------

  const SIZE = "dynamics.size";
  const SIZES = { norm: "Frobenius norm", effective_rank: "effective rank" };
  const weights = dynamics.ask("weights");
  const sizes = lab.lines(grid, {
    title: "How the matrices grow",
    about: () =>
      size.value === "norm"
        ? "The norm of each matrix: how large its weights are together. The checkpoints that are in the browser; a click goes there."
        : "How many directions each matrix uses, weak ones counting less. The checkpoints that are in the browser; a click goes there.",
    question: weights,
    data: () => {
      const log = size.value === "norm"; // the token table is far larger than the rest
      const answers = dynamics.there(weights);
      const x = answers.map(({ step }) => step);
      const { names } = weights.shown.facts;
      const series = names.flatMap((name, i) => (ofLayer(name) ? [{ name: short(name), x, y: answers.map(({ arrays }) => arrays[size.value].data[i]), points: true }] : []));
      return { series, xTitle: "step", yTitle: SIZES[size.value] + (log ? ", log scale" : ""), logX: true, logY: log };
    },
    mark: () => lab.state.step,
    pick: (step) => lab.set({ step }),
    caption: () => weights.caption(`L${dynamics.layer()}, ${SIZES[size.value]}`),
  });
  const size = lab.choice(sizes.controls, { name: SIZE, label: "show", values: Object.entries(SIZES) });
  dynamics.layerChoice(sizes.controls);

  dynamics.onStep(() => rows.length && ratios.paint());
  lab.choices.on([RATIO, dynamics.LAYER], () => rows.length && ratios.paint());
  lab.choices.on([SIZE, dynamics.LAYER], () => weights.shown && sizes.paint());
});
