/* What is drawn, and its numbers, as files.

   lab.paper({width, height, title?, words: [text, …], draw(ink)}) -> {png(name), svg(name)}: a drawing on paper, with its
   title above and its words below it.  lab.saves({PNG: fn, …}) -> the row of buttons.
   lab.saveTable(rows, name): as CSV.  lab.saveAnswer(url, name): what the server sends. */
(() => {
  "use strict";

  const lab = window.lab;
  const [MARGIN, TITLE, LINE] = [16, 24, 16];
  const NARROWEST = 320; // px that words need

  lab.saves = (ways) => {
    const button = ([name, act]) => lab.el("button", { type: "button", class: "kit-save", onclick: act }, name);
    const row = lab.el("div", { class: "kit-saves", role: "group", "aria-label": "Save" }, lab.el("span", {}, "Save"));
    row.append(...Object.entries(ways).map(button));
    return row;
  };

  lab.paper = ({ width, height, title, words, draw }) => {
    function compose(make) {
      const room = Math.max(NARROWEST, width);
      const lines = words.filter(Boolean).flatMap((text) => wrap(text, room));
      const above = MARGIN + (title ? TITLE : 0);
      const ink = make(room + 2 * MARGIN, above + height + 8 + lines.length * LINE + MARGIN);
      ink.rect(0, 0, ink.width, ink.height, { fill: "paper" });
      if (title) ink.text(MARGIN, MARGIN + 8, title, { size: 14, weight: 600, max: room });
      ink.translate(MARGIN, above, () => draw(ink));
      const top = above + height + 8;
      lines.forEach((text, i) => ink.text(MARGIN, top + (i + 0.5) * LINE, text, { size: 11, color: "ink-2" }));
      return ink;
    }

    return {
      png(name) {
        const canvas = document.createElement("canvas");
        compose((w, h) => lab.ink.onCanvas(canvas, w, h, 2));
        canvas.toBlob((blob) => lab.save(blob, `${name}.png`), "image/png");
      },
      svg: (name) => lab.save(new Blob([compose(lab.ink.asSvg).toString()], { type: "image/svg+xml" }), `${name}.svg`),
    };
  };

  function wrap(text, room) {
    const lines = [""];
    for (const word of text.split(" ")) {
      const longer = lines.at(-1) ? `${lines.at(-1)} ${word}` : word;
      if (lab.ink.measure(longer, { size: 11 }) <= room || !lines.at(-1)) lines[lines.length - 1] = longer;
      else lines.push(word);
    }
    return lines;
  }

  lab.saveTable = (rows, name) => {
    const quote = (cell) => (/[",\r\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell);
    const text = rows.map((row) => row.map((cell) => quote(String(cell ?? ""))).join(",")).join("\n");
    lab.save(new Blob([text, "\n"], { type: "text/csv" }), `${name}.csv`);
  };

  lab.saveAnswer = async (url, name) => {
    try {
      lab.save(await lab.getBlob(url), name);
    } catch (error) {
      lab.notify(error.message);
    }
  };
})();
