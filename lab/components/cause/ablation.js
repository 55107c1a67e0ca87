/* What breaks when a part is taken out: every part as a matrix and as a list, and one of them with its words. */
lab.component("cause-ablation", (root) => {
  "use strict";

  const { cause } = lab;
  const ABOUT =
    "Each head, each attention layer and each MLP is taken out by itself, and the prompt is read again. " +
    "Orange: the model does worse without it. Blue: better.";
  // What is measured: sign +1 where more of it is worse.
  const MEASURES = {
    loss: { label: "Loss on the prompt", unit: "nats per token", sign: 1, scale: "signed" },
    kl: { label: "KL of the next token", unit: "nats", sign: 1, scale: "magnitude" },
    logit: { label: "Logit of its next token", unit: "logits", sign: -1, scale: "signed" },
    probability: { label: "Probability of its next token", unit: "of 1", sign: -1, scale: "signed" },
  };

  const grid = cause.section(root, "What breaks when a part is taken out", ABOUT);
  const controls = cause.controls(grid);
  cause.how(controls);
  const measures = Object.entries(MEASURES).map(([key, { label }]) => [key, label]);
  const measure = lab.choice(controls, { name: "cause.measure", label: "Damage to", values: measures, select: true });

  const q = lab.question("ablation", { page: "cause", scrub: true, options: () => ({ how: cause.howNow() }) });
  const detail = lab.question("without", {
    page: "cause",
    options: () => (q.shown ? { part: hookOf(selected()), how: cause.howNow() } : null),
  });
  q.on(detail.refresh);

  // -- which part --------------------------------------------------------------------------------------

  const chosen = () => MEASURES[measure.value];
  /* How much worse it gets: what is drawn, with blue for what gets better. */
  const damage = () => Float32Array.from(q.shown.arrays[measure.value].data, (value) => value * chosen().sign);
  const columns = () => q.shown.facts.parts.length;
  const heads = () => columns() - 2;
  const hookOf = ([layer, column]) => cause.hook(layer, column, heads());

  function pinned() {
    const match = /^(\d{1,3})\.(\d{1,3})$/.exec(lab.choices.get("cause.part") ?? "");
    const at = match && [Number(match[1]), Number(match[2])];
    return at && q.shown && at[0] < q.shown.arrays.loss.shape[0] && at[1] < columns() ? at : null;
  }

  /* The part that was clicked, or else the one whose loss is most. */
  function selected() {
    const [first] = q.shown.arrays.order.data;
    return pinned() ?? [Math.floor(first / columns()), first % columns()];
  }

  const pin = (at) => lab.choices.set("cause.part", at && at.join("."));
  const name = ([layer, column]) => cause.words(layer, q.shown.facts.parts[column]);
  const top = () => lab.tokenText(topToken());

  function topToken() {
    const { facts } = q.shown;
    const known = detail.shown?.arrays.next_ids.data[0] === facts.top ? detail.shown.facts.next_tokens[0][0] : null;
    return known ?? `#${facts.top}`;
  }

  function describe(layer, column) {
    const { loss, kl, logit, probability } = q.shown.arrays;
    const i = layer * columns() + column;
    const whole = q.shown.facts.top_probability;
    return (
      `Without ${name([layer, column])}: loss ${signed(loss.data[i])} nats per token, KL ${lab.signed(kl.data[i])} nats, ` +
      `probability of ‘${top()}’ ${lab.number(whole)} → ${lab.number(Math.max(0, whole + probability.data[i]))}, logit ${signed(logit.data[i])}`
    );
  }

  const signed = (value) => `${value > 0 ? "+" : ""}${lab.signed(value)}`;

  // -- matrix and list -----------------------------------------------------------------------------------

  const matrix = lab.matrix(grid, {
    title: "Every part",
    question: q,
    scale: () => chosen().scale,
    data: () => {
      const values = damage();
      const rows = cause.layers(q.shown.arrays.loss.shape[0]);
      return { rows, columns: q.shown.facts.parts, values, text: cause.inCells(values, columns()) };
    },
    rowTitle: "layer",
    columnTitle: "part taken out",
    unit: "",
    square: false,
    cellHeight: 32,
    describe,
    pinned: () => selected(),
    pin,
    note: () => `${chosen().label}: ${inWords()}. As it is: ${lab.number(q.shown.facts.whole_loss)} nats per token on the prompt.`,
    filename: () => q.filename(measure.value),
  });

  const inWords = () => (chosen().sign > 0 ? `rise in ${chosen().unit}` : `fall in ${chosen().unit}`);

  const list = lab.bars(grid, {
    title: "Sorted by damage",
    question: q,
    signed: true,
    most: 16,
    unit: "",
    data: () => {
      const values = damage();
      const order = [...values.keys()].sort((a, b) => values[b] - values[a]);
      const here = selected();
      return order.map((i) => {
        const at = [Math.floor(i / columns()), i % columns()];
        const label = `L${at[0]} ${q.shown.facts.parts[at[1]]}`;
        return { label, value: values[i], at, pinned: at[0] === here[0] && at[1] === here[1] };
      });
    },
    describe: (bar) => describe(...bar.at),
    click: (bar) => pin(bar.at),
    filename: () => q.filename(`${measure.value}-sorted`),
  });

  // -- one part, with its words --------------------------------------------------------------------------

  function side(which, title) {
    const reply = lab.el("blockquote", {});
    const fig = lab.bars(grid, {
      title,
      question: detail,
      mono: true,
      max: 1,
      unit: "probability",
      data: () => {
        const [, ranks] = detail.shown.arrays.next_ids.shape;
        const tokens = detail.shown.facts.next_tokens[which];
        return tokens.map((token, i) => ({
          label: lab.tokenText(token),
          value: detail.shown.arrays.probability.data[which * ranks + i],
          other: detail.shown.arrays.other.data[which * ranks + i],
        }));
      },
      describe: ({ label, value, other }) => {
        const [whole, without] = which === 0 ? [value, other] : [other, value];
        return `‘${label}’: ${lab.number(whole)} as it is, ${lab.number(without)} without`;
      },
      note: () => `Loss on the prompt: ${lab.number(detail.shown.facts.loss[which])} nats per token.`,
      filename: () => detail.filename(which ? "without" : "as-it-is"),
    });
    fig.controls.append(reply);
    detail.on(() => {
      const said = detail.shown?.facts.replies[which];
      reply.textContent = said === undefined ? "" : said.trim() || "(it says nothing)";
    });
    return fig;
  }

  side(0, "As it is: its next token and reply");
  side(1, () => (q.shown ? `Without ${name(selected())}` : "Without it"));

  lab.choices.on(["cause.measure", "cause.part"], () => {
    detail.refresh();
    matrix.paint();
    list.paint();
  });
  detail.on(matrix.point); // it knows the top token as text
});
