/* lab.anatomy.equation(canvas, terms, s): a product of a vector and a matrix in small, to scale, with its sizes.

   terms: [name, rows, columns, numbers]; numbers are a whole matrix, or the name of a picture that the question
   "matrices" gives, in which a cell stands for a block. The last term is the result. */
(() => {
  "use strict";

  const lab = window.lab;
  const [LONGEST, THINNEST, GAP, NEAR] = [64, 4, 18, 6]; // px: the longest side, the shortest, room for a sign, between matrices
  const SMALL = { size: 11, color: "ink-2", align: "center" };

  lab.anatomy.equation = (canvas, terms, width) => {
    const longest = Math.max(...terms.flatMap(([, rows, columns]) => [rows, columns]));
    const side = (n) => Math.max(THINNEST, (LONGEST * n) / longest);
    const boxes = terms.map(([name, rows, columns, numbers]) => {
      const size = `${lab.count(rows)}×${lab.count(columns)}`;
      const text = Math.max(lab.ink.measure(name, SMALL), lab.ink.measure(size, SMALL));
      return { name, size, rows, columns, numbers, w: side(columns), h: side(rows), room: Math.max(text, side(columns)) };
    });
    const tall = Math.max(...boxes.map(({ h }) => h));
    const height = tall + 38;
    canvas.style.cssText = `width:${width}px;height:${height}px`;
    const ink = lab.ink.onCanvas(canvas, width, height);
    let x = 1;
    boxes.forEach((box, i) => {
      const middle = x + box.room / 2;
      draw(ink, box, middle - box.w / 2, 2 + (tall - box.h) / 2);
      ink.text(middle, tall + 14, box.name, { ...SMALL, color: "ink" });
      ink.text(middle, tall + 28, box.size, SMALL);
      x += box.room;
      const last = i === boxes.length - 1;
      const sign = last ? "" : i === boxes.length - 2 ? "→" : i ? "" : "·";
      ink.text(x + GAP / 2, 2 + tall / 2, sign, { ...SMALL, size: 13 });
      x += sign ? GAP : NEAR;
    });
  };

  function draw(ink, { numbers, rows, columns, w, h }, x, y) {
    const picture = typeof numbers === "string" ? lab.anatomy.matrices.shown?.arrays[numbers] : numbers && { data: numbers, shape: [rows, columns] };
    if (picture) {
      const { data, shape } = picture;
      const image = new ImageData(shape[1], shape[0]);
      lab.color.paint(image, data, "signed", lab.extent(data));
      ink.image(x, y, w, h, image);
    }
    ink.rect(x - 0.5, y - 0.5, w + 1, h + 1, { stroke: "edge" });
  }
})();
