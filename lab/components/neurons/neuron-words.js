/* Which tokens a neuron promotes, suppresses and looks for; and which neurons are strongest at the pinned token. */
lab.component("neuron-words", (root) => {
  "use strict";

  const page = lab.neurons();
  const facts = () => page.one.shown.facts;
  const where = () => page.title([facts().layer, facts().neuron]);
  const labels = (tokens, numbers) => tokens.map((token, i) => ({ label: lab.tokenText(token), value: numbers[i] }));

  lab.bars(root, {
    title: () => `What it promotes and suppresses${page.one.shown ? `: ${where()}` : ""}`,
    about: "Where the neuron is active, the logits of these tokens rise or fall on the direct way to the output. The final LayerNorm's division, which scales all alike, is left out.",
    label: "Tokens that the neuron promotes and suppresses",
    question: page.one,
    signed: true,
    mono: true,
    unit: "logits per unit of activation",
    note: () => facts().why_no_output ?? "",
    caption: () => page.one.caption("W_out · gain of ln_final · unembedding"),
    data: () => {
      if (facts().why_no_output) return [];
      const { promoted_effect: up, suppressed_effect: down } = page.one.shown.arrays;
      return [...labels(facts().promoted, up.data), ...labels(facts().suppressed, down.data).reverse()];
    },
  });

  lab.bars(root, {
    title: () => `What it looks for${page.one.shown ? `: ${where()}` : ""}`,
    about: "The tokens whose embeddings are nearest to the direction that the neuron reads. It also reads what attention and earlier layers wrote, so this is most telling in the first layer.",
    label: "Tokens that the neuron looks for",
    question: page.one,
    signed: true,
    mono: true,
    max: 1,
    unit: "cosine",
    note: () => facts().why_no_input ?? "",
    caption: () => page.one.caption("W_in · gain of ln2 · embedding"),
    data: () => (facts().why_no_input ? [] : labels(facts().nearest, page.one.shown.arrays.nearest_cosine.data)),
  });
});

lab.component("neuron-strongest", (root) => {
  "use strict";

  const BY = [
    ["written", "what they write"],
    ["activation", "activation"],
  ];
  const page = lab.neurons();
  const by = () => lab.choices.get("neurons.by", BY.map(([key]) => key));
  const token = () => lab.tokenText(page.all.shown.tokens[page.position()]);

  const fig = lab.bars(root, {
    title: () => (page.all.shown ? `Strongest at ‘${token()}’ (position ${page.position()})` : "Strongest neurons"),
    about: () =>
      by() === "written"
        ? "The neurons that add most to the residual stream at the pinned token: activation times the length of what the neuron writes. A click chooses one."
        : "The neurons that are most active at the pinned token. A click chooses one.",
    label: "Strongest neurons at the pinned token",
    question: page.all,
    unit: "",
    most: 12,
    data: () => {
      const chosen = page.chosen().join(".");
      return page.strongest(page.position(), by(), 24).map(({ at, activation, written }) => ({
        at,
        label: `L${at[0]} · ${at[1]}`,
        value: by() === "written" ? written : activation,
        note: by() === "written" ? `activation ${lab.signed(activation)}` : `writes a vector of length ${lab.signed(written)}`,
        pinned: at.join(".") === chosen,
      }));
    },
    click: ({ at }) => page.choose(at),
  });
  lab.choice(fig.controls, { name: "neurons.by", label: "by", values: BY });
  lab.choices.on(["neurons.by", "neurons.position", "neurons.layer", "neurons.neuron"], fig.paint);
});
