/* Who wrote the logit: the difference of two tokens' logits at a position, as a sum over everything that was added. */
(() => {
  "use strict";

  const lab = window.lab;
  const { layers } = lab;

  /* What has to be known to read the sum, under surgery too. */
  function conditions({ header }) {
    const frozen = header.surgery.includes("no-layernorm") ? "" : "The final LayerNorm's scale is frozen at the value it had.";
    const cut = header.surgery.includes("no-residual") ? "Without the residual connection only the last MLP reaches the end." : "";
    return [frozen, cut].filter(Boolean).join(" ");
  }

  /* "the logit of ‘·food’ minus that of ‘·yes’" */
  function asked(shown, position) {
    const [token, against] = ["token", "against"].map((name) => shown.at(name, position));
    const first = `the logit of ‘${layers.word(shown, token)}’`;
    return against < 0 ? first : `${first} minus that of ‘${layers.word(shown, against)}’`;
  }

  function sum(shown, name, position) {
    const { data, shape } = shown.arrays[name];
    const n = shape.at(-1);
    let total = 0;
    for (let i = position; i < data.length; i += n) total += data[i];
    return total;
  }

  function layerSum(shown, layer, position) {
    const heads = shown.arrays.heads.shape[1];
    return Array.from({ length: heads }, (_, head) => shown.at("heads", layer, head, position)).reduce((a, b) => a + b, 0);
  }

  const capital = (text) => text[0].toUpperCase() + text.slice(1);
  const about = (position) => {
    const { attribution } = layers();
    return attribution.shown ? `${capital(asked(attribution.shown, position))}, at ${layers.place(attribution.shown, position)}.` : "";
  };

  // -- which two tokens ------------------------------------------------------------------------------------

  lab.component("layers-pair", (root) => {
    const view = layers();
    const { attribution } = view;
    const list = lab.el("datalist", { id: "layers-tokens" });
    const boxes = [box("layers.token", "token", "token"), box("layers.against", "against", "against")];
    const clear = lab.el("button", { type: "button", class: "plain", onclick: reset }, "Top two");
    const row = lab.el("div", { class: "kit-controls" }, ...boxes.map(({ element }) => element));
    root.append(
      lab.el("h2", {}, "Who wrote the logit"),
      lab.el(
        "p",
        { class: "kit-about muted" },
        "The logit of a token is a sum: what each part wrote into the stream, read in that token's direction. Compare two tokens; at first the most probable one and its runner-up.",
      ),
      row,
      list,
    );
    lab.toggle(row, { name: "layers.single", label: "the token alone" });
    row.append(clear);

    function box(name, label, array) {
      const input = lab.el("input", {
        type: "text",
        list: "layers-tokens",
        autocomplete: "off",
        spellcheck: "false",
        "aria-label": `${label}: choose or type one`,
        onchange: () => lab.choices.set(name, read(input.value)),
      });
      const element = lab.el("label", { class: "layers-token" }, lab.el("span", { class: "kit-label" }, label), input);
      return { name, array, input, element };
    }

    /* What was chosen or typed: #id of one of the ten, else the text itself. */
    function read(text) {
      const { shown } = attribution;
      const ten = shown ? tops(shown) : [];
      const known = ten.find((id) => layers.word(shown, id) === text);
      if (known !== undefined) return `#${known}`;
      return text.replaceAll("·", " ").replaceAll("↵", "\n") || null;
    }

    const tops = (shown) => Array.from({ length: shown.arrays.top_ids.shape[1] }, (_, i) => shown.at("top_ids", view.position(), i));

    function written(choice, shown) {
      const id = /^#(\d+)$/.exec(choice ?? "")?.[1];
      return id === undefined ? lab.tokenText(choice ?? "") : (shown?.facts.words[id] !== undefined ? layers.word(shown, id) : choice);
    }

    function reset() {
      lab.choices.set({ "layers.token": null, "layers.against": null, "layers.single": null });
    }

    function paint() {
      const { shown } = attribution;
      const single = lab.choices.get("layers.single") === "1";
      for (const { name, array, input } of boxes) {
        const id = shown?.at(array, view.position()) ?? -1;
        if (document.activeElement !== input) input.value = written(lab.choices.get(name), shown);
        input.placeholder = id < 0 ? "" : layers.word(shown, id);
        input.disabled = single && array === "against";
      }
      clear.disabled = !["layers.token", "layers.against", "layers.single"].some((name) => lab.choices.get(name));
      if (shown) list.replaceChildren(...tops(shown).map((id, i) => option(shown, id, i)));
    }

    const option = (shown, id, i) =>
      lab.el("option", { value: layers.word(shown, id), label: `${layers.word(shown, id)}  ${lab.number(shown.at("top_probs", view.position(), i))}` });

    attribution.on(paint);
    view.onCell(paint);
    lab.choices.on(["layers.token", "layers.against", "layers.single"], paint);
  });

  // -- by component ----------------------------------------------------------------------------------------

  lab.component("layers-parts", (root) => {
    const view = layers();
    const { attribution } = view;

    function bars() {
      const { shown } = attribution;
      const position = view.position();
      const [n_layers] = shown.arrays.heads.shape;
      const each = (layer) => [
        { label: `L${layer} attention`, value: layerSum(shown, layer, position), note: "the sum of its heads" },
        { label: `L${layer} MLP`, value: shown.at("mlp", layer, position), note: "the sum of its neurons" },
      ];
      return [
        { label: "token embedding", value: shown.at("embed", position) },
        { label: "position embedding", value: shown.at("pos_embed", position) },
        ...Array.from({ length: n_layers }, (_, layer) => each(layer)).flat(),
        { label: "attention biases", value: sum(shown, "attn_bias", position), note: "b_O of all layers" },
        { label: "MLP biases", value: sum(shown, "mlp_bias", position), note: "b_down of all layers" },
        { label: "final LayerNorm's bias", value: shown.at("ln_bias", position) },
      ];
    }

    function note() {
      const { shown } = attribution;
      const [total, logit] = [shown.at("total", view.position()), shown.at("logit", view.position())];
      const what = shown.at("against", view.position()) < 0 ? "logit" : "logit difference";
      const error = Math.abs(total - logit);
      return `Sum of the parts ${precise(total)}, the model's own ${what} ${precise(logit)}: they differ by ${error ? error.toExponential(1) : 0}. ${conditions(shown)}`;
    }

    const precise = (value) => value.toFixed(4).replace("-", "−");

    const fig = lab.bars(root, {
      title: "By part",
      about: () => about(view.position()),
      question: attribution,
      signed: true,
      most: 40,
      unit: "logit",
      data: bars,
      note,
      filename: () => attribution.filename(`position-${view.position()}`),
      label: "What each part of the model adds to the logit difference",
    });
    view.onCell(fig.paint);
  });

  lab.component("layers-heads", (root) => {
    const view = layers();
    const { attribution } = view;
    const shape = () => attribution.shown.arrays.heads.shape;

    const fig = lab.matrix(root, {
      title: "By head",
      about: () => about(view.position()),
      question: attribution,
      data: () => {
        const [rows, columns] = shape();
        const values = Float32Array.from({ length: rows * columns }, (_, i) => value(Math.floor(i / columns), i % columns));
        const labels = (letter, n) => Array.from({ length: n }, (_, i) => `${letter}${i}`);
        return { rows: labels("L", rows), columns: labels("H", columns), values, text: (r, c) => hundredths(value(r, c)) };
      },
      rowTitle: "layer",
      columnTitle: "head",
      scale: "signed",
      max: () => lab.extent(attribution.shown.arrays.heads.data.filter((_, i) => i % shape()[2] === view.position())) || 1,
      unit: "logit",
      square: false,
      cellHeight: 26,
      cellWidth: 56,
      pinned: () => (lab.state.layer === null ? null : [lab.state.layer, lab.state.head]),
      pin: (at) => lab.set({ layer: at?.[0] ?? null, head: at?.[1] ?? null }),
      describe: (r, c, value) => `head ${c} of layer ${r} writes ${lab.signed(value)} of ${asked(attribution.shown, view.position())}`,
      note: () => "A click pins the head: the Attention page then shows where it looks.",
      filename: () => attribution.filename(`heads-position-${view.position()}`),
      label: "What each head adds to the logit difference: rows are layers, columns are heads",
    });
    const hundredths = (x) => (Math.abs(x) < 0.005 ? "0" : Math.abs(x) < 100 ? x.toFixed(2).replace("-", "−") : lab.signed(x));
    const value = (layer, head) => attribution.shown.at("heads", layer, head, view.position());
    view.onCell(fig.paint);
    lab.on(["layer", "head"], fig.point);
  });

  lab.component("layers-neurons", (root) => {
    const view = layers();
    const { attribution } = view;

    const fig = lab.bars(root, {
      title: "By neuron",
      about: () => `${about(view.position())} The neurons of all layers that write most of it, either way.`.trim(),
      question: attribution,
      signed: true,
      mono: true,
      unit: "logit",
      data: () => {
        const { shown } = attribution;
        const position = view.position();
        return Array.from({ length: shown.arrays.neuron.shape[1] }, (_, i) => ({
          label: `L${shown.at("neuron_layer", position, i)} ${shown.at("neuron", position, i)}`,
          value: shown.at("neuron_part", position, i),
          note: `activation ${lab.signed(shown.at("neuron_activation", position, i))}`,
          layer: shown.at("neuron_layer", position, i),
          neuron: shown.at("neuron", position, i),
        }));
      },
      describe: ({ layer, neuron, value, note }) => `neuron ${layer}.${neuron} writes ${lab.signed(value)} of the logit · ${note}`,
      click: ({ layer, neuron }) => {
        lab.choices.set({ "neurons.layer": String(layer), "neurons.neuron": String(neuron) });
        lab.set({ page: "neurons" });
      },
      note: () => "A click opens the neuron on its own page.",
      filename: () => attribution.filename(`neurons-position-${view.position()}`),
      label: "The twenty neurons that add most to the logit difference",
    });
    view.onCell(fig.paint);
  });
})();
