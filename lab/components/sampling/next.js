/* The next token: its probabilities with the cuts of temperature, top-k and top-p drawn on them, and the draw. */
lab.component("sampling-next", (root) => {
  "use strict";

  const { sampling } = lab;
  const MOST = 30;
  const [ROW, TOP, CUT] = [20, 44, 18]; // px: a token, legend and axis above, a cut's line between two tokens
  const SMALL = { size: 11, color: "ink-2" };
  const next = sampling.ask("next-token");
  const percent = (share) => `${lab.number(100 * share)}%`;

  const [left, right] = [lab.el("div", {}), lab.el("div", { class: "sampling-side" })];
  root.append(lab.el("div", { class: "kit-grid" }, left, right));

  // -- the bars --------------------------------------------------------------------------------------

  let rows = []; // {id, y}

  /* Tokens from the likeliest down, and the lines where a setting cuts. */
  function layout() {
    const { order, afterTopK, afterTopP } = sampling.now();
    const { topK, topP } = sampling.settings();
    rows = [];
    const cuts = [];
    let y = TOP;
    for (let i = 0; i < Math.min(MOST, order.length); i++) {
      rows.push({ id: order[i], y });
      y += ROW;
      const here = [];
      if (topP !== null && i + 1 === afterTopP) here.push(`top-p ${lab.number(topP)} cuts here`);
      if (topK !== null && i + 1 === afterTopK) here.push(`top-k ${topK} cuts here`);
      if (here.length && i + 1 < order.length) {
        cuts.push({ y: y + CUT / 2, text: here.join(" · ") });
        y += CUT;
      }
    }
    return { cuts, height: y + 4 };
  }

  function draw(ink, width) {
    const { probability, drawn, kept } = sampling.now();
    const { cuts, height } = layout();
    const max = rows.reduce((most, { id }) => Math.max(most, probability[id], drawn[id]), 0);
    const label = Math.ceil(Math.min(width * 0.34, Math.max(...rows.map(({ id }) => lab.ink.measure(lab.word(id), { mono: true }))))) + 10;
    const [zero, room] = [label, width - label - 52];
    key(ink, width);
    ink.text(zero, TOP - 12, "0", { ...SMALL, align: "center" });
    ink.text(zero + room, TOP - 12, percent(max), { ...SMALL, align: "right" });
    for (const { id, y } of rows) {
      const color = kept[id] ? "ink" : "ink-2";
      ink.text(label - 10, y + ROW / 2, lab.word(id), { mono: true, align: "right", max: label - 10, color });
      ink.rect(zero, y + 10, (drawn[id] / max) * room, 6, { fill: "attention-1" });
      ink.rect(zero, y + 4, (probability[id] / max) * room, 5, { fill: "edge", opacity: kept[id] ? 0.75 : 0.4 });
      const end = zero + (Math.max(drawn[id], probability[id]) / max) * room + 6;
      ink.text(end, y + ROW / 2, percent(kept[id] ? drawn[id] : probability[id]), { ...SMALL, opacity: kept[id] ? 1 : 0.7 });
    }
    ink.line(zero, TOP - 4, zero, height - 4, { stroke: "edge" });
    for (const { y, text } of cuts) {
      const size = lab.ink.measure(text, SMALL);
      ink.line(0, y, width - size - 8, y, { stroke: "accent", dash: [4, 3] });
      ink.text(width, y, text, { ...SMALL, color: "accent", align: "right" });
    }
    return height;
  }

  function key(ink, width) {
    const entries = [["edge", "the model's own"], ["attention-1", "what is drawn from"]];
    let x = 0;
    for (const [fill, text] of entries) {
      ink.rect(x, 5, 14, 6, { fill, opacity: fill === "edge" ? 0.75 : 1 });
      ink.text(x + 20, 8, text, { ...SMALL, max: width - x - 20 });
      x += 36 + lab.ink.measure(text, SMALL);
    }
  }

  function over(ink, width) {
    const row = rows.find(({ id }) => id === fig.target);
    if (row) ink.rect(0.5, row.y + 0.5, width - 1, ROW - 1, { stroke: "accent" });
  }

  const hit = (x, y) => rows.find((row) => y >= row.y && y < row.y + ROW)?.id ?? null;

  function readout(id) {
    const { probability, tempered, drawn, kept, afterTopP } = sampling.now();
    const { logits } = next.shown.arrays;
    if (id !== null) {
      const fate = kept[id] ? `drawn with ${percent(drawn[id])}` : "cut";
      const cooled = sampling.settings().temperature === 1 ? "" : `, ${percent(tempered[id])} after temperature`;
      return `‘${lab.word(id)}’: logit ${lab.signed(logits.data[id])}, ${percent(probability[id])} of the model's own${cooled}, ${fate}`;
    }
    const [before, after] = [sampling.bits(probability), sampling.bits(drawn)].map(lab.number);
    return `${afterTopP === 1 ? "1 token is" : `${lab.count(afterTopP)} tokens are`} drawn from; entropy ${before === after ? "" : `${before} → `}${after} bits.`;
  }

  function note() {
    const { afterTopP, order } = sampling.now();
    const hidden = Math.min(MOST, order.length);
    return afterTopP > hidden ? `The ${hidden} likeliest tokens are shown; ${lab.count(afterTopP - hidden)} more can be drawn.` : "";
  }

  function csv() {
    const { order, probability, tempered, kept, drawn } = sampling.now();
    const line = (id) => [id, lab.word(id), next.shown.arrays.logits.data[id], probability[id], tempered[id], kept[id], drawn[id]];
    return [["id", "token", "logit", "probability", "after temperature", "kept", "drawn with"], ...Array.from(order, line)];
  }

  function caption(then = sampling.then()) {
    const { temperature, topK, topP } = sampling.settings();
    const set = [`temperature ${lab.number(temperature)}`, topK && `top-k ${topK}`, topP && `top-p ${lab.number(topP)}`];
    return sampling.caption(next, then, set.filter(Boolean));
  }

  const fig = lab.figure(left, {
    title: "The next token",
    about: "Temperature first, then top-k, then top-p; what is left is rescaled to 100% and drawn from. A click takes a token.",
    question: next,
    label: "Probabilities of the next token; arrow keys read them, Enter takes one",
    draw,
    over,
    hit,
    readout,
    note,
    csv,
    caption: () => caption(),
    click: (id) => sampling.follow([...sampling.then(), id]),
    move: ([, down]) => {
      const at = rows.findIndex(({ id }) => id === fig.target);
      fig.aim(rows[Math.min(rows.length - 1, Math.max(0, at + down))].id);
    },
  });
  const off = (none, format) => (value) => (value === none ? "off" : format(value));
  const { NAME } = sampling;
  lab.slider(fig.controls, { name: NAME.temperature, label: "temperature", min: 0, max: 2, step: 0.05, initial: 1 });
  lab.slider(fig.controls, { name: NAME.topK, label: "top-k", min: 0, max: 60, step: 1, initial: 0, format: off(0, String) });
  lab.slider(fig.controls, { name: NAME.topP, label: "top-p", min: 0.01, max: 1, step: 0.01, initial: 1, format: off(1, lab.number) });

  // -- the text and the draw -------------------------------------------------------------------------

  const chips = lab.el("div", { class: "sampling-text", role: "group", "aria-label": "The text so far" });
  const button = (text, onclick) => lab.el("button", { type: "button", class: "plain", onclick }, text);
  const take = button("Draw a token", () => sampling.take());
  const undo = button("Undo", () => sampling.follow(sampling.then().slice(0, -1)));
  const again = button("Start over", () => sampling.follow([]));
  take.classList.add("sampling-draw");
  right.append(lab.el("h2", {}, "The text so far"), chips, lab.el("div", { class: "sampling-buttons" }, take, undo, again));

  function write() {
    const { shown } = next;
    const then = sampling.then();
    take.disabled = !shown || next.busy;
    undo.disabled = again.disabled = !then.length;
    if (!shown) return;
    const drawn = then.map((id) => lab.el("span", { class: "chip drawn", "data-id": id }, lab.word(id)));
    chips.replaceChildren(...lab.chips(shown.tokens), ...drawn);
  }

  /* The shares of all tokens in the order of ids, end to end: where a number between 0 and 1 falls, that token is taken. */
  const [BAR, AXIS] = [34, 30];
  let segments = []; // {id, from, to}

  function dealt() {
    const drawn = sampling.last()?.drawn ?? sampling.now().drawn;
    let from = 0;
    segments = [];
    drawn.forEach((share, id) => {
      if (!share) return;
      segments.push({ id, from, to: from + share });
      from += share;
    });
  }

  function drawBar(ink, width) {
    dealt();
    const last = sampling.last();
    const [top, x] = [24, (share) => 1 + share * (width - 2)];
    segments.forEach(({ id, from, to }, i) => {
      const [start, size] = [x(from), x(to) - x(from)];
      if (size < 0.3) return;
      ink.rect(start, top, size, BAR, { fill: "attention-1", opacity: i % 2 ? 0.22 : 0.12 });
      if (size > 3) ink.line(start, top, start, top + BAR, { stroke: "surface" });
      const text = lab.word(id);
      if (size > 22) ink.text(start + size / 2, top + BAR / 2, text, { mono: true, align: "center", max: size - 4 });
    });
    ink.rect(0.5, top - 0.5, width - 1, BAR + 1, { stroke: "edge" });
    for (const share of [0, 0.25, 0.5, 0.75, 1]) {
      const align = share === 0 ? "left" : share === 1 ? "right" : "center";
      ink.line(x(share), top + BAR, x(share), top + BAR + 4, { stroke: "edge" });
      ink.text(x(share), top + BAR + 12, String(share), { ...SMALL, align });
    }
    ink.text(width / 2, top + BAR + AXIS, "probability, summed up in the order of token ids", { ...SMALL, align: "center", max: width });
    if (last) {
      const hit = segments.find(({ id }) => id === last.token);
      ink.rect(x(hit.from), top, x(hit.to) - x(hit.from), BAR, { stroke: "accent", width: 2 });
      const at = x(last.number);
      ink.line(at, 14, at, top + BAR, { stroke: "accent", width: 2 });
      const align = last.number < 0.1 ? "left" : last.number > 0.9 ? "right" : "center";
      ink.text(at, 7, last.number.toFixed(3), { ...SMALL, color: "accent", align });
    }
    return top + BAR + AXIS + 8;
  }

  function underBar(x, y, width) {
    const share = (x - 1) / (width - 2);
    if (y < 24 || y > 24 + BAR) return null;
    return segments.find(({ from, to }) => share >= from && share < to)?.id ?? null;
  }

  function readBar(id) {
    const last = sampling.last();
    if (id !== null) {
      const { from, to } = segments.find((each) => each.id === id);
      return `‘${lab.word(id)}’ is taken by numbers from ${from.toFixed(3)} to ${to.toFixed(3)}`;
    }
    if (!last) return "A random number between 0 and 1 falls somewhere on this bar, and that token is taken.";
    return `The number ${last.number.toFixed(3)} fell on ‘${lab.word(last.token)}’.`;
  }

  const bar = lab.figure(right, {
    title: () => (next.shown && sampling.last() ? "The last draw" : "The draw"),
    question: next,
    draw: drawBar,
    hit: underBar,
    readout: readBar,
    caption: () => caption(sampling.last() ? sampling.then().slice(0, -1) : sampling.then()),
    npz: false,
    csv: () => [["id", "token", "from", "to"], ...segments.map(({ id, from, to }) => [id, lab.word(id), from, to])],
  });

  function paint() {
    write();
    if (!next.shown) return;
    fig.paint();
    bar.paint();
  }

  next.on(write);
  lab.choices.on(Object.values(NAME), paint);
  lab.on(["sampling", "vocabulary"], paint);
});
