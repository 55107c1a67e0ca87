/* Every head's score as every kind of head, at this step: the kind it is most of, in how many texts, and all scores. */
lab.component("attention-kinds", (root) => {
  "use strict";

  const { attention } = lab;
  const q = attention.kinds();
  const sight = lab.sight(root);
  const [ROW, NAME, SMALL] = [20, { size: 12 }, { size: 11, color: "ink-2" }];
  const RANDOM = "rows of repeated random tokens";
  let place = null; // {left, top, cell, rows: [[layer, head]], kinds}

  const texts = (on, rows) => `${rows} ${on === "random" ? RANDOM : "short conversations"}`;

  // -- drawing ---------------------------------------------------------------------------------------

  function measure(ink, width) {
    const { facts, arrays } = q.shown;
    const { kinds } = facts;
    const [count, layers, heads] = arrays.score.shape;
    const rows = Array.from({ length: layers * heads }, (_, i) => [Math.floor(i / heads), i % heads]);
    const wide = width > 460;
    const named = wide ? (kind) => kind : attention.shortKind;
    const most = Math.max(...kinds.map((kind) => ink.measure(named(kind), { ...NAME, weight: 600 })));
    const label = ink.measure("L00 H00", NAME) + 8;
    const share = wide ? ink.measure("12 of 12", SMALL) + 14 : 0;
    const left = Math.ceil(label + most + 12 + share);
    const cell = Math.min(72, (width - left - 2) / count);
    const titles = Math.max(...kinds.map((kind) => ink.measure(kind, SMALL)));
    const flat = titles + 6 <= cell;
    return { kinds, rows, named, label, share, left, cell, flat, top: 26 + (flat ? 20 : titles + 10), wide };
  }

  function draw(ink, width) {
    place = measure(ink, width);
    const { kinds, rows, left, cell, flat, top } = place;
    lab.drawScale(ink, 0, 4, { scale: "probability", max: 1, unit: "score" });
    kinds.forEach((kind, i) => {
      const x = left + (i + 0.5) * cell;
      if (flat) ink.text(x, top - 9, kind, { ...SMALL, align: "center" });
      else ink.text(x, top - 6, kind, { ...SMALL, rotate: -90 });
    });
    rows.forEach(([layer, head], row) => drawRow(ink, layer, head, top + row * ROW));
    ink.rect(left - 0.5, top - 0.5, cell * kinds.length + 1, ROW * rows.length + 1, { stroke: "hairline" });
    return top + ROW * rows.length + 2;
  }

  function drawRow(ink, layer, head, y) {
    const { kinds, named, label, share, left, cell } = place;
    const found = attention.kindOf(layer, head);
    const pinned = lab.state.layer === layer && lab.state.head === head;
    if (layer && head === 0) ink.line(0, y - 0.5, left + cell * kinds.length, y - 0.5);
    ink.text(0, y + ROW / 2, `L${layer} H${head}`, { ...NAME, color: pinned ? "accent" : "ink-2", weight: pinned ? 700 : 400 });
    ink.text(label, y + ROW / 2, found.kind ? named(found.kind) : "–", { ...NAME, weight: found.kind ? 600 : 400 });
    if (share && found.kind) {
      const passed = `${Math.round(found.confidence * found.rows)} of ${found.rows}`;
      ink.text(left - 8, y + ROW / 2, passed, { ...SMALL, align: "right" });
    }
    kinds.forEach((kind, i) => {
      const score = q.shown.at("score", i, layer, head);
      const x = left + i * cell;
      if (Number.isNaN(score)) return ink.rect(x, y, cell, ROW, { fill: "sunken" });
      const rgb = lab.color.attention(score);
      ink.rect(x, y, cell, ROW, { fill: rgb });
      if (cell >= 24) ink.text(x + cell / 2, y + ROW / 2, short(score), { size: 11, align: "center", color: lab.ink.contrast(rgb) });
      if (kind === found.kind) ink.rect(x + 1, y + 1, cell - 2, ROW - 2, { stroke: "accent", width: 2 });
    });
  }

  /* Two digits without the zero: .83 */
  const short = (score) => (score >= 0.995 ? "1" : score < 0.005 ? "0" : score.toFixed(2).slice(1));

  // -- the hand --------------------------------------------------------------------------------------

  function hit(x, y) {
    if (!place) return null;
    const { rows, kinds, left, top, cell } = place;
    const row = Math.floor((y - top) / ROW);
    const kind = Math.floor((x - left) / cell);
    return row >= 0 && row < rows.length && kind < kinds.length ? { row, kind: Math.max(-1, kind) } : null;
  }

  function over(ink, width) {
    const { target } = fig;
    if (!target || target.row >= place.rows.length) return;
    const { left, top, cell } = place;
    ink.rect(0.5, top + target.row * ROW + 0.5, Math.min(width, left + cell * place.kinds.length) - 1, ROW - 1, { stroke: "accent" });
    if (target.kind >= 0) ink.rect(left + target.kind * cell, top + target.row * ROW, cell, ROW, { stroke: "accent", width: 2 });
  }

  function readout(target) {
    if (!target) return "Point at a number to read it; a click pins the head and shows how the kind developed.";
    const [layer, head] = place.rows[target.row];
    const { facts, at } = q.shown;
    const i = target.kind >= 0 ? target.kind : facts.kinds.indexOf(facts.labels[layer][head]);
    if (i < 0) return `L${layer} H${head} reaches the threshold of no kind`;
    const score = at("score", i, layer, head);
    const about = `L${layer} H${head} · ${facts.kinds[i]} (${facts.about[i]})`;
    if (Number.isNaN(score)) return `${about}: nothing of it fits the context`;
    const rows = facts.rows[facts.on[i]];
    const passed = `${Math.round(at("confidence", i, layer, head) * rows)} of ${texts(facts.on[i], rows)} reach ${lab.number(at("thresholds", i))}`;
    const chance = `an even look scores ${lab.number(at("chance", i))}`;
    return `${about}: ${lab.number(score)} ± ${lab.number(at("spread", i, layer, head))} · ${passed} · ${chance}`;
  }

  function csv() {
    const { facts, at } = q.shown;
    const head = ["layer", "head", "kind", ...facts.kinds, ...facts.kinds.map((kind) => `confidence ${kind}`)];
    const numbers = (name, layer, h) => facts.kinds.map((_, i) => at(name, i, layer, h));
    return [head, ...place.rows.map(([layer, h]) => [layer, h, facts.labels[layer][h], ...numbers("score", layer, h), ...numbers("confidence", layer, h)])];
  }

  const fig = lab.figure(root, {
    title: "What kind of head each is",
    about:
      "The share of its attention that a head puts on what the kind looks at. Measured on texts of its own, not on the prompt. A kind is where a head looks, not what it does.",
    question: sight.question(q),
    label: "Scores of every head as every kind of head",
    draw,
    over,
    hit,
    readout,
    csv,
    click: ({ row, kind }) => {
      const [layer, head] = place.rows[row];
      if (kind >= 0) lab.choices.set("attention.kind", place.kinds[kind]);
      lab.set({ layer, head });
    },
    move: ([right, down]) => {
      const { row, kind } = fig.target ?? { row: 0, kind: 0 };
      const within = (i, count) => Math.min(count - 1, Math.max(0, i));
      fig.aim({ row: within(row + down, place.rows.length), kind: within(kind + right, place.kinds.length) });
    },
    leave: () => fig.aim(null),
  });
  lab.on(["layer", "head"], sight.when(() => q.shown && fig.paint()));
});
