/* lab.cause: what the sections of the Cause page share: headings, names of parts, how something is taken out. */
(() => {
  "use strict";

  const lab = window.lab;
  const HOW = [
    ["zero", "Zero"],
    ["mean", "Mean"],
    ["resample", "Resample"],
  ];
  const HOW_TITLE =
    "Zero: nothing is put in its place. Mean: its mean over other texts. Resample: what it has on another text, at " +
    "each position. The other texts are the run's own sample conversations.";

  lab.cause = {
    /* A heading with one or two sentences, and a grid for figures, which is returned. */
    section: (root, title, about) => {
      const grid = lab.el("div", { class: "kit-grid" });
      const head = lab.el("header", {}, lab.el("h2", {}, title), lab.el("p", { class: "muted" }, about));
      root.classList.add("cause-section");
      root.append(head, grid);
      return grid;
    },

    /* A row of controls that belong to several figures. */
    controls: (grid) => {
      const row = lab.el("div", { class: "kit-controls kit-wide" });
      grid.append(row);
      return row;
    },

    /* The choice of what is put in the place of what is taken out; .value as the library calls it. */
    how: (root) => lab.choice(root, { name: "cause.how", label: "Put in its place", values: HOW, title: HOW_TITLE }),

    /* The same without a control of its own. */
    howNow: () => lab.choices.get("cause.how", HOW.map(([key]) => key)),

    /* Two digits for the inside of each cell; a phone has no room for them. */
    inCells: (values, columns) => {
      if (innerWidth < 600) return null;
      return (r, c) => String(Number(values[r * columns + c].toPrecision(2))).replace("-", "−");
    },

    layers: (count) => Array.from({ length: count }, (_, i) => `L${i}`),

    /* A part by its layer and its column among "H0", …, "attention", "MLP": its hook point, and in words. */
    hook: (layer, column, heads) =>
      column < heads
        ? `blocks.${layer}.attn.hook_z[${column}]`
        : `blocks.${layer}.hook_${column === heads ? "attn" : "mlp"}_out`,
    words: (layer, name) => (name.startsWith("H") ? `head ${layer}.${name.slice(1)}` : `${name} of layer ${layer}`),
  };
})();
