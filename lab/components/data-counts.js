/* A corpus in numbers, as guppy.report counts it: lab.counted(), lab.ladder(), lab.splitTable(), lab.leak(). */
(() => {
  "use strict";

  const lab = window.lab;
  const NAMES = { train: "train", heldout: "held out", composed: "composed" };
  const LADDER = [
    ["log_v", "log V", "even guesses, before anything is learned"],
    ["unigram", "unigram", "knowing how often each token occurs"],
    ["bigram", "bigram", "knowing the token before"],
    ["grammar", "grammar", "knowing the whole grammar: about as low as a model can get"],
  ];

  /* Figures of a corpus for a <dl>. */
  lab.counted = ({ splits: { all }, tokens, topics }) => {
    const of = (part, whole) => `${lab.percent(whole ? part / whole : 0)} of ${lab.count(whole)}`;
    return [
      lab.tally("rows", lab.count(all.rows)),
      lab.tally("different replies", lab.count(all.replies), `${of(all.replies, all.exchanges)} exchanges`),
      lab.tally("distinct pairs", lab.percent(all.unique), `${lab.count(all.pairs)} different pairs of prompt and reply`),
      lab.tally("of several turns", lab.percent(all.several_turns)),
      lab.tally("topics", lab.count(topics.length)),
      lab.tally("vocabulary, tokens", lab.count(tokens.vocab_size), `${tokens.kind}, ${lab.number(tokens.characters_per_token)} characters a token`),
      lab.tally("tokens", lab.count(all.tokens)),
      lab.tally("tokens a row", lab.number(tokens.per_row.mean), `median ${tokens.per_row.p50}, 99% up to ${tokens.per_row.p99}, longest ${lab.count(tokens.per_row.max)}`),
      lab.tally(`rows over ${tokens.context} tokens`, lab.count(tokens.rows_over_context), "They are learned in pieces."),
    ];
  };

  /* The reference lines as bars, the highest first. */
  lab.ladder = (reference) => {
    const steps = LADDER.filter(([key]) => reference[key] !== undefined && reference[key] !== null);
    return steps.map(([key, name, means]) =>
      lab.el(
        "div",
        { class: "lab-rung", "data-line": key, title: `perplexity ${lab.number(Math.exp(reference[key]))}` },
        lab.el("span", {}, name),
        lab.el("i", { style: `--share: ${(reference[key] / reference.log_v).toFixed(4)}`, "aria-hidden": "true" }),
        lab.el("b", {}, lab.number(reference[key])),
        lab.el("small", {}, means),
      ),
    );
  };

  /* [[title, counts], …] side by side. */
  lab.splitTable = (sides) => {
    const el = lab.el;
    const columns = sides.flatMap(([title, counts]) =>
      Object.keys(NAMES).filter((name) => counts.splits[name]).map((name, i) => ({ title, counts, name, first: i === 0 })),
    );
    const cell = (column, value) => el("td", { class: column.first ? "first" : null }, value);
    const row = (label, value, title) => el("tr", {}, el("th", { scope: "row", title }, label), ...columns.map((column) => cell(column, value(column))));
    const also = (key, whole) => ({ counts, name }) => {
      if (name === "train") return "";
      const [found, all] = [counts.overlap[name][key], counts.splits[name][whole]];
      return found ? `${lab.count(found)} · ${lab.percent(found / all)}` : "0";
    };
    const head = el("tr", {}, el("th", {}), ...columns.map((column) => el("th", { scope: "col", class: column.first ? "first" : null }, NAMES[column.name])));
    const groups = el(
      "tr",
      { class: "groups" },
      el("th", {}),
      ...sides.map(([title]) => el("th", { scope: "colgroup", class: "first", colspan: columns.filter((column) => column.title === title).length }, title)),
    );
    const section = (text) => el("tr", { class: "section" }, el("th", { scope: "row", colspan: columns.length + 1 }, text));
    const body = [
      row("rows", ({ counts, name }) => lab.count(counts.splits[name].rows)),
      row("tokens", ({ counts, name }) => lab.count(counts.splits[name].tokens)),
      row("different prompts", ({ counts, name }) => lab.count(counts.splits[name].prompts)),
      row("different replies", ({ counts, name }) => lab.count(counts.splits[name].replies)),
      section("of these also in train"),
      row("prompts, the same string", also("prompts", "prompts")),
      row("prompts, the same words", also("prompts_same_words", "prompts"), "case, spaces and punctuation left out"),
      row("prompts, nearly", also("prompts_near", "prompts"), "more than 0.8 of its stretches of 8 characters stand in one of train's"),
      row("replies, the same string", also("replies", "replies")),
      row("replies, the same words", also("replies_same_words", "replies"), "case, spaces and punctuation left out"),
      row("replies, nearly", also("replies_near", "replies"), "more than 0.8 of its stretches of 8 characters stand in one of train's"),
    ];
    const table = el("table", { class: "lab-table lab-splits" }, el("thead", {}, ...(sides.length > 1 ? [groups] : []), head), el("tbody", {}, ...body));
    return el("div", { class: "lab-scroll", tabindex: 0, role: "region", "aria-label": "Splits" }, table);
  };

  /* What the leak of a random split is worth, in a sentence, and how to see the two curves. */
  lab.leak = ({ splits, overlap, corpus }) => {
    const share = (key) => lab.percent(overlap.heldout[key] / splits.heldout[key]);
    const named = /^[\w-]+$/.test(corpus.persona) ? corpus.persona : "persona.yaml";
    return lab.el(
      "div",
      {},
      lab.el(
        "p",
        { class: "lab-message" },
        `Split at random, ${share("replies")} of the held-out replies and ${share("prompts")} of the held-out prompts stand in training word for word. A model that remembers scores well there without having learned to answer.`,
      ),
      lab.el("p", { class: "caption" }, "To train on it: "),
      lab.el("pre", { class: "lab-command" }, `python -m guppy train --persona ${named} --leaky --max-seconds 60 --out leaky-fry`),
    );
  };
})();
