/* How early the answer stands while the model reads, over training, and what having read more is worth. */
lab.component("dynamics-reading", (root) => {
  "use strict";

  const { dynamics } = lab;
  const ENOUGH = 10; // texts that a mean is of
  const grid = lab.el("div", { class: "kit-grid" });
  root.append(grid);

  const lens = dynamics.ask("lens");
  lab.lines(grid, {
    title: "Where the answer settles",
    about: "After how many layers the most probable next token is the one the model ends with, and stays so. Half a layer: after its attention. The logit lens on this prompt.",
    question: lens,
    unit: "layers",
    data: () => {
      const answers = dynamics.there(lens);
      const x = answers.map(({ step }) => step);
      const depths = answers.map(({ arrays }) => Array.from(arrays.settled.data, (point) => point / 2));
      const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;
      const series = [
        { name: "mean over the prompt", x, y: depths.map(mean), color: "accent", points: true },
        { name: "at the prompt's end", x, y: depths.map((each) => each.at(-1)), color: "run-b", points: true },
      ];
      const most = (lens.shown.facts.points.length - 1) / 2;
      return { series, xTitle: "step", yTitle: "layers passed", logX: true, yRange: [0, most * 1.04] };
    },
    mark: () => lab.state.step,
    pick: (step) => lab.set({ step }),
  });

  const byPosition = dynamics.ask("position-loss");
  lab.lines(grid, {
    title: () => `Loss by position in the context${byPosition.shown ? `, step ${lab.count(byPosition.shown.step)}` : ""}`,
    about: "What the next token costs on average, by how much has been read before it.",
    question: byPosition,
    unit: "nats",
    data: () => {
      const { loss, tokens } = byPosition.shown.arrays;
      const last = tokens.data.findLastIndex((count) => count >= ENOUGH);
      const y = Array.from(loss.data.subarray(0, last + 1));
      return { series: [{ name: "", x: y.map((_, i) => i), y, color: "accent" }], xTitle: "position of the token that is read last", yTitle: "nats a token" };
    },
    note: () => `Positions that fewer than ${ENOUGH} texts reach are left out.`,
    caption: () => byPosition.caption(`${lab.count(byPosition.shown.options.rows)} held-out rows at most`),
  });
});
