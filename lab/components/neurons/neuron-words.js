/* Which tokens a neuron promotes, suppresses and looks for; and which neurons are strongest at the pinned token. */
lab.component("neuron-words", (root) => {
  "use strict";

  const page = lab.neurons();
  const facts = () => page.one.shown.facts;
  const where = () => page.title([facts().layer, facts().neuron]);
  const labels = (tokens, numbers) => tokens.map((token, i) => ({ label: lab.tokenText(token), value: numbers[i] }));

  lab.bars(root, {
    title: () => `What it promotes and suppresses${page.one.shown ? `: ${where()}` : ""}`,
    about: "Where the neuron is active, the logits of these tokens rise or fall on the direct way to the output, by so much for each unit of its activation. The final LayerNorm's division, which scales all alike, is left out.",
    label: "Tokens that the neuron promotes and suppresses",
    question: page.one,
    signed: true,
    mono: true,
    unit: "logits per unit",
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

  const page = lab.neurons();
  const token = () => lab.tokenText(page.all.shown.tokens[page.position()]);

  const fig = lab.bars(root, {
    title: () => (page.all.shown ? `Strongest at ‘${token()}’ (position ${page.position()})` : "Strongest neurons"),
    about: "The neurons that add the longest vectors to the residual stream at the pinned token: their activation times the length of what they write. A click chooses one.",
    label: "Strongest neurons at the pinned token",
    question: page.all,
    unit: "length of what it adds",
    most: 12,
    data: () => {
      const chosen = page.chosen().join(".");
      return page.strongest(page.position(), 24).map(({ at, activation, written }) => ({
        at,
        label: `L${at[0]} · ${at[1]}`,
        value: written,
        note: `activation ${lab.signed(activation)}`,
        pinned: at.join(".") === chosen,
      }));
    },
    click: ({ at }) => page.choose(at),
  });
  lab.choices.on(["neurons.position", "neurons.layer", "neurons.neuron"], fig.paint);
});
