/* The logit lens and the tuned lens: what the model would say after each layer, at every position; and what a cell says. */
(() => {
  "use strict";

  const lab = window.lab;
  const { layers } = lab;
  const SIDE_BY_SIDE = 16; // positions up to which two grids stand beside each other

  const COLORS = [
    ["probability", "probability"],
    ["entropy", "entropy"],
    ["kl", "KL to final"],
    ["rank", "rank of final"],
  ];
  const nats = (value) => `${lab.number(value)} nats`;
  const ordinal = (rank) => (rank === 0 ? "first" : `number ${lab.count(rank + 1)}`);

  /* How a cell is coloured: its number, the scale, the largest number (the same at every step), words for numbers. */
  const MEASURES = {
    probability: { scale: "probability", values: ({ arrays }) => everyKth(arrays.top_probs), max: () => 1, show: lab.number },
    entropy: { scale: "magnitude", values: ({ arrays }) => arrays.entropy.data, max: ({ facts }) => Math.log(facts.vocab_size), show: nats },
    kl: { scale: "magnitude", values: ({ arrays }) => arrays.kl.data, max: ({ facts }) => Math.log(facts.vocab_size), show: nats },
    rank: {
      scale: "magnitude",
      values: ({ arrays }) => Float32Array.from(arrays.final_rank.data, (rank) => Math.log2(1 + rank)),
      max: ({ facts }) => Math.log2(facts.vocab_size),
      show: (value) => `rank ${lab.count(Math.round(2 ** value) - 1)}`,
    },
  };

  const everyKth = ({ data, shape }) => data.filter((_, i) => i % shape[2] === 0);
  const measure = () => MEASURES[lab.choices.get("layers.color", COLORS.map(([key]) => key))];

  /* A grid of a lens. `row(point)` and `point(row)` translate between its rows and those of the logit lens. */
  lab.layers.grid = (root, q, { title, row, point, ...options }) => {
    const view = layers();

    function describe(r, c) {
      const { shown } = q;
      const id = shown.at("top_ids", r, c, 0);
      const said = `${layers.pointInWords(shown.facts.points[r])}, ${layers.place(shown, c)}: ‘${layers.word(shown, id)}’ ${lab.number(shown.at("top_probs", r, c, 0))}`;
      const final = `the final answer ‘${layers.word(shown, shown.at("final_ids", c))}’ is ${ordinal(shown.at("final_rank", r, c))}`;
      return `${said} · ${final} · entropy ${nats(shown.at("entropy", r, c))} · KL to final ${nats(shown.at("kl", r, c))}`;
    }

    const fig = lab.matrix(root, {
      ...options,
      title,
      question: q,
      data: () => ({
        rows: layers.pointLabels(q.shown.facts.points),
        columns: lab.tokenLabels(q.shown.tokens),
        values: measure().values(q.shown),
        text: (r, c) => layers.word(q.shown, q.shown.at("top_ids", r, c, 0)),
      }),
      rowTitle: "read after",
      columnTitle: "position",
      square: false,
      cellHeight: 20,
      scale: () => measure().scale,
      max: () => measure().max(q.shown),
      show: (value) => measure().show(value),
      describe,
      pinned: () => {
        const cell = view.pinned();
        return cell && [row(cell.point ?? Infinity, q.shown), cell.position];
      },
      pin: (at) => view.pin(at && { point: point(at[0]), position: at[1] }),
      hover: (at) => view.hover(at && { point: point(at[0]), position: at[1] }),
      label: `${title}: rows are layers, columns are positions; arrow keys move, Escape lets go`,
    });
    lab.choices.on(["layers.color"], fig.paint);
    view.onCell(fig.point);
    return fig;
  };

  lab.component("layers-lens", (root) => {
    const { lens } = layers();
    const last = (shown) => shown.facts.points.length - 1;
    const fig = lab.layers.grid(root, lens, {
      title: "Logit lens",
      about: "Each row reads the residual stream after one part as if the model ended there. The cell shows the token it would say.",
      row: (point, shown) => Math.min(point, last(shown)),
      point: (row) => row,
    });
    lab.choice(fig.controls, { name: "layers.color", label: "colour", values: COLORS });
    const page = fig.element.closest("#layers-views");
    lens.on(() => lens.shown && page?.classList.toggle("wide", lens.shown.tokens.length > SIDE_BY_SIDE));
  });

  // -- what one cell says ------------------------------------------------------------------------------

  lab.component("layers-cell", (root) => {
    const view = layers();
    const { lens } = view;
    const at = () => [view.point(), view.position()];

    const fig = lab.bars(root, {
      title: "What it would say there",
      about: () => (lens.shown ? `${capital(layers.pointInWords(lens.shown.facts.points[at()[0]]))}, at ${layers.place(lens.shown, at()[1])}. A click takes a token to the attribution below.` : ""),
      question: lens,
      mono: true,
      max: 1,
      unit: "probability",
      data: () => {
        const { shown } = lens;
        const k = shown.arrays.top_ids.shape[2];
        return Array.from({ length: k }, (_, i) => ({
          label: layers.word(shown, shown.at("top_ids", ...at(), i)),
          value: shown.at("top_probs", ...at(), i),
          id: shown.at("top_ids", ...at(), i),
        }));
      },
      click: ({ id }) => lab.choices.set("layers.token", `#${id}`),
      note: () => next(lens.shown, ...at()),
      filename: () => lens.filename(`point-${at()[0]}-position-${at()[1]}`),
      label: "The ten most probable tokens of the cell that is looked at",
    });
    view.onCell(fig.paint);

    function next(shown, r, c) {
      const rank = shown.at("next_rank", r, c);
      if (rank < 0) return "";
      const token = lab.tokenText(shown.tokens[c + 1]);
      return `The text goes on with ‘${token}’: probability ${lab.number(shown.at("next_prob", r, c))}, ${ordinal(rank)}.`;
    }
  });

  const capital = (text) => text[0].toUpperCase() + text.slice(1);

  // -- how deep answers are ------------------------------------------------------------------------------

  lab.component("layers-depth", (root) => {
    const view = layers();
    const { lens } = view;
    const fig = lab.bars(root, {
      title: "Where each answer settles",
      about: "From here on the token that the model ends with stays the most probable one. Longer: later in the network.",
      question: lens,
      mono: true,
      most: 20,
      max: () => lens.shown.facts.points.length - 1,
      show: (value) => layers.pointLabels(lens.shown.facts.points)[value] ?? "",
      data: () => {
        const { shown } = lens;
        const here = view.position();
        return shown.tokens.map((token, position) => ({
          label: `${lab.tokenText(token)} → ${layers.word(shown, shown.at("final_ids", position))}`,
          value: shown.at("settled", position),
          note: layers.pointInWords(shown.facts.points[shown.at("settled", position)]),
          pinned: position === here,
          position,
        }));
      },
      describe: ({ note, position }) => {
        const { shown } = lens;
        return `${layers.place(shown, position)}: ‘${layers.word(shown, shown.at("final_ids", position))}’ is first for good ${note}`;
      },
      click: ({ position }) => view.pin({ point: null, position }),
      label: "The depth at which each position's answer settles",
    });
    view.onCell(fig.paint);
  });
})();
