/* lab.anatomy.Board: vectors as strips of colour below each other, and which number is under the hand.

   A board is filled anew for each drawing. What is drawn on it remembers where its numbers are: board.hit(x, y) gives
   {part, index}, and a part has rect(index), tell(index) in words, and element(index), the number as it is explained. */
(() => {
  "use strict";

  const lab = window.lab;
  const [GUTTER, TAIL, NARROW] = [104, 60, 440]; // px: labels at the left, numbers at the right, the width without either
  const [SMALLEST, LARGEST] = [2.8, 14]; // px of a cell's width
  const [TALL, LOW, BLOCK_GAP] = [20, 9, 4]; // px: a strip of one row, a row of several, between heads
  const SMALL = { size: 11, color: "ink-2" };

  const exact = (value) => (Number.isFinite(value) ? lab.signed(value) : value < 0 ? "−∞" : "∞");

  class Board {
    constructor(ink, width) {
      Object.assign(this, { ink, width, y: 0, parts: [], buttons: [], rows: [] });
      this.narrow = width < NARROW;
      this.left = this.narrow ? 0 : GUTTER;
      this.area = width - this.left - (this.narrow ? 0 : TAIL);
    }

    hit(x, y) {
      for (const part of this.parts) {
        const index = part.find(x, y);
        if (index !== null) return { part, index };
      }
      return null;
    }

    button(x, y) {
      return this.buttons.find((each) => x >= each.x && y >= each.y && x < each.x + each.w && y < each.y + each.h) ?? null;
    }

    skip(px) {
      this.y += px;
    }

    /* Draw the rows of all strips: from one picture, for making a canvas takes longer than drawing on it. */
    finish() {
      const { ink, rows } = this;
      const sheet = ink.context && rows.length ? sheetOf(rows) : null;
      if (ink.context) ink.context.imageSmoothingEnabled = false;
      rows.forEach((row, i) => {
        const { values, x, y, w, h, stroke } = row;
        if (sheet) ink.context.drawImage(sheet, 0, i, values.length, 1, x, y, w, h);
        else ink.image(x, y, w, h, pixels(row));
        ink.rect(x - 0.5, y - 0.5, w + 1, h + 1, { stroke });
      });
    }

    /* A label at the left of what is h high, or above it where there is no room. */
    caption({ op = "", label = "", tail = "", color = "ink" }, h, w = this.area) {
      const { ink, narrow, width } = this;
      if (narrow) {
        ink.text(0, this.y + 7, `${op} ${label}`.trim(), { size: 12, color, max: width - 70 });
        ink.text(width, this.y + 7, tail, { ...SMALL, align: "right" });
        this.y += 16;
        return;
      }
      const middle = this.y + h / 2;
      ink.text(0, middle, op, { size: 14, color: "ink-2" });
      ink.text(16, middle, label, { size: 12, color, max: GUTTER - 22 });
      if (w < this.area - TAIL) ink.text(this.left + w + 8, middle, tail, SMALL);
      else ink.text(width, middle, tail, { ...SMALL, align: "right" });
    }

    /* A vector: {values, max, label, op, tail, scale, blocks, chosen, element, name, tell, faded, low}. `blocks` are
       heads, set apart; `op` is the sign before the label. */
    vector(spec) {
      const { values, max, scale = "signed", blocks = 1, faded = false, low = LOW } = spec;
      const place = layout(values.length, blocks, this.area, spec.low ? Math.min(TALL, 2 * spec.low) : TALL, low);
      const tail = spec.tail ?? (scale === "signed" ? `±${lab.number(max)}` : "");
      this.caption({ op: spec.op, label: spec.label, tail, color: faded ? "ink-2" : "ink" }, place.high, place.wide);
      const part = grid({ ...spec, ...place, x: this.left, y: this.y });
      this.parts.push(part);
      for (let block = 0; block < place.count; block++) {
        const from = block * place.each;
        const here = values.subarray(from, Math.min(from + place.each, values.length));
        const { x, y } = part.rect(from);
        const stroke = spec.chosen === block && blocks > 1 ? "ink" : "hairline";
        this.rows.push({ values: here, scale, max, x, y, w: place.w * here.length, h: place.h, stroke });
      }
      this.y += place.high + 8;
      return part;
    }

    /* A vector in one row, at a place of one's own. */
    strip({ values, max, x, y, room, h, element, name }) {
      const w = Math.min(LARGEST, room / values.length);
      this.rows.push({ values, scale: "signed", max, x, y, w: w * values.length, h, stroke: "hairline" });
      const row = { x, y, w, h, each: values.length, across: 1, gap: 0, down: 0 };
      this.parts.push(grid({ values, element, name, ...row }));
    }

    /* One number that can be pointed at, wherever it is drawn. */
    number({ x, y, w, h, element, tell }) {
      const find = (px, py) => (px >= x && px < x + w && py >= y && py < y + h ? 0 : null);
      this.parts.push({ length: 1, find, rect: () => ({ x, y, w, h }), element: () => element, tell: () => tell });
    }

    /* Numbers in a line, each with its name: {label, value, element}. */
    scalars(items) {
      const each = (this.narrow ? this.width : this.area + 40) / items.length;
      items.forEach(({ label, value, element }, i) => {
        const [x, y] = [this.left + i * each, this.y];
        this.ink.text(x, y + 6, label, { ...SMALL, max: each - 8 });
        this.ink.text(x, y + 22, exact(value), { size: 14, mono: true });
        this.number({ x: x - 4, y: y - 3, w: each - 8, h: 36, element, tell: `${label} = ${exact(value)}` });
      });
      this.y += 42;
    }

    /* Names of the heads above their blocks; a click chooses one. */
    heads(count, each, chosen, choose, off = []) {
      const place = layout(count * each, count, this.area, TALL, LOW);
      if (place.across < count) return;
      for (let head = 0; head < count; head++) {
        const x = this.left + head * (place.w * each + BLOCK_GAP);
        const mine = head === chosen;
        const text = off.includes(head) ? `H${head} off` : `H${head}`;
        const color = off.includes(head) ? "surgery" : mine ? "ink" : "ink-2";
        this.ink.text(x, this.y + 6, text, { size: 11, mono: true, weight: mine ? 700 : 400, color, max: place.w * each });
        this.buttons.push({ x, y: this.y - 4, w: place.w * each, h: 20, click: () => choose(head), title: `Look at head ${head}` });
      }
      this.y += 16;
    }

    /* Numbers side by side with room for their digits: {values, max, scale, label, op, element, name}. */
    cells(spec) {
      const { values, max, scale = "signed", h = 22 } = spec;
      const w = Math.min(48, this.area / values.length);
      this.caption(spec, h);
      const [x, y] = [this.left, this.y];
      const part = grid({ ...spec, x, y, w, h, each: values.length, across: 1, gap: 0, down: 0, count: 1 });
      this.parts.push(part);
      values.forEach((value, i) => {
        const hidden = !Number.isFinite(value);
        const rgb = hidden ? null : lab.ink.valueColor(scale, value, max);
        this.ink.rect(x + i * w, y, w, h, { fill: rgb ?? "sunken" });
        if (hidden) hatch(this.ink, x + i * w, y, w, h);
        const text = hidden || w > 40 ? exact(value) : value.toPrecision(2).replace("-", "−");
        const style = { size: 10, align: "center", color: hidden ? "ink-2" : lab.ink.contrast(rgb) };
        if (w > this.ink.measure(text, style) + 2) this.ink.text(x + (i + 0.5) * w, y + h / 2, text, style);
      });
      this.ink.rect(x - 0.5, y - 0.5, w * values.length + 1, h + 1, { stroke: "hairline" });
      this.y += h + 8;
      return part;
    }

    /* Tokens below cells. */
    tokens(labels, count, { bold = -1 } = {}) {
      const w = Math.min(48, this.area / count);
      if (w >= 26) {
        labels.forEach((label, i) =>
          this.ink.text(this.left + (i + 0.5) * w, this.y + 2, label, { ...SMALL, mono: true, align: "center", max: w - 3, ...(i === bold ? { color: "ink", weight: 700 } : {}) }),
        );
        this.y += 14;
        return;
      }
      const room = 56;
      const every = Math.ceil(12 / w);
      labels.forEach((label, i) => {
        if (i % every && i !== bold) return;
        const style = { ...SMALL, mono: true, align: "right", rotate: -90, max: room };
        this.ink.text(this.left + (i + 0.5) * w, this.y - 4, label, { ...style, ...(i === bold ? { color: "ink", weight: 700 } : {}) });
      });
      this.y += room;
    }

    /* One bar of a list: {label, value, max, text, color, element, tell, note}. */
    bar({ label, value, max, text, color = "attention-1", element, tell, strong = false, h = 18, signed = false }) {
      const left = this.narrow ? 92 : GUTTER;
      const room = this.width - left - TAIL;
      const zero = signed ? left + room / 2 : left;
      const length = (signed ? room / 2 : room) * Math.min(1, Math.abs(value) / (max || 1));
      const x = value < 0 ? zero - length : zero;
      const style = { size: 12, mono: true, align: "right", max: left - 10, weight: strong ? 700 : 400 };
      this.ink.text(left - 8, this.y + h / 2, label, style);
      this.ink.rect(x, this.y + 4, Math.max(length, value ? 0.5 : 0), h - 8, { fill: color, opacity: 0.85 });
      if (signed) this.ink.line(zero, this.y, zero, this.y + h, { stroke: "edge" });
      this.ink.text(this.width, this.y + h / 2, text, { size: 12, align: "right", weight: strong ? 700 : 400 });
      if (element) {
        this.number({ x: left - 0.5, y: this.y + 1, w: this.width - left, h: h - 2, element, tell });
      }
      this.y += h;
    }
  }

  function pixels({ values, scale, max }) {
    const image = new ImageData(values.length, 1);
    lab.color.paint(image, values, scale, max);
    return image;
  }

  /* A canvas with one line of pixels for each row. */
  function sheetOf(rows) {
    const sheet = new OffscreenCanvas(Math.max(...rows.map(({ values }) => values.length)), rows.length);
    const image = new ImageData(sheet.width, sheet.height);
    const whole = new Uint32Array(image.data.buffer);
    rows.forEach((row, i) => whole.set(new Uint32Array(pixels(row).data.buffer), i * sheet.width));
    sheet.getContext("2d").putImageData(image, 0, 0);
    return sheet;
  }

  /* How n numbers in `blocks` fill a width: rows that are equally long, cells that can be hit. */
  function layout(n, blocks, area, tall, low) {
    if (blocks > 1) {
      const each = n / blocks;
      const most = Math.max(1, Math.min(blocks, Math.floor((area + BLOCK_GAP) / (each * SMALLEST + BLOCK_GAP))));
      const rows = Math.ceil(blocks / most);
      const across = Math.ceil(blocks / rows);
      const w = Math.min(LARGEST, (area - BLOCK_GAP * (across - 1)) / (across * each));
      const h = rows > 1 ? low : tall;
      const high = rows * h + (rows - 1) * 3;
      return { each, across, w, h, gap: BLOCK_GAP, down: rows > 1 ? 3 : 0, count: blocks, high, wide: area };
    }
    const rows = Math.ceil(n / Math.max(1, Math.floor(area / SMALLEST)));
    const each = Math.ceil(n / rows);
    const h = rows > 1 ? low : tall;
    const w = Math.min(LARGEST, area / each);
    return { each, across: 1, w, h, gap: 0, down: 0, count: rows, high: rows * h, wide: w * each };
  }

  /* Where each number of a strip is, and which is where. */
  function grid(spec) {
    const { x, y, w, h, each, across, gap, down, values } = spec;
    const rect = (i) => {
      const block = Math.floor(i / each);
      const [column, row] = [block % across, Math.floor(block / across)];
      return { x: x + column * (each * w + gap) + (i % each) * w, y: y + row * (h + down), w, h };
    };
    const find = (px, py) => {
      const row = Math.floor((py - y) / (h + down));
      const column = Math.floor((px - x) / (each * w + gap));
      const cell = Math.floor((px - x - column * (each * w + gap)) / w);
      if (row < 0 || column < 0 || column >= across || cell < 0 || cell >= each) return null;
      const i = (row * across + column) * each + cell;
      return i < values.length && py < y + row * (h + down) + h ? i : null;
    };
    const name = spec.name ?? ((i) => `${spec.label}[${i}]`);
    const tell = spec.tell ?? ((i) => `${name(i)} = ${exact(values[i])}`);
    return { length: values.length, rect, find, tell, element: spec.element, per: each, values };
  }

  function hatch(ink, x, y, w, h) {
    ink.clip(x, y, w, h, () => {
      for (let at = -h; at < w; at += 6) ink.line(x + at, y + h, x + at + h, y, { stroke: "edge", opacity: 0.5 });
    });
  }

  Object.assign(lab.anatomy, { Board, exact, hatch });
})();
