/* One head, large: the query tokens down the side, the key tokens along the top, the number under the hand. What its
   numbers are is chosen above the wall. */
lab.component("head", (root) => {
  "use strict";

  const { attention } = lab;
  const LARGEST_CELL = 40;
  const SMALLEST_PLOT = 400; // px that a low window leaves to the matrix
  const AROUND = 380; // px of frame, title, tokens and caption around the matrix
  const LABEL_ROOM = 104;
  const LABEL_STEP = 13; // px between labels
  const LABEL = { size: 11, mono: true };

  const title = lab.el("h2", {});
  const note = lab.el("span", { class: "muted" });
  const base = lab.el("canvas", { class: "base" });
  const over = lab.el("canvas", { class: "over", "aria-hidden": "true" });
  const plot = lab.el("div", {
    class: "plot",
    tabindex: 0,
    role: "application",
    "aria-roledescription": "attention matrix",
    "aria-label": "Arrow keys move from number to number, Escape lets go",
  });
  plot.append(base, over);
  const readout = lab.el("p", { class: "readout", "aria-live": "polite" });
  const strip = lab.el("div", { class: "strip", role: "group", "aria-label": "Where the query looks" });
  const caption = lab.el("p", { class: "caption" });
  const saves = lab.saves({
    PNG: () => paper().png(filename()),
    SVG: () => paper().svg(filename()),
    CSV: () => lab.saveTable(table(), filename()),
    NPZ: attention.saveNpz,
  });
  root.append(
    lab.el("div", { class: "title" }, title, note),
    readout,
    plot,
    strip,
    lab.el("div", { class: "foot" }, caption, saves),
  );

  let place = null; // geometry of the matrix in the plot: {left, top, cell, n}
  let hover = null; // [query, key] under the hand; key null: a token of the strip
  let picture = null; // what is shown: see attention.picture()
  let values = null; // its numbers for this head, row by row
  let labels = [];
  let chipsOf = null; // the tokens that the strip was made for

  // -- what is looked at -----------------------------------------------------------------------------

  function pinned() {
    const { layer, query, key } = lab.state;
    const n = place?.n ?? 0;
    return layer !== null && query !== null && query < n && key < n ? [query, key] : null;
  }

  root.matrix = () => place; // where the cells are, for whoever points at them from outside

  const cell = () => hover ?? pinned();
  const number = (query, key) => picture.value(values[query * place.n + key]);

  // -- the matrix ------------------------------------------------------------------------------------

  function measure(n) {
    const width = plot.clientWidth;
    const widest = Math.min(LABEL_ROOM, Math.max(...labels.map((label) => lab.ink.measure(label, LABEL))) + 10);
    const high = Math.max(SMALLEST_PLOT, innerHeight - AROUND) - widest;
    const room = Math.min(width - widest - 2, high) / n;
    const side = room >= 6 ? Math.min(LARGEST_CELL, Math.floor(room)) : room;
    return { n, left: Math.ceil(widest), top: Math.ceil(widest) + 4, cell: side, width, height: Math.ceil(widest + 6 + side * n) };
  }

  function paint() {
    const next = attention.picture();
    root.classList.toggle("waiting", !next);
    saves.hidden = !next;
    if (!next) return;
    const { header, step } = next;
    const [layer, head] = attention.selected();
    if (layer >= next.layers || head >= next.columns.length) return;
    picture = next;
    values = picture.values(layer, head);
    const text = header.tokens.join("\n");
    if (chipsOf !== text) {
      chipsOf = text;
      labels = header.tokens.map(lab.tokenText);
      hover = null;
      place = null;
      strip.replaceChildren(...lab.chips(header.tokens));
    }
    place ??= measure(picture.n);
    if (!place.width) return (place = null);
    drawOn(prepare(base, place), place);
    title.textContent = picture.title(layer, head);
    sayKind();
    caption.textContent = picture.caption(picture.where(layer, head));
    point();
    root.dataset.painted = JSON.stringify([header.run, step, header.prompt, layer, head]);
  }

  function sayKind() {
    if (!picture) return;
    const [layer, head] = attention.selected();
    const kind = picture.name === "rollout" ? "" : attention.kindOf(layer, head)?.kind;
    const pin = lab.state.layer === layer && lab.state.head === head ? "pinned" : "click a head to pin it";
    note.textContent = kind ? `${kind} · ${pin}` : pin;
  }

  function prepare(canvas, { width, height }) {
    const ink = lab.ink.onCanvas(canvas, width, height);
    [canvas.style.width, canvas.style.height] = [`${width}px`, `${height}px`];
    plot.style.height = `${height}px`;
    return ink;
  }

  function drawOn(ink, { n, left, top, cell: side }) {
    const image = new ImageData(n, n);
    picture.paint(image, values);
    // Shows where the mask hides.
    if (picture.name === "scores") ink.rect(left, top, side * n, side * n, { fill: "sunken" });
    ink.image(left, top, side * n, side * n, image);
    ink.rect(left - 0.5, top - 0.5, side * n + 1, side * n + 1, { stroke: "hairline" });
    if (attention.seesFuture()) drawDiagonal(ink, left, top, side, n);
    const every = Math.ceil(LABEL_STEP / side);
    for (let i = 0; i < n; i += every) {
      drawLabel(ink, "query", i, { color: "ink-2" });
      drawLabel(ink, "key", i, { color: "ink-2" });
    }
  }

  function drawLabel(ink, axis, i, style) {
    const { left, top, cell: side } = place;
    const middle = (i + 0.5) * side;
    const full = { ...LABEL, ...style, max: LABEL_ROOM - 8 };
    if (axis === "query") ink.text(left - 5, top + middle, labels[i], { ...full, align: "right" });
    else ink.text(left + middle, top - 5, labels[i], { ...full, rotate: -90 });
  }

  function drawDiagonal(ink, left, top, side, n) {
    const steps = Array.from({ length: n }, (_, i) => [
      [left + (i + 1) * side, top + i * side],
      [left + (i + 1) * side, top + (i + 1) * side],
    ]);
    ink.path([[left, top], ...steps.flat()], { stroke: "surgery" });
  }

  // -- the number under the hand -----------------------------------------------------------------------

  function point() {
    if (!place || !values) return;
    const ink = prepare(over, place);
    const at = cell();
    if (at) drawCrosshair(ink, at);
    const [query, key] = at ?? [];
    readout.textContent = !at
      ? "Point at a cell to read its number, or at a token below."
      : key === null
        ? `the query ‘${labels[query]}’ (position ${query}) and where it looks`
        : picture.say(labels[query], labels[key], number(query, key));
    readout.title = at && key !== null ? `query at position ${query}, key at position ${key}; ${picture.exact}` : "";
    root.dataset.value = at && key !== null ? String(values[query * place.n + key]) : "";
    tint(at);
  }

  function drawCrosshair(ink, [query, key]) {
    const { left, top, cell: side, n } = place;
    const frame = (x, y, w, h, width = 1) => ink.rect(x, y, w, h, { stroke: "accent", width });
    frame(left - 0.5, top + query * side - 0.5, side * n + 1, side + 1);
    if (key !== null) {
      frame(left + key * side - 0.5, top - 0.5, side + 1, side * n + 1);
      frame(left + key * side - 1, top + query * side - 1, side + 2, side + 2, 2);
    }
    for (const [axis, i] of [["query", query], ["key", key]]) {
      if (i === null) continue;
      const bold = { color: "accent", weight: 700 };
      const width = Math.min(LABEL_ROOM - 6, ink.measure(labels[i], { ...LABEL, ...bold })) + 4;
      const middle = (i + 0.5) * side;
      if (axis === "query") ink.rect(left - 3 - width, top + middle - 8, width + 1, 16, { fill: "paper" });
      else ink.rect(left + middle - 8, top - 3 - width, 16, width + 1, { fill: "paper" });
      drawLabel(ink, axis, i, bold);
    }
  }

  function under(event) {
    const box = base.getBoundingClientRect();
    const key = Math.floor((event.clientX - box.left - place.left) / place.cell);
    const query = Math.floor((event.clientY - box.top - place.top) / place.cell);
    return key >= 0 && query >= 0 && key < place.n && query < place.n ? [query, key] : null;
  }

  function pin(at) {
    const [layer, head] = attention.selected();
    lab.set({ layer, head, query: at?.[0] ?? null, key: at?.[1] ?? null });
  }

  plot.addEventListener("pointermove", (event) => {
    if (!place) return;
    hover = event.pointerType === "mouse" ? under(event) : null;
    point();
  });
  plot.addEventListener("pointerleave", () => {
    hover = null;
    point();
  });
  plot.addEventListener("click", (event) => {
    const at = place && under(event);
    if (!at) return;
    const before = pinned();
    pin(before && before[0] === at[0] && before[1] === at[1] ? null : at);
  });
  plot.addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
    if (!place) return;
    if (event.key === "Escape") return lab.set(pinned() ? { query: null, key: null } : { layer: null, head: null });
    if (!moves[event.key]) return;
    event.preventDefault();
    const [query, key] = pinned() ?? [place.n - 1, 0];
    const within = (i) => Math.min(place.n - 1, Math.max(0, i));
    hover = null;
    pin(pinned() ? [within(query + moves[event.key][0]), within(key + moves[event.key][1])] : [query, key]);
  });

  // -- the token strip -------------------------------------------------------------------------------

  strip.addEventListener("pointerover", (event) => {
    const chip = event.target.closest(".chip");
    hover = chip ? [Number(chip.dataset.position), null] : null;
    point();
  });
  strip.addEventListener("pointerleave", () => {
    hover = null;
    point();
  });

  /* Each token in the colour of its number in the query's row. */
  function tint(at) {
    const [query, key] = at ?? [null, null];
    [...strip.children].forEach((chip, position) => {
      const value = query === null ? -Infinity : number(query, position);
      const rgb = value === -Infinity ? null : lab.ink.valueColor(picture.scale, value, picture.max);
      chip.style.background = rgb ? `rgb(${rgb.join(" ")})` : "";
      chip.style.color = rgb ? `var(--${lab.ink.contrast(rgb)})` : "";
      chip.title = query === null ? "" : picture.say(labels[query], labels[position], value);
      chip.classList.toggle("query", position === query);
      chip.classList.toggle("key", position === key);
    });
  }

  // -- files -----------------------------------------------------------------------------------------

  const filename = () => `${attention.filename()}-L${attention.selected()[0]}H${attention.selected()[1]}`;

  const paper = () =>
    lab.paper({
      width: place.left + place.cell * place.n + 2,
      height: place.height,
      words: [caption.textContent],
      draw: (ink) => drawOn(ink, place),
    });

  const numeral = (value) => (picture.name === "pattern" ? value.toFixed(6) : String(value));

  function table() {
    const names = labels.map((label, i) => `${i} ${label}`);
    const row = (name, query) => [name, ...names.map((_, key) => numeral(number(query, key)))];
    return [["query \\ key", ...names], ...names.map(row)];
  }

  attention.onPicture(paint);
  attention.onSelect(paint);
  attention.kinds().on(sayKind);
  lab.on(["query", "key"], point);
  lab.onTheme(paint);
  new ResizeObserver(() => {
    if (place?.width === plot.clientWidth) return;
    place = null;
    paint();
  }).observe(plot);
});
