/* The pinned cell, stage by stage: q·k term by term, scale, mask, softmax, times the value; every number can be read. */
lab.component("attention-stages", (root) => {
  "use strict";

  const { attention } = lab;
  const [STRIP, GAP, LINE, HEAD, NUMBERS] = [22, 4, 20, 30, 58]; // px: a strip, between two, a line of text, a heading, the scale
  const WIDEST = 1000;
  const SENTENCE = { size: 13 };
  const sight = lab.sight(root);
  let place = null; // {left, width, rows: [{strip, y}]}
  let chosen = { of: "", key: 0 }; // the key that stands in for a pinned one

  // -- which cell ------------------------------------------------------------------------------------

  /* The pinned cell; otherwise the last query and what it looked at most when it was first shown. */
  function cell() {
    const { shown } = attention;
    if (!shown || !sight.ever) return null;
    const { layers, heads, n } = shown.header;
    const { run, prompt } = lab.state;
    if (shown.header.run !== run || shown.header.prompt !== prompt) return null;
    const [layer, head] = [Math.min(lab.state.layer ?? 0, layers - 1), Math.min(lab.state.head ?? 0, heads - 1)];
    if (lab.state.query < n && lab.state.key < n && lab.state.query !== null) {
      return { layer, head, query: lab.state.query, key: lab.state.key };
    }
    const of = JSON.stringify([run, prompt, layer, head]);
    if (chosen.of !== of) {
      const row = shown.pattern(layer, head).subarray((n - 1) * n, n * n);
      chosen = { of, key: row.indexOf(Math.max(...row)) };
    }
    return { layer, head, query: n - 1, key: chosen.key };
  }

  let last = null;
  const options = () => (last = attention.shown ? cell() : last); // between two steps the cell stays
  const q = lab.question("cell", { page: "attention", options, scrub: true });
  attention.on(() => sight.ever && q.refresh());
  sight.on(q.refresh);

  // -- what is drawn ---------------------------------------------------------------------------------

  const token = (i) => `‘${lab.tokenText(q.shown.tokens[i])}’`;
  const num = lab.signed;

  /* Headings, strips and sentences in the order of the code. */
  function parts() {
    const { facts, arrays } = q.shown;
    const array = (name) => arrays[name].data;
    const most = (...names) => Math.max(...names.map((name) => lab.extent(array(name))));
    const strip = (name, of, label, scale, max = most(name)) => ({ strip: name, of, label, data: array(name), scale, max });
    const { dot, scale, scaled, visible, largest, numerator, denominator, probability } = facts;
    const values = most("v", "z");
    return [
      { heading: "1  Query times key, term by term" },
      strip("q", "terms", "q", "signed"),
      strip("k", "terms", "k", "signed"),
      strip("products", "terms", "q × k", "signed"),
      { text: `Their sum is q·k = ${num(dot)}.` },
      { heading: "2  Scale" },
      { text: scale === 1 ? `${num(dot)} × 1 = ${num(scaled)}: surgery took the scale away.` : `${num(dot)} × 1/√${array("q").length} = ${num(scaled)}` },
      { heading: "3  Mask" },
      { text: visible ? `The query sees this key: the score stays ${num(scaled)}.` : "The key comes after the query: the score becomes −∞." },
      { heading: "4  Softmax over all keys of the row" },
      { tokens: true },
      strip("scores", "keys", "score", "signed"),
      strip("exponentials", "keys", "exp", "magnitude", 1),
      strip("row", "keys", "prob.", "probability", 1),
      { text: visible ? `exp(${num(scaled)} − ${num(largest)}) = ${num(numerator)}` : "exp(−∞) = 0" },
      { text: `p = ${num(numerator)} / ${num(denominator)} = ${num(probability)}: the number in the pattern` },
      { heading: "5  Times the value" },
      strip("v", "values", "v", "signed", values),
      strip("weighted", "values", "p × v", "signed", values),
      strip("z", "values", "z", "signed", values),
      { text: "z is the sum of the weighted values of all keys: what this head passes on." },
    ];
  }

  function draw(ink, width) {
    const left = width > 600 ? 72 : 48;
    const room = Math.min(WIDEST, width) - left - NUMBERS;
    const count = { terms: q.shown.arrays.q.data.length, keys: q.shown.tokens.length, values: q.shown.arrays.v.data.length };
    place = { left, room, count, rows: [] };
    let y = 0;
    for (const part of parts()) {
      if (part.heading) {
        ink.text(0, y + HEAD - 10, part.heading, { size: 13, weight: 600 });
        y += HEAD;
      } else if (part.text) {
        for (const line of wrap(ink, part.text, width - left)) {
          ink.text(left, y + LINE / 2, line, SENTENCE);
          y += LINE;
        }
      } else if (part.tokens) y += drawTokens(ink, y);
      else {
        drawStrip(ink, y, part, width);
        place.rows.push({ ...part, y });
        y += STRIP + GAP;
      }
    }
    return y + 2;
  }

  function wrap(ink, text, room) {
    const lines = [""];
    for (const word of text.split(" ")) {
      const longer = `${lines.at(-1)} ${word}`.trim();
      if (!lines.at(-1) || ink.measure(longer, SENTENCE) <= room) lines[lines.length - 1] = longer;
      else lines.push(word);
    }
    return lines;
  }

  function drawStrip(ink, y, { label, data, scale, max }, width) {
    const { left, room } = place;
    ink.text(left - 8, y + STRIP / 2, label, { size: 12, mono: true, align: "right", max: left - 8 });
    const image = new ImageData(data.length, 1);
    lab.color.paint(image, data, scale, max);
    ink.rect(left, y, room, STRIP, { fill: "sunken" });
    ink.image(left, y, room, STRIP, image);
    ink.rect(left - 0.5, y - 0.5, room + 1, STRIP + 1, { stroke: "hairline" });
    const end = scale === "signed" ? `±${lab.number(max)}` : `0–${lab.number(max)}`;
    ink.text(left + room + 6, y + STRIP / 2, end, { size: 11, color: "ink-2", max: width - left - room - 6 });
  }

  function drawTokens(ink, y) {
    const { left, room, count } = place;
    const cell = room / count.keys;
    if (cell < 11) return 0;
    const labels = q.shown.tokens.map(lab.tokenText);
    const style = { size: 11, mono: true, color: "ink-2", max: 90 };
    const high = Math.min(90, Math.max(...labels.map((text) => ink.measure(text, style)))) + 6;
    labels.forEach((text, i) => {
      const here = i === q.shown.facts.key ? { color: "accent", weight: 700 } : {};
      ink.text(left + (i + 0.5) * cell, y + high - 3, text, { ...style, ...here, rotate: -90 });
    });
    return high;
  }

  /* The cell under the hand in all strips of its kind; the pinned key in those of the keys. */
  function over(ink) {
    const { left, room, rows, count } = place;
    const marks = [["keys", q.shown.facts.key, 1]];
    if (fig.target) marks.push([fig.target.of, fig.target.i, 2]);
    for (const [of, i, width] of marks) {
      const cell = room / count[of];
      for (const row of rows.filter((each) => each.of === of)) {
        ink.rect(left + i * cell - 0.5, row.y - 0.5, Math.max(2, cell) + 1, STRIP + 1, { stroke: "accent", width });
      }
    }
  }

  function hit(x, y) {
    const row = place?.rows.find((each) => y >= each.y && y < each.y + STRIP + GAP);
    if (!row) return null;
    const i = Math.floor(((x - place.left) / place.room) * place.count[row.of]);
    return i >= 0 && i < place.count[row.of] ? { of: row.of, i } : null;
  }

  function readout(target) {
    if (!target) return "Point at a coloured cell to read its arithmetic; click a key to follow it instead.";
    const { i, of } = target;
    const { facts, at } = q.shown;
    const value = (name) => num(at(name, i));
    if (of === "terms") return `component ${i}: ${value("q")} × ${value("k")} = ${value("products")}`;
    if (of === "values") {
      return `component ${i}: ${num(facts.probability)} × ${value("v")} = ${value("weighted")}; over all keys it comes to ${value("z")}`;
    }
    if (at("scores", i) === -Infinity) return `${token(i)}, position ${i}: hidden by the mask, so its ${value("dots")} does not count`;
    const softmax = `exp(${value("scores")} − ${num(facts.largest)}) / ${num(facts.denominator)} = ${value("row")}`;
    return `${token(i)}, position ${i}: ${value("dots")} × ${num(facts.scale)} = ${value("scores")}; ${softmax}`;
  }

  function csv() {
    const { facts, arrays } = q.shown;
    const rows = Object.entries(arrays).flatMap(([name, { data }]) => Array.from(data, (value, i) => [name, i, value]));
    return [["stage", "index", "value"], ...Object.entries(facts).map(([name, value]) => [name, "", value]), ...rows];
  }

  function about() {
    const pinned = lab.state.query !== null;
    const what = "How one number of the pattern is made, and what it hands on.";
    return pinned ? what : `${what} Nothing is pinned: this is the last token and what it looks at. Click a cell of the large head to choose.`;
  }

  function title() {
    if (!q.shown) return "One number, stage by stage";
    const { layer, head, query, key } = q.shown.facts;
    return `One number, stage by stage: in layer ${layer}, head ${head}, ${token(query)} looks at ${token(key)}`;
  }

  const fig = lab.figure(root, {
    title,
    about,
    question: sight.question(q),
    label: "The stages from query and key to the weighted value",
    caption: () => q.caption(`head ${q.shown.facts.head}`),
    draw,
    over,
    hit,
    readout,
    csv,
    click: ({ of, i }) => {
      if (of !== "keys") return;
      const { layer, head, query } = q.shown.facts;
      lab.set({ layer, head, query, key: i });
    },
  });
});
