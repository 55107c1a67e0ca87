/* lab.anatomy.saves(rows, caption): buttons that keep the walk as a picture, or its numbers. */
(() => {
  "use strict";

  const lab = window.lab;
  const { anatomy } = lab;
  const [WIDTH, MARGIN, SPINE, GAP] = [720, 24, 96, 16]; // px of the picture
  const [HEAD, TITLE, BELOW] = [48, 28, 16];

  /* All stages below each other, the stream beside them. */
  function compose(make, rows, caption) {
    const s = anatomy.q.shown;
    const drawn = rows.filter(({ view }) => view);
    const probe = lab.ink.onCanvas(document.createElement("canvas"), 1, 1);
    const [left, width] = [MARGIN + SPINE + GAP, WIDTH - SPINE - GAP];
    const heights = drawn.map(({ view }) => view.compose(probe, width) + TITLE + BELOW);
    const ink = make(WIDTH + 2 * MARGIN, heights.reduce((sum, h) => sum + h, 0) + 2 * MARGIN + HEAD);
    ink.rect(0, 0, ink.width, ink.height, { fill: "paper" });
    ink.text(MARGIN, MARGIN + 8, `Anatomy of ${anatomy.token(s)}`, { size: 16, weight: 600 });
    ink.text(MARGIN, MARGIN + 28, caption(), { size: 11, color: "ink-2", max: WIDTH });
    const max = anatomy.exposure(s);
    let y = MARGIN + HEAD;
    drawn.forEach(({ stage, view }, i) => {
      const moments = stage.moments(s);
      const h = heights[i] / moments.length;
      moments.forEach((moment, at) => {
        const values = anatomy.row(s, "stream", moment);
        const image = new ImageData(values.length, 1);
        lab.color.paint(image, values, "signed", max);
        ink.image(MARGIN, y + at * h, SPINE, h, image);
      });
      ink.text(left, y + 12, stage.title, { size: 14, weight: 600 });
      ink.translate(left, y + TITLE, () => view.compose(ink, width));
      y += heights[i];
    });
    return ink;
  }

  /* Every number, one a line. */
  function table() {
    const lines = ["array,index,value"];
    for (const [name, { data, shape }] of Object.entries(anatomy.q.shown.arrays)) {
      const strides = shape.map((_, axis) => shape.slice(axis + 1).reduce((product, n) => product * n, 1));
      data.forEach((value, flat) => {
        const index = shape.map((n, axis) => Math.floor(flat / strides[axis]) % n);
        lines.push(`${name},${index.join(" ")},${value}`);
      });
    }
    return `${lines.join("\n")}\n`;
  }

  anatomy.saves = (rows, caption) => {
    const name = (ending) => anatomy.q.filename() + ending;
    const button = (text, fn) => lab.el("button", { type: "button", class: "kit-save", onclick: fn }, text);

    function png() {
      const canvas = document.createElement("canvas");
      compose((w, h) => lab.ink.onCanvas(canvas, w, h, 2), rows, caption);
      canvas.toBlob((blob) => lab.save(blob, name(".png")), "image/png");
    }

    function svg() {
      const text = compose(lab.ink.asSvg, rows, caption).toString();
      lab.save(new Blob([text], { type: "image/svg+xml" }), name(".svg"));
    }

    async function npz() {
      const file = name(".npz");
      try {
        lab.save(await lab.getBlob(anatomy.q.url({ format: "npz" })), file);
      } catch (error) {
        lab.notify(error.message);
      }
    }

    const csv = () => lab.save(new Blob([table()], { type: "text/csv" }), name(".csv"));
    const saves = lab.el("div", { class: "kit-saves", role: "group", "aria-label": "Save" }, lab.el("span", {}, "Save"));
    saves.append(button("PNG", png), button("SVG", svg), button("CSV", csv), button("NPZ", npz));
    return saves;
  };
})();
