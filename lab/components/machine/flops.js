/* Operations: the arithmetic of one token by component, forward and backward, beside the rule of six. */
lab.component("machine-flops", (root) => {
  "use strict";

  const { machine } = lab;
  const { q, ops } = machine.ask();
  const NAMES = { qkv: "Q, K, V", scores: "scores QKᵀ", values: "pattern × V", out: "attention output", mlp: "MLP", unembedding: "unembedding" };

  const size = () => machine.shape(q.shown.facts);
  const tokens = () => size().batch * size().context;
  const counted = () => machine.operations(ops.shown.facts, size());
  const parts = () => Object.entries(counted().parts);

  const figure = lab.bars(root, {
    title: "Operations for one token",
    question: [ops, q],
    about: words,
    data: () =>
      parts().flatMap(([name, { forward, backward }]) => [
        { label: `${NAMES[name]}, forward`, value: forward / tokens(), color: "accent" },
        { label: `${NAMES[name]}, backward`, value: backward / tokens(), color: "run-b" },
      ]),
    unit: "operations a token",
    show: (count) => machine.flop(count, ""),
    describe: ({ label, value }) => `${label}: ${machine.flop(value)} a token`,
    csv: () => [
      ["component", "forward operations", "backward operations"],
      ...parts().map(([name, { forward, backward }]) => [name, forward / tokens(), backward / tokens()]),
    ],
    caption: () => ops.caption(`rows of ${size().context} tokens`),
  });

  function words() {
    if (!q.shown || !ops.shown) return "";
    const { forward, backward, needed } = counted();
    const multiplied = machine.memory(q.shown.facts, size()).groups.parameters / 4 - size().context * size().d_model;
    const six = 6 * multiplied;
    const all = (forward + backward) / tokens();
    const hidden = 1 - needed / (forward + backward);
    const mask = hidden > 0.0005 ? ` The causal mask hides ${lab.percent(hidden)} of it, which is left out here.` : "";
    return (
      `A token of a row of ${lab.count(size().context)} takes ${machine.flop(forward / tokens())} forward and ` +
      `${machine.flop(backward / tokens())} backward; 6 for each of ${machine.many(multiplied)} parameters would be ` +
      `${machine.flop(six)}, ${lab.percent(six / all)} of that: it leaves out what tokens do with each other.${mask}`
    );
  }

  lab.choices.on(machine.changes, () => q.shown && ops.shown && figure.paint());
});
