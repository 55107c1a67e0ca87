/* The neuron that is seen: the prompt shaded by it, in words what is known of it, and how it came to be over the steps. */
lab.component("neuron-one", (root) => {
  "use strict";

  const page = lab.neurons();
  const title = lab.el("h2", {});
  const about = lab.el("p", { class: "kit-about muted" }, "The prompt: the stronger a token's colour, the more active the neuron is there. Click a token to look at it.");
  const facts = lab.el("p", { class: "neuron-facts" });
  const card = lab.el("section", { class: "neuron-card" }, title, about);
  root.append(card);

  /* Its largest activation anywhere, where that is known: so that a weak one looks weak. */
  const largest = ([layer, neuron]) => page.activity.shown?.at("largest", layer, neuron) || null;
  const track = () => page.track(page.seen());

  const strip = lab.strip(card, {
    label: "The prompt, shaded by the neuron's activation",
    tokens: () => page.all.shown.tokens,
    values: track,
    scale: "magnitude",
    max: () => Math.max(1e-9, largest(page.seen()) ?? 0, lab.extent(track())),
    unit: "activation",
    pinned: page.position,
    pin: (i) => lab.choices.set("neurons.position", i),
    describe: (i, value) => `‘${lab.tokenText(page.all.shown.tokens[i])}’ (position ${i}): activation ${lab.signed(value)}`,
  });
  card.append(facts);

  function paint() {
    const there = Boolean(page.all.shown);
    card.hidden = !there;
    if (!there) return;
    const at = page.seen();
    title.textContent = page.title(at);
    strip.paint();
    facts.textContent = inWords(at);
    root.dataset.painted = JSON.stringify([page.all.shown.header.run, page.all.shown.step, ...at]);
  }

  function inWords([layer, neuron]) {
    const off = page.all.shown.facts.off.includes(layer) ? ["The MLP of this layer is off: its neurons are computed, and write nothing."] : [];
    const { shown } = page.activity;
    if (!shown) return off.join(" ");
    const share = shown.at("share", layer, neuron);
    if (shown.at("dead", layer, neuron)) return ["Dead: active on no token of the corpus.", ...off].join(" ");
    const often = `Active on ${page.percent(share)} of the corpus's tokens${shown.at("saturated", layer, neuron) ? " (saturated)" : ""}`;
    return [`${often}, ${lab.signed(shown.at("mean", layer, neuron))} on average, ${lab.signed(shown.at("largest", layer, neuron))} at most.`, ...off].join(" ");
  }

  const lines = lab.lines(root, {
    title: "Over the training",
    about: "What the neuron does with this prompt at every checkpoint that is in the browser.",
    label: "The neuron's activation over training steps",
    question: page.one,
    height: 220,
    unit: "activation",
    mark: () => page.one.shown.step,
    pick: (step) => lab.set({ step }),
    data: () => {
      const there = lab.run().steps.map((step) => page.one.step(step)).filter(Boolean);
      const x = there.map(({ step }) => step);
      const at = page.position();
      const word = lab.tokenText(page.one.shown.tokens[at] ?? "");
      const series = [
        { name: `at ‘${word}’`, x, y: there.map((each) => each.arrays.activation.data[at]), color: "accent", points: true },
        { name: "largest in the prompt", x, y: there.map((each) => Math.max(...each.arrays.activation.data)), color: "attention-1", points: true, dash: [6, 3] },
      ];
      return { series, xTitle: "step", yTitle: "activation", logX: true };
    },
  });

  page.all.on(paint);
  page.on(paint);
  page.activity.on(paint);
  lab.choices.on(["neurons.position"], lines.paint);
});
