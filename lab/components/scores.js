/* The Character page: is it the fish, and since when? Scores of the frame's run (A) over its steps, and of a run beside
   it (B); then all numbers at the time bar's step. What was never measured is for the button above. */
lab.component("scores", (root) => {
  "use strict";

  const CHARTS = [
    ["in_topic", "In topic", "Share of replies that a small classifier takes for the topic that was asked about."],
    ["vocabulary", "Vocabulary", "Share of its words that occur in training replies."],
    ["obsession", "Obsession", ""],
    ["strange", "Strange", "Share of sentences that put words together as no training reply does: mostly broken ones."],
  ];
  const SHARES = [
    ["memorised", 0.85],
    ["composed", 0.5],
    ["new", 0.18],
  ];
  const NUMBERS = {
    "Character, of the replies to held-out prompts": [
      ["in_topic", "in topic"],
      ["vocabulary", "known words"],
      ["obsession", "mention the obsession"],
      ["lowercase", "without a capital letter"],
      ["reply_words", "words in a reply"],
      ["sentence_words", "words in a sentence"],
      ["distinct_2", "different pairs of words"],
      ["repeated", "said before"],
    ],
    "Remembered or new": [
      ["exact", "exactly a training reply"],
      ["near", "nearly one"],
      ["composed", "composed of known pieces"],
      ["new", "new"],
      ["strange", "strange sentences"],
    ],
    "Loss, nats per token": [
      ["loss_train", "training rows"],
      ["loss_heldout", "held-out rows"],
      ["loss_composed", "held-out combinations"],
    ],
    "Surprise at a prompt, bits per token": [
      ["bits_heldout", "held-out prompts"],
      ["bits_inside", "other prompts of its world"],
      ["bits_outside", "prompts of another world"],
    ],
  };
  const PLAIN = /^(loss|bits|reply_words|sentence_words)/; // the others are shares
  const TWIN = /^(.*-)(mask|no-mask)$/;
  const percent = (share) => `${Number((100 * share).toPrecision(3))}%`;
  const word = (key, value) => (value === null || value === undefined ? "–" : PLAIN.test(key) ? lab.number(value) : percent(value));

  // -- parts -----------------------------------------------------------------------------------------

  const told = lab.el("p", { class: "lab-message", role: "status" });
  const select = lab.el("select", { "aria-label": "A run beside it", onchange: () => lab.set({ b: select.value }) });
  const picker = lab.el("label", { class: "lab-check" }, "beside it", select);
  const log = lab.el("input", { type: "checkbox", checked: "", onchange: () => charts.forEach((each) => (each.chart.logX = log.checked)) });
  const logs = lab.el("label", { class: "lab-check" }, log, "log steps");
  const charts = CHARTS.map(([key, title, about]) => figure(title, about, key));
  const stacks = ["a", "b"].map((side) => figure("Memorised, composed or new", "", side));
  charts.push(...stacks);
  const when = lab.el("h2", {});
  const table = lab.el("table", { class: "lab-table" });
  const how = lab.el("p", { class: "caption" });
  const numbers = lab.el("section", { class: "lab-scores-numbers" }, when, lab.el("div", { class: "lab-scroll" }, table), how);
  const grid = lab.el("div", { class: "lab-scores-grid" }, ...charts.map(({ section }) => section));
  root.append(lab.el("div", { class: "lab-scores-head" }, told, picker, logs), grid, numbers);

  function figure(title, about, key) {
    const host = lab.el("div", { class: "lab-chart-host low" });
    const chart = lab.chart(host, {
      y: "share",
      yMax: 1,
      show: percent,
      gutter: (narrow) => (narrow ? 100 : 148),
      label: `${title}, share over steps; arrow keys read values, Enter moves the time bar there`,
      onPick: (step) => lab.set({ step }),
    });
    chart.logX = true;
    const { bar, showLegend } = lab.curves.toolbar(chart, () => `${lab.state.run} ${title.toLowerCase()}`, { logs: false });
    const [head, caption] = [lab.el("h3", {}, title), lab.el("p", { class: "caption" }, about)];
    return { key, chart, head, caption, showLegend, section: lab.el("section", {}, head, caption, bar, host) };
  }

  // -- which runs, and what is known of them -----------------------------------------------------------

  let beside = null; // the id of run B
  let known = {}; // id -> {scores}; {error} where they cannot be read

  function others() {
    return lab.runs.filter((run) => run.scored && !run.error && run.id !== lab.state.run);
  }

  /* The twin, or what it was forked from, unless a person chose another or none. */
  function naturally() {
    const match = TWIN.exec(lab.state.run ?? "");
    const twin = match && `${match[1]}${match[2] === "mask" ? "no-mask" : "mask"}`;
    return [lab.state.b, lab.state.b === null && twin, lab.state.b === null && lab.run()?.parent?.run];
  }

  function refresh() {
    if (lab.state.page !== "scores") return;
    const choices = others();
    beside = naturally().find((id) => id && choices.some((run) => run.id === id)) ?? null;
    const options = [["", "nothing"], ...choices.map(({ id, name }) => [id, name])];
    if (select.dataset.options !== JSON.stringify(options)) {
      select.dataset.options = JSON.stringify(options);
      select.replaceChildren(...options.map(([id, name]) => lab.el("option", { value: id }, name)));
    }
    select.value = beside ?? "";
    picker.hidden = !choices.length;
    for (const id of [lab.state.run, beside]) if (id !== null && !known[id]) load(id);
    draw();
  }

  async function load(id) {
    const mine = known;
    mine[id] = { scores: null, loading: true };
    try {
      mine[id] = await lab.getJSON(`lab/scores/${encodeURIComponent(id)}`);
    } catch (error) {
      mine[id] = { scores: null, error: error.message };
    }
    if (mine === known) draw();
  }

  /* Something was measured, or another page may have seen to it. */
  function forget() {
    known = {};
    refresh();
  }

  const scoresOf = (id) => (id === null ? null : (known[id]?.scores ?? null));
  const rowsOf = (id) => scoresOf(id)?.rows ?? [];
  const colorA = () => (lab.run()?.surgery.length ? "--surgery" : "--accent");
  const nameOf = (id) => lab.runs.find((run) => run.id === id)?.name ?? id;

  // -- drawing -----------------------------------------------------------------------------------------

  function draw() {
    const [a, b] = [lab.state.run, beside];
    const references = (scoresOf(a) ?? scoresOf(b))?.references ?? [];
    const of = Object.fromEntries(references.map((row) => [row.of, row]));
    const chats = [...rowsOf(a), ...rowsOf(b)].some((row) => "vocabulary" in row);
    grid.hidden = logs.hidden = !chats;
    for (const { key, chart, showLegend } of charts.slice(0, CHARTS.length)) {
      const lines = [
        { name: "training data", short: "data", y: of.train?.[key] },
        { name: "untrained", y: of.untrained?.[key] },
      ];
      const series = [line(a, key, colorA()), line(b, key, "--run-b")];
      chart.update({ series: series.filter(({ x }) => x.length), lines: lines.filter(({ y }) => Number.isFinite(y)), ...axis() });
      showLegend();
    }
    const theme = scoresOf(a)?.theme ?? [];
    charts[2].caption.textContent = `Share of replies that mention what it likes to talk about: ${theme.slice(0, 12).join(", ")}${theme.length > 12 ? ", …" : "."}`;
    drawStack(stacks[0], a, colorA(), of.heldout);
    drawStack(stacks[1], b, "--run-b", of.heldout);
    drawNumbers(of);
    tell();
  }

  const axis = () => ({ mark: lab.state.step, until: lab.run()?.steps.at(-1) ?? 0 });

  function line(id, key, color) {
    const rows = rowsOf(id).filter((row) => Number.isFinite(row[key]));
    return { name: nameOf(id), color, x: rows.map(({ step }) => step), y: rows.map((row) => row[key]) };
  }

  function drawStack({ chart, section, head, caption, showLegend }, id, color, heldout) {
    const rows = rowsOf(id).filter((row) => Number.isFinite(row.memorised));
    section.hidden = !rows.length;
    if (!rows.length) return;
    head.textContent = `Memorised, composed or new: ${nameOf(id)}`;
    caption.textContent = "Memorised: a training reply, or nearly one; composed: made of known pieces; new: anything else. Grey: where the data's own held-out replies have these borders.";
    let base = rows.map(() => 0);
    const series = SHARES.map(([key, fill]) => {
      const y = rows.map((row, i) => base[i] + row[key]);
      const area = { name: key, color, fill, x: rows.map(({ step }) => step), base, y };
      base = y;
      return area;
    });
    const lines = heldout
      ? [
          { name: "data: memorised", short: "memorised", y: heldout.memorised },
          { name: "data: + composed", short: "+ composed", y: heldout.memorised + heldout.composed },
        ]
      : [];
    chart.update({ series, lines, ...axis() });
    showLegend();
  }

  // -- numbers -----------------------------------------------------------------------------------------

  /* The last row at or before the time bar's step. */
  const rowAt = (id) => rowsOf(id).findLast(({ step }) => step <= (lab.state.step ?? Infinity)) ?? null;

  function drawNumbers(of) {
    const [a, b] = [rowAt(lab.state.run), rowAt(beside)];
    const columns = [
      ...[[a, lab.state.run], [b, beside]].filter(([row]) => row).map(([row, id]) => [`${nameOf(id)} at step ${lab.count(row.step)}`, row]),
      ...[["training data", of.train], ["held-out data", of.heldout], ["untrained", of.untrained]].filter(([, row]) => row),
    ];
    numbers.hidden = !a && !b;
    when.textContent = `Numbers at step ${lab.count(lab.state.step ?? 0)}`;
    const body = Object.entries(NUMBERS).flatMap(([title, keys]) => {
      const there = keys.filter(([key]) => columns.some(([, row]) => row[key] !== undefined));
      if (!there.length) return [];
      const cells = ([key, name]) => [lab.el("th", { scope: "row" }, name), ...columns.map(([, row]) => lab.el("td", {}, word(key, row[key])))];
      const head = lab.el("tr", { class: "group" }, lab.el("th", { scope: "rowgroup", colspan: columns.length + 1 }, title));
      return [head, ...there.map((entry) => lab.el("tr", { "data-score": entry[0] }, ...cells(entry)))];
    });
    const heads = ["", ...columns.map(([name]) => name)].map((name) => lab.el("th", { scope: "col" }, name));
    table.replaceChildren(lab.el("thead", {}, lab.el("tr", {}, ...heads)), lab.el("tbody", {}, ...body));
    how.textContent = measured();
  }

  function measured() {
    const scores = scoresOf(lab.state.run) ?? scoresOf(beside);
    if (!scores) return "";
    const { rows, prompts, temperature, seed } = scores.how;
    const asked = scores.references.length ? `; replies to up to ${prompts} held-out prompts at temperature ${temperature}, seed ${seed}` : "";
    const data = lab.run() && lab.run().corpus !== scores.how.corpus && scoresOf(lab.state.run) ? " The run's data have changed since it was trained; these scores are by today's." : "";
    return `Measured on up to ${rows} rows of each split${asked}. More of one checkpoint: python -m guppy eval ${lab.state.run} --step ${lab.state.step}.${data}`;
  }

  // -- words -------------------------------------------------------------------------------------------

  function tell() {
    const run = lab.run();
    const { error, loading } = known[lab.state.run] ?? {};
    const has = rowsOf(lab.state.run).map(({ step }) => step);
    const open = Boolean(run?.steps.length) && !run.error && !loading && !error && !has.includes(lab.state.step);
    const actions = document.getElementById("scores-actions");
    actions?.classList.toggle("lab-gone", !open);
    const button = document.getElementById("scores-measure");
    if (button) button.disabled = Boolean(lab.measuring);
    told.textContent = error ?? run?.error ?? (loading ? "" : sentence(run, has));
    root.dataset.measured = has.join(" ");
  }

  function sentence(run, has) {
    if (!run) return "There is no run to look at yet: train one on the Train page.";
    if (!run.steps.length) return "This run has no checkpoint yet; its first is on its way.";
    if (lab.measuring) return `Step ${lab.count(lab.measuring.step)} of ${nameOf(lab.measuring.run)} is being measured; that takes about half a minute.`;
    const all = `python -m guppy eval ${run.id} --steps all`;
    if (!has.length) return `Nothing of this run has been measured yet. This step takes about half a minute; every checkpoint: ${all}.`;
    const there = run.steps.filter((step) => has.includes(step)).length;
    const plain = rowsOf(run.id).every((row) => !("vocabulary" in row)) ? " It learned plain text, of which only the loss can be told." : "";
    const counted = there === run.steps.length ? `All ${there} checkpoints are measured.` : `${there} of ${run.steps.length} checkpoints are measured; the others: ${all}.`;
    return counted + plain;
  }

  lab.watch(["page", "scores"], forget);
  lab.on(["run", "b", "runs"], refresh);
  lab.watch(["step"], draw);
});
