/* Conversations as text: lab.conversations(samples) makes an element of each {category, turns}. */
(() => {
  "use strict";

  const lab = window.lab;

  function said(who, text) {
    const line = lab.el("p", { class: `lab-said ${who}` });
    line.textContent = text;
    return line;
  }

  /* Turns are [asked, answered]; a turn of one text is a passage. */
  lab.conversations = (samples) =>
    samples.map(({ category, turns }) => {
      const lines = turns.flatMap((turn) =>
        turn.length === 1 ? [said("passage", turn[0])] : [said("asked", turn[0]), said("answered", turn[1])],
      );
      const note = turns.length > 1 ? `${category} · ${turns.length} turns` : category;
      const attributes = { class: "lab-sample", "data-topic": category, "data-turns": turns.length };
      return lab.el("article", attributes, lab.el("p", { class: "caption" }, note), ...lines);
    });

  /* A <dl> entry: what is counted, the number, and on hover what it means. */
  lab.tally = (term, value, title) => lab.el("div", { title }, lab.el("dt", {}, term), lab.el("dd", {}, value));

  /* 12.3 %, and 0 only where there is nothing. */
  lab.percent = (share) => {
    if (share === 0 || share === 1) return `${100 * share}\u202f%`;
    const shown = 100 * share;
    return shown < 0.1 ? "under 0.1\u202f%" : shown > 99.9 ? "over 99.9\u202f%" : `${shown.toFixed(shown < 10 || shown > 99 ? 1 : 0)}\u202f%`;
  };
})();
