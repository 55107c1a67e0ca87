/* Activation patching: what of the run on one prompt makes its answer appear in the run on another. */
lab.component("cause-patching", (root) => {
  "use strict";

  const { cause } = lab;
  const ABOUT =
    "Two prompts of equal length, clean and corrupted, give two answers. One activation at a time is copied from one run " +
    "into the other. 0: the answer is still that of the corrupted prompt; 1: it is that of the clean one.";
  const SITES = [
    ["resid_pre", "Residual stream before a layer"],
    ["resid_mid", "Residual stream between attention and MLP"],
    ["attn_out", "What attention adds"],
    ["mlp_out", "What the MLP adds"],
  ];
  const HEAD_SITES = [
    ["parts", "Outputs"],
    ["q", "Queries"],
    ["k", "Keys"],
    ["v", "Values"],
    ["pattern", "Patterns"],
  ];
  const DIRECTIONS = [
    ["denoise", "clean into corrupted"],
    ["noise", "corrupted into clean"],
  ];
  const PLACES = [
    ["parting", "where the replies part"],
    ["prompt", "right after the prompt"],
    ["words", "after these words"],
  ];

  const grid = cause.section(root, "What carries the answer", ABOUT);
  const prompts = lab.el("div", { class: "kit-wide cause-prompts" });
  grid.append(prompts);
  const pairs = cause.pairs(prompts);

  // -- what is measured ----------------------------------------------------------------------------------

  const controls = cause.controls(grid);
  const direction = lab.choice(controls, { name: "cause.direction", label: "Copy", values: DIRECTIONS });
  const place = lab.choice(controls, { name: "cause.at", label: "Read the answer", values: PLACES, select: true });
  const words = textBox("cause.words", "Words both replies begin with", "such as: i");
  const answer = textBox("cause.answer", "Clean answer", "automatic");
  const wrong = textBox("cause.wrong", "Corrupted answer", "automatic");
  const measured = lab.el("p", { class: "kit-wide cause-measured", "aria-live": "polite" });
  grid.append(measured);

  /* A small box for a token or words, in which a space may be written as ·; empty: found by itself. */
  function textBox(name, label, placeholder) {
    const set = () => lab.choices.set(name, box.value === "" ? null : box.value.replaceAll("·", " ").replaceAll("↵", "\n"));
    const box = lab.el("input", { type: "text", size: 12, maxlength: 200, placeholder, spellcheck: "false", onchange: set });
    const element = lab.el("label", { class: "cause-box" }, lab.el("span", { class: "kit-label" }, label), box);
    controls.append(element);
    const mark = () => (box.value = lab.tokenText(lab.choices.get(name) ?? ""));
    lab.choices.on([name], mark);
    mark();
    return { element, get: () => lab.choices.get(name) ?? "" };
  }

  const given = (site) => () => {
    const corrupted = pairs.other();
    if (corrupted === null) return null;
    const at = place.value;
    return { corrupted, site, direction: direction.value, at, words: at === "words" ? words.get() : "", answer: answer.get(), wrong: wrong.get() };
  };

  const site = () => lab.choices.get("cause.site", SITES.map(([key]) => key));
  const headSite = () => lab.choices.get("cause.heads", HEAD_SITES.map(([key]) => key));
  const q = lab.question("patching", { page: "cause", options: () => given(site())() });
  const byHead = lab.question("patching", { page: "cause", options: () => given(headSite())() });

  function mark() {
    words.element.hidden = place.value !== "words";
    const { shown } = q;
    measured.replaceChildren();
    if (!shown) return;
    const { answers, shared, clean_logit_diff: clean, corrupted_logit_diff: corrupted } = shown.facts;
    const chip = (token) => lab.el("span", { class: "chip" }, lab.tokenText(token));
    const after = shared ? ["after the reply’s ", chip(shared)] : ["as the first token of the reply"];
    measured.append(
      "Measured: logit of ", chip(answers[0]), " less logit of ", chip(answers[1]), ", ", ...after,
      `. Clean ${lab.signed(clean)}, corrupted ${lab.signed(corrupted)}.`,
    );
  }

  q.on(mark);
  lab.choices.on(["cause.at"], mark);

  // -- matrices ------------------------------------------------------------------------------------------

  const label = (shown, i) => {
    const [clean, corrupted] = [shown.facts.clean_tokens[i], shown.facts.corrupted_tokens[i]].map(lab.tokenText);
    return clean === corrupted ? clean : `${clean}/${corrupted}`;
  };
  const layersOf = (shown) => shown.arrays.recovered.shape[0];

  function describe(shown, where, i) {
    const { clean_logit_diff: clean, corrupted_logit_diff: corrupted } = shown.facts;
    return (
      `${where}: ${lab.signed(shown.arrays.recovered.data[i])} ` +
      `(logit difference ${lab.signed(shown.arrays.logit_diff.data[i])}; clean ${lab.signed(clean)}, corrupted ${lab.signed(corrupted)})`
    );
  }

  function pinOf(name, q) {
    const match = /^(\d{1,4})\.(\d{1,4})$/.exec(lab.choices.get(name) ?? "");
    return match && q.shown ? [Number(match[1]), Number(match[2])] : null;
  }

  const shared = {
    scale: "signed",
    unit: "0: corrupted, 1: clean",
    rowTitle: "layer",
    square: false,
    cellHeight: 28,
    empty: "Give a second prompt to compare with.",
  };

  const positions = lab.matrix(grid, {
    ...shared,
    title: "By layer and position",
    question: q,
    max: () => Math.max(1, lab.extent(q.shown.arrays.recovered.data)),
    columnTitle: "position",
    data: () => ({
      rows: cause.layers(layersOf(q.shown)),
      columns: q.shown.facts.clean_tokens.map((_, i) => label(q.shown, i)),
      values: q.shown.arrays.recovered.data,
    }),
    describe: (r, c) => describe(q.shown, `layer ${r}, position ${c} ‘${label(q.shown, c)}’`, r * q.shown.arrays.recovered.shape[1] + c),
    pinned: () => pinOf("cause.cell", q),
    pin: (at) => lab.choices.set("cause.cell", at && at.join(".")),
    caption: () => q.caption(`corrupted: “${q.shown.options.corrupted}”`),
    filename: () => q.filename(site()),
  });
  lab.choice(positions.controls, { name: "cause.site", label: "Copied", values: SITES, select: true });

  const heads = lab.matrix(grid, {
    ...shared,
    title: "By layer and head",
    question: byHead,
    max: () => Math.max(1, lab.extent(byHead.shown.arrays.recovered.data)),
    columnTitle: "copied at every position",
    data: () => {
      const { data, shape } = byHead.shown.arrays.recovered;
      const { columns } = byHead.shown.facts;
      return { rows: cause.layers(shape[0]), columns, values: data, text: cause.inCells(data, shape[1]) };
    },
    describe: (r, c) => {
      const { columns } = byHead.shown.facts;
      return describe(byHead.shown, cause.words(r, columns[c]), r * columns.length + c);
    },
    pinned: () => pinOf("cause.head", byHead),
    pin: (at) => lab.choices.set("cause.head", at && at.join(".")),
    caption: () => byHead.caption(`corrupted: “${byHead.shown.options.corrupted}”`),
    filename: () => byHead.filename(headSite()),
  });
  lab.choice(heads.controls, { name: "cause.heads", label: "Copied", values: HEAD_SITES });

  lab.choices.on(["cause.cell"], positions.point);
  lab.choices.on(["cause.head"], heads.point);
});
