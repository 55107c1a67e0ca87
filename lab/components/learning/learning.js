/* lab.learning: what the sections of the Learning page share. */
(() => {
  "use strict";

  const lab = window.lab;

  lab.learning = {
    /* A heading with a sentence or two, and what stands below it, which is returned. */
    section: (root, title, about) => {
      const body = lab.el("div", { class: "kit-grid" });
      root.classList.add("learning-section");
      root.append(lab.el("header", {}, lab.el("h2", {}, title), lab.el("p", { class: "muted" }, about)), body);
      return body;
    },

    percent: (share) => `${lab.signed(100 * share)}%`,

    mean: (values) => {
      const there = [...values].filter(Number.isFinite);
      return there.reduce((sum, value) => sum + value, 0) / there.length;
    },
  };
})();
