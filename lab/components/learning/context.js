/* The price of context: what the text costs when only so many tokens before each are seen, and loss by position. */
lab.component("learning-context", (root) => {
  "use strict";

  const { learning } = lab;
  const PIN = "learning.cell";
  const [ROWS, LEAST] = [200, 20]; // held-out rows; tokens that a mean is at least of

  const grid = learning.section(
    root,
    "The price of context",
    "The model reads the prompt anew for every token, with no more than a window of tokens before it. What does it " +
      "lose when it sees less?",
  );

  /* 1, 2, 4, … up to the run's own context. */
  function windows() {
    const most = lab.run()?.n_ctx ?? 128;
    const sizes = [];
    for (let size = 1; size < most; size *= 2) sizes.push(size);
    return [...sizes, most].join(",");
  }

  const price = lab.question("context-price", { page: "learning", options: () => ({ windows: windows() }), scrub: true });
  const byPosition = lab.question("position-loss", { page: "learning", prompt: false, options: () => ({ rows: ROWS }) });

  const UNMASKED = "Without the causal mask this model sees the very token that it is to predict, so these losses say nothing of context.";
  const unmasked = (q) => (q.shown.header.surgery.includes("no-causal-mask") ? UNMASKED : "");

  const sizes = () => price.shown.facts.windows;
  const count = () => price.shown.arrays.nats.shape[1];
  const word = (i) => lab.tokenText(price.shown.tokens[i]);

  function pinned() {
    const match = /^(\d{1,4})\.(\d{1,4})$/.exec(lab.choices.get(PIN) ?? "");
    return match ? [Number(match[1]), Number(match[2])] : null;
  }

  const cells = lab.matrix(grid, {
    title: "Loss of each token under each window",
    about: "Downwards the model sees more. A token that grows pale needed what the smaller window hid.",
    question: price,
    scale: "magnitude",
    unit: "nats",
    rowTitle: "window (tokens seen)",
    columnTitle: "token",
    square: false,
    cellHeight: 24,
    note: () => unmasked(price),
    data: () => ({ rows: sizes().map(String), columns: lab.tokenLabels(price.shown.tokens), values: price.shown.arrays.nats.data }),
    describe: (r, c, value) =>
      Number.isFinite(value)
        ? `‘${word(c)}’ (position ${c}), at most ${sizes()[r]} token${sizes()[r] === 1 ? "" : "s"} seen: ${lab.number(value)} nats`
        : `‘${word(c)}’ (position ${c}): nothing comes before it, so nothing was expected.`,
    pinned,
    pin: (at) => lab.choices.set(PIN, at && at.join(".")),
  });
  cells.element.classList.add("kit-wide");

  lab.lines(grid, {
    title: "Mean loss by window",
    about: "Of the prompt’s tokens. Where the curve is flat, seeing more is worth nothing to this text.",
    question: price,
    unit: "nats per token",
    data: () => ({
      series: [{
        name: "the prompt",
        x: sizes(),
        y: sizes().map((_, r) => learning.mean(price.shown.arrays.nats.data.slice(r * count(), (r + 1) * count()))),
        points: true,
      }],
      xTitle: "window (tokens seen)",
      yTitle: "nats per token",
      xTicks: sizes().map((size) => [size, String(size)]),
      logX: true,
    }),
  });

  lab.lines(grid, {
    title: "Held-out loss by position",
    about: "Of conversations it never learned from: the token after position 0, 1, 2, … Later tokens have more before them, but are also other kinds of tokens.",
    question: byPosition,
    unit: "nats per token",
    data: () => {
      const [loss, tokens] = ["loss", "tokens"].map((name) => byPosition.shown.arrays[name].data);
      const x = Array.from(loss.keys()).filter((i) => tokens[i] >= LEAST);
      return { series: [{ name: "held-out", x, y: x.map((i) => loss[i]) }], xTitle: "position", yTitle: "nats per token" };
    },
    note: () => `${byPosition.shown.options.rows} held-out rows; positions that fewer than ${LEAST} of them reach are left out. ${unmasked(byPosition)}`,
  });

  lab.choices.on([PIN], cells.point);
});
