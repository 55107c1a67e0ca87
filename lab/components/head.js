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
  const png = lab.el("button", { type: "button", class: "plain", onclick: savePng }, "Save PNG");
  const csv = lab.el("button", { type: "button", class: "plain", onclick: saveCsv }, "Save CSV");
  root.append(
    lab.el("div", { class: "title" }, title, note),
    readout,
    plot,
    strip,
    lab.el("div", { class: "foot" }, caption, lab.el("div", { class: "buttons" }, png, csv)),
  );

  let place = null; // geometry of the matrix in the plot: {left, top, cell, n}
  let hover = null; // [query, key] under the hand; key null: a token of the strip
  let picture = null; // what is shown: see attention.picture()
  let values = null; // its numbers for this head, row by row
  let labels = [];
  let offscreen = new OffscreenCanvas(1, 1);
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
    const ink = base.getContext("2d");
    ink.font = labelFont();
    const widest = Math.min(LABEL_ROOM, Math.max(...labels.map((label) => ink.measureText(label).width)) + 10);
    const high = Math.max(SMALLEST_PLOT, innerHeight - AROUND) - widest;
    const room = Math.min(width - widest - 2, high) / n;
    const side = room >= 6 ? Math.min(LARGEST_CELL, Math.floor(room)) : room;
    return { n, left: Math.ceil(widest), top: Math.ceil(widest) + 4, cell: side, width, height: Math.ceil(widest + 6 + side * n) };
  }

  const labelFont = (weight = 400) => `${weight} 11px ${lab.css("--mono")}`;

  function paint() {
    const next = attention.picture();
    root.classList.toggle("waiting", !next);
    png.hidden = csv.hidden = !next;
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
    drawMatrix(base, place);
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
    const ratio = devicePixelRatio || 1;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
      canvas.style.width = `${width}px`;
      canvas.style.height = `${height}px`;
      plot.style.height = `${height}px`;
    }
    const ink = canvas.getContext("2d");
    ink.setTransform(ratio, 0, 0, ratio, 0, 0);
    ink.clearRect(0, 0, width, height);
    return ink;
  }

  function drawMatrix(canvas, where) {
    drawOn(prepare(canvas, where), where);
  }

  function drawOn(ink, { n, left, top, cell: side }) {
    if (offscreen.width !== n) offscreen = new OffscreenCanvas(n, n);
    const image = new ImageData(n, n);
    picture.paint(image, values);
    if (picture.name === "scores") {
      ink.fillStyle = lab.css("--sunken"); // shows where the mask hides
      ink.fillRect(left, top, side * n, side * n);
    }
    offscreen.getContext("2d").putImageData(image, 0, 0);
    ink.imageSmoothingEnabled = false;
    ink.drawImage(offscreen, left, top, side * n, side * n);
    ink.strokeStyle = lab.css("--hairline");
    ink.lineWidth = 1;
    ink.strokeRect(left - 0.5, top - 0.5, side * n + 1, side * n + 1);
    if (attention.seesFuture()) drawDiagonal(ink, left, top, side, n);
    ink.font = labelFont();
    ink.fillStyle = lab.css("--ink-2");
    const every = Math.ceil(LABEL_STEP / side);
    for (let i = 0; i < n; i += every) {
      drawLabel(ink, labels[i], "query", { left, top, side }, i);
      drawLabel(ink, labels[i], "key", { left, top, side }, i);
    }
  }

  function drawLabel(ink, text, axis, { left, top, side }, i) {
    const middle = (i + 0.5) * side;
    ink.textAlign = axis === "query" ? "right" : "left";
    ink.textBaseline = "middle";
    ink.save();
    if (axis === "query") ink.translate(left - 5, top + middle);
    else {
      ink.translate(left + middle, top - 5);
      ink.rotate(-Math.PI / 2);
    }
    ink.fillText(fit(ink, text), 0, 0);
    ink.restore();
  }

  function fit(ink, text) {
    if (ink.measureText(text).width <= LABEL_ROOM - 8) return text;
    let kept = [...text];
    while (kept.length > 1 && ink.measureText(`${kept.join("")}…`).width > LABEL_ROOM - 8) kept.pop();
    return `${kept.join("")}…`;
  }

  /* What lies above this line a causal mask would hide. */
  function drawDiagonal(ink, left, top, side, n) {
    ink.strokeStyle = lab.css("--surgery");
    ink.beginPath();
    ink.moveTo(left, top);
    for (let i = 0; i < n; i++) {
      ink.lineTo(left + (i + 1) * side, top + i * side);
      ink.lineTo(left + (i + 1) * side, top + (i + 1) * side);
    }
    ink.stroke();
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
    ink.strokeStyle = lab.css("--accent");
    ink.lineWidth = 1;
    ink.strokeRect(left - 0.5, top + query * side - 0.5, side * n + 1, side + 1);
    if (key !== null) {
      ink.strokeRect(left + key * side - 0.5, top - 0.5, side + 1, side * n + 1);
      ink.lineWidth = 2;
      ink.strokeRect(left + key * side - 1, top + query * side - 1, side + 2, side + 2);
    }
    ink.font = labelFont(700);
    for (const [axis, i] of [["query", query], ["key", key]]) {
      if (i === null) continue;
      const width = Math.min(LABEL_ROOM - 6, ink.measureText(labels[i]).width) + 4;
      const middle = (i + 0.5) * side;
      ink.fillStyle = lab.css("--paper");
      if (axis === "query") ink.fillRect(left - 3 - width, top + middle - 8, width + 1, 16);
      else ink.fillRect(left + middle - 8, top - 3 - width, 16, width + 1);
      ink.fillStyle = lab.css("--accent");
      drawLabel(ink, labels[i], axis, { left, top, side }, i);
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

  function savePng() {
    const paper = lab.picture(place.left + place.cell * place.n + 2, place.height, caption.textContent);
    drawOn(paper.ink, place);
    paper.save(`${filename()}.png`);
  }

  const numeral = (value) => (picture.name === "pattern" ? value.toFixed(6) : String(value));

  function saveCsv() {
    const quote = (text) => `"${text.replaceAll('"', '""')}"`;
    const names = labels.map((label, i) => quote(`${i} ${label}`));
    const rows = names.map((name, query) =>
      [name, ...names.map((_, key) => numeral(number(query, key)))].join(","),
    );
    const text = [[quote("query \\ key"), ...names].join(","), ...rows, ""].join("\n");
    lab.save(new Blob([text], { type: "text/csv" }), `${filename()}.csv`);
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
