/* lab.matrix(root, options): numbers in rows and columns as colours, with their scale, and each of them under the hand.

   Beside those of a figure: data() -> {rows, columns: labels or how many, values: row by row, text(r, c): a word in a
   cell}; rowTitle, columnTitle, unit; scale "probability", "signed" or "magnitude" and max, or functions; square,
   cellWidth, cellHeight; describe(r, c, value) -> what is said; pinned() -> [r, c] or null; pin([r, c] or null);
   show(value) -> a number in words; mono (labels). What is not finite is drawn sunken and called none. */
(() => {
  "use strict";

  const lab = window.lab;
  const LARGEST_CELL = 40;
  const [LEGEND, TITLE, LABEL_ROOM] = [26, 18, 112]; // px: scale with its numbers, an axis title, labels at most
  const LABEL_STEP = 13; // px between labels
  const TEXT_CELL = [26, 14]; // px from which a cell can hold a word
  const LABEL = { size: 11, mono: true };

  const said = (value) => (typeof value === "function" ? value() : value);
  const labelsOf = (axis) => (typeof axis === "number" ? Array.from({ length: axis }, (_, i) => String(i)) : axis);
  const finite = (value) => value - value === 0;

  function allFinite(values) {
    for (let i = 0; i < values.length; i++) if (!finite(values[i])) return false;
    return true;
  }

  /* Every how many rows there is room for a label: a round number where rows are numbers. */
  function spacing(axis, least) {
    const steps = typeof axis === "number" ? [1, 2, 5, 10, 20, 50, 100, 200, 500] : [];
    return steps.find((step) => step >= least) ?? Math.ceil(least);
  }

  lab.tokenLabels = (tokens) => tokens.map(lab.tokenText);

  /* The largest distance from zero of what is finite. */
  lab.extent = (values) => {
    let most = 0;
    for (let i = 0; i < values.length; i++) {
      const size = Math.abs(values[i]);
      if (size > most && size < Infinity) most = size;
    }
    return most;
  };

  /* A colour scale with its numbers, drawn at (x, y): returns its width. */
  lab.drawScale = (ink, x, y, { scale, max, unit = "", show = lab.signed, none = false }) => {
    const signed = scale === "signed";
    const [low, bar] = [signed ? show(-max) : "0", 120];
    const style = { size: 11, color: "ink-2" };
    const left = x + ink.measure(low, style) + 6;
    const image = new ImageData(bar, 1);
    const span = signed ? 2 * max : max;
    lab.color.paint(image, Float64Array.from({ length: bar }, (_, i) => (i / (bar - 1)) * span - (signed ? max : 0)), scale, max);
    ink.text(x, y + 5, low, style);
    ink.image(left, y, bar, 10, image);
    ink.rect(left - 0.5, y - 0.5, bar + 1, 11, { stroke: "hairline" });
    if (signed) {
      ink.line(left + bar / 2, y + 10, left + bar / 2, y + 13, { stroke: "ink-2" });
      ink.text(left + bar / 2, y + 19, "0", { ...style, align: "center" });
    }
    const high = `${show(max)}  ${unit}`;
    let right = left + bar + 6;
    ink.text(right, y + 5, high, style);
    right += ink.measure(high, style) + 16;
    if (none) {
      ink.rect(right, y, 10, 10, { fill: "sunken", stroke: "hairline" });
      ink.text(right + 16, y + 5, "none", style);
      right += 16 + ink.measure("none", style);
    }
    return right - x;
  };

  lab.matrix = (root, options) => {
    const { rowTitle = "", columnTitle = "", unit = "", mono = true } = options;
    const show = options.show ?? lab.signed;
    const label = { ...LABEL, mono };
    let place = null; // where the cells are, and what is in them

    const scaleOf = () => said(options.scale) ?? "magnitude";

    // -- geometry ------------------------------------------------------------------------------------

    function measure(width) {
      const { rows, columns, values, text } = options.data();
      const [down, along] = [labelsOf(rows), labelsOf(columns)];
      const scale = scaleOf();
      const max = said(options.max) ?? (scale === "probability" ? 1 : lab.extent(values));
      const room = Math.min(LABEL_ROOM, width * 0.35);
      const widest = (labels) => Math.min(room, Math.ceil(labels.reduce((most, each) => Math.max(most, lab.ink.measure(each, label)), 0)));
      const left = (rowTitle ? TITLE : 0) + widest(down) + 6;
      const legend = LEGEND + (scale === "signed" ? 8 : 0);
      const square = options.square ?? down.length === along.length;
      const high = Math.max(400, innerHeight - 400);
      const fill = (width - left - 2) / along.length;
      const whole = (size) => (size >= 6 ? Math.floor(size) : size);
      let w = whole(Math.min(fill, options.cellWidth ?? (square ? LARGEST_CELL : 72)));
      let h = options.cellHeight ?? whole(Math.min(24, high / down.length));
      if (square) w = h = whole(Math.min(w, high / down.length));
      const every = [spacing(rows, LABEL_STEP / h), spacing(columns, LABEL_STEP / w)];
      const needs = widest(along);
      const flat = needs + 4 <= w;
      const top = legend + (columnTitle ? TITLE : 0) + (flat ? 16 : needs + 6);
      const none = !allFinite(values);
      return { down, along, values, text, scale, max, left, top, w, h, every, room, flat, none, n: down.length, m: along.length };
    }

    // -- drawing -------------------------------------------------------------------------------------

    function draw(ink, width) {
      place = measure(width);
      const { left, top, w, h, n, m, scale, max, none } = place;
      lab.drawScale(ink, 0, 4, { scale, max, unit, show, none });
      if (none) ink.rect(left, top, w * m, h * n, { fill: "sunken" });
      ink.image(left, top, w * m, h * n, picture());
      ink.rect(left - 0.5, top - 0.5, w * m + 1, h * n + 1, { stroke: "hairline" });
      if (place.text && w >= TEXT_CELL[0] && h >= TEXT_CELL[1]) drawTexts(ink);
      for (let i = 0; i < n; i += place.every[0]) drawRow(ink, i);
      for (let i = 0; i < m; i += place.every[1]) drawColumn(ink, i);
      const legend = LEGEND + (scale === "signed" ? 8 : 0);
      if (columnTitle) ink.text(left, legend + 6, `${columnTitle} →`, { size: 11, color: "ink-2" });
      if (rowTitle) {
        ink.text(6, top + Math.min(h * n, 400) / 2, `← ${rowTitle}`, { size: 11, color: "ink-2", rotate: -90, align: "center" });
      }
      return top + h * n + 2;
    }

    /* Cells as pixels; where there are more cells than pixels, a pixel has the largest of its cells. */
    function picture() {
      const { values, n, m, w, h, scale, max } = place;
      const [high, wide] = [Math.min(n, Math.max(1, Math.floor(n * h))), Math.min(m, Math.max(1, Math.floor(m * w)))];
      const image = new ImageData(wide, high);
      lab.color.paint(image, high === n && wide === m ? values : largest(values, n, m, high, wide), scale, max);
      return image;
    }

    function largest(values, n, m, high, wide) {
      const out = new Float64Array(high * wide).fill(NaN);
      const column = Uint32Array.from({ length: m }, (_, c) => (c * wide) / m);
      for (let r = 0; r < n; r++) {
        const row = Math.floor((r * high) / n) * wide;
        for (let c = 0; c < m; c++) {
          const value = values[r * m + c];
          const at = row + column[c];
          if (finite(value) && !(Math.abs(value) <= Math.abs(out[at]))) out[at] = value;
        }
      }
      return out;
    }

    function drawTexts(ink) {
      const { left, top, w, h, n, m, values, scale, max } = place;
      const style = { size: Math.min(12, h - 4), mono, align: "center", max: w - 4 };
      for (let r = 0; r < n; r++) {
        for (let c = 0; c < m; c++) {
          const value = values[r * m + c];
          const color = finite(value) ? lab.ink.contrast(lab.ink.valueColor(scale, value, max)) : "ink-2";
          ink.text(left + (c + 0.5) * w, top + (r + 0.5) * h, place.text(r, c), { ...style, color });
        }
      }
    }

    function drawRow(ink, i, style = {}) {
      const { down, left, top, h, room } = place;
      ink.text(left - 5, top + (i + 0.5) * h, down[i], { ...label, color: "ink-2", align: "right", max: room, ...style });
    }

    function drawColumn(ink, i, style = {}) {
      const { along, left, top, w, room, flat } = place;
      const shared = { ...label, color: "ink-2", max: room, ...style };
      if (flat) ink.text(left + (i + 0.5) * w, top - 8, along[i], { ...shared, align: "center" });
      else ink.text(left + (i + 0.5) * w, top - 5, along[i], { ...shared, rotate: -90 });
    }

    // -- hand and pin --------------------------------------------------------------------------------

    const inside = (at) => (at && place && at[0] < place.n && at[1] < place.m ? at : null);
    const pinned = () => inside(options.pinned?.() ?? null);

    function over(ink) {
      const at = inside(fig.target) ?? pinned();
      if (!at) return;
      const [r, c] = at;
      const { left, top, w, h, n, m, down, along, room, flat } = place;
      const line = { stroke: "accent" };
      ink.rect(left - 0.5, top + r * h - 0.5, w * m + 1, h + 1, line);
      ink.rect(left + c * w - 0.5, top - 0.5, w + 1, h * n + 1, line);
      ink.rect(left + c * w - 1, top + r * h - 1, w + 2, h + 2, { stroke: "accent", width: 2 });
      const bold = { color: "accent", weight: 700 };
      const length = (text) => Math.min(room, ink.measure(text, { ...label, weight: 700 })) + 4;
      const [row, column] = [length(down[r]), length(along[c])];
      ink.rect(left - 3 - row, top + (r + 0.5) * h - 8, row + 1, 16, { fill: "paper" });
      drawRow(ink, r, bold);
      if (flat) ink.rect(left + (c + 0.5) * w - column / 2, top - 16, column, 15, { fill: "paper" });
      else ink.rect(left + (c + 0.5) * w - 8, top - 3 - column, 16, column + 1, { fill: "paper" });
      drawColumn(ink, c, bold);
    }

    function hit(x, y) {
      const [r, c] = [Math.floor((y - place.top) / place.h), Math.floor((x - place.left) / place.w)];
      return r >= 0 && c >= 0 && r < place.n && c < place.m ? [r, c] : null;
    }

    function readout(target) {
      const at = inside(target) ?? pinned();
      if (!at) return options.pin ? "Point at a cell to read its number; a click keeps it." : "Point at a cell to read its number.";
      const [r, c] = at;
      const value = place.values[r * place.m + c];
      if (options.describe) return options.describe(r, c, value);
      const number = finite(value) ? `${show(value)} ${unit}` : "none";
      return `${rowTitle} ${place.down[r]}, ${columnTitle} ${place.along[c]}: ${number}`.trim();
    }

    function move([right, down]) {
      const at = pinned();
      const within = (i, count) => Math.min(count - 1, Math.max(0, i));
      const next = at ? [within(at[0] + down, place.n), within(at[1] + right, place.m)] : [0, 0];
      fig.aim(null);
      options.pin(next);
      fig.point();
    }

    function click(at) {
      const before = pinned();
      options.pin(before && before[0] === at[0] && before[1] === at[1] ? null : at);
      fig.point();
    }

    function leave() {
      options.pin(null);
      fig.point();
    }

    // -- in words and numbers ------------------------------------------------------------------------

    function note() {
      const own = said(options.note) ?? "";
      const dense = place && (place.w < 1 || place.h < 1);
      const less = dense ? "There are more cells than pixels: each pixel shows the largest of its cells." : "";
      return [own, less].filter(Boolean).join(" ");
    }

    function csv() {
      const { down, along, values, m } = place;
      const numbered = (axis, labels) => (typeof axis === "number" ? labels : labels.map((text, i) => `${i} ${text}`));
      const { rows, columns } = options.data();
      const names = numbered(rows, down);
      const head = [`${rowTitle} \\ ${columnTitle}`, ...numbered(columns, along)];
      return [head, ...names.map((name, r) => [name, ...Array.from({ length: m }, (_, c) => values[r * m + c])])];
    }

    const pins = options.pin ? { click, move, leave } : {};
    const fig = lab.figure(root, { csv, ...options, ...pins, draw, over, hit, readout, note });
    // Where the cells are, for whoever points at them from outside.
    fig.element.matrix = () => place;
    return fig;
  };
})();
