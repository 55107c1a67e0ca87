/* Which heads read which: composition scores of every pair of heads, as a matrix and as a graph over the layers. */
lab.component("cause-composition", (root) => {
  "use strict";

  const { cause } = lab;
  const ABOUT =
    "A head writes into the residual stream, and heads of later layers may look just there. The score says how much of " +
    "what one writes the other's weights pick up, less what random weights would. It is read from the weights alone: " +
    "it says what can be read, not what is.";
  const KINDS = [
    ["Q", "Queries"],
    ["K", "Keys"],
    ["V", "Values"],
  ];
  const [PAD, NODE, ROW] = [24, 9, 44]; // px: around the graph, a head's radius, between heads
  const SMALL = { size: 11, color: "ink-2" };

  const grid = cause.section(root, "Which heads read which", ABOUT);
  const controls = cause.controls(grid);
  const kind = lab.choice(controls, { name: "cause.kind", label: "Read for its", values: KINDS });
  const least = lab.slider(controls, {
    name: "cause.least",
    label: "Graph shows pairs above",
    min: 0,
    max: 99,
    step: 1,
    initial: 70,
    format: (share) => `${share}% of the largest`,
  });
  const q = lab.question("composition", { page: "cause", prompt: false });

  const shape = () => q.shown.arrays.score.shape; // kind, layer, head, layer, head
  const kindIndex = () => q.shown.facts.kinds.indexOf(kind.value);
  const score = (name, a, b) => q.shown.at(name, kindIndex(), ...a, ...b);
  const name = ([layer, head]) => `${layer}.${head}`;

  function heads(from, to) {
    const [, , count] = shape();
    return Array.from({ length: Math.max(0, to - from) * count }, (_, i) => [from + Math.floor(i / count), i % count]);
  }

  /* What a score is above, to be in the graph. */
  function threshold() {
    const [, ...rest] = shape();
    const size = rest.reduce((product, n) => product * n, 1);
    const one = q.shown.arrays.above.data.subarray(kindIndex() * size, (kindIndex() + 1) * size);
    return (least.value / 100) * one.reduce((most, value) => Math.max(most, value), 0);
  }

  function describe(writer, reader) {
    if (reader[0] <= writer[0]) return `head ${name(reader)} is not after head ${name(writer)}`;
    const what = KINDS.find(([key]) => key === kind.value)[1].toLowerCase();
    const above = score("above", writer, reader);
    return (
      `head ${name(reader)} reads head ${name(writer)} for its ${what}: ${lab.signed(above)} above random ` +
      `(score ${lab.number(score("score", writer, reader))}, random ${lab.number(q.shown.facts.baseline)})`
    );
  }

  // -- matrix ------------------------------------------------------------------------------------------

  const matrix = lab.matrix(grid, {
    title: "Every pair: score less that of random weights",
    question: q,
    scale: "signed",
    rowTitle: "head that writes",
    columnTitle: "head that reads",
    data: () => {
      const [, layers] = shape();
      const [writers, readers] = [heads(0, layers - 1), heads(1, layers)];
      const values = writers.flatMap((a) => readers.map((b) => (b[0] > a[0] ? score("above", a, b) : NaN)));
      return { rows: writers.map(name), columns: readers.map(name), values };
    },
    describe: (r, c) => {
      const [, layers] = shape();
      return describe(heads(0, layers - 1)[r], heads(1, layers)[c]);
    },
    filename: () => q.filename(kind.value),
  });

  // -- graph -------------------------------------------------------------------------------------------

  let edges = []; // {from, to, above}, weakest first
  const at = ([layer, head], width) => {
    const [, layers] = shape();
    const step = (width - 2 * PAD) / Math.max(1, layers - 1);
    return [PAD + layer * step, 32 + (head + 0.5) * ROW];
  };

  function draw(ink, width) {
    const [, layers, count] = shape();
    const over = threshold();
    edges = [];
    for (const from of heads(0, layers - 1)) {
      for (const to of heads(from[0] + 1, layers)) {
        const above = score("above", from, to);
        if (above > over) edges.push({ from, to, above });
      }
    }
    edges.sort((a, b) => a.above - b.above);
    for (const edge of edges) drawEdge(ink, width, edge, "accent");
    for (let layer = 0; layer < layers; layer++) {
      ink.text(at([layer, 0], width)[0], 12, `L${layer}`, { ...SMALL, align: "center" });
    }
    for (const head of heads(0, layers)) drawNode(ink, width, head, false);
    return 32 + count * ROW + 4;
  }

  function drawEdge(ink, width, { from, to, above }, stroke) {
    const [[x0, y0], [x1, y1]] = [at(from, width), at(to, width)];
    const bend = (x1 - x0) / 2;
    const strength = above / (edges.at(-1)?.above || 1);
    const path = `M${x0 + NODE} ${y0}C${x0 + bend} ${y0} ${x1 - bend} ${y1} ${x1 - NODE} ${y1}`;
    ink.path(path, { stroke, width: 0.5 + 3 * strength, opacity: 0.25 + 0.75 * strength });
  }

  function drawNode(ink, width, head, marked) {
    const [x, y] = at(head, width);
    ink.circle(x, y, NODE, { fill: marked ? "accent" : "surface", stroke: marked ? "accent" : "edge" });
    ink.text(x, y + 0.5, String(head[1]), { size: 11, mono: true, align: "center", color: marked ? "paper" : "ink" });
  }

  const pinnedHead = () => {
    const { layer, head } = lab.state;
    return layer === null || !q.shown || layer >= shape()[1] || head >= shape()[2] ? null : [layer, head];
  };
  const touches = ({ from, to }, head) => name(from) === name(head) || name(to) === name(head);

  function over(ink, width) {
    const head = graph.target ?? pinnedHead();
    if (!head) return;
    for (const edge of edges) if (touches(edge, head)) drawEdge(ink, width, edge, "ink");
    for (const edge of edges) if (touches(edge, head)) [edge.from, edge.to].forEach((each) => drawNode(ink, width, each, false));
    drawNode(ink, width, head, true);
  }

  function readout(target) {
    const head = target ?? pinnedHead();
    const all = edges.length === 1 ? "1 pair is" : `${lab.count(edges.length)} pairs are`;
    if (!head) return `${all} more than ${lab.number(threshold())} above random. Point at a head to see whom it reads and who reads it.`;
    const list = (these, pick) => these.reverse().slice(0, 4).map((edge) => `${name(pick(edge))} (${lab.number(edge.above)})`).join(", ") || "nobody";
    const reads = edges.filter(({ to }) => name(to) === name(head));
    const read = edges.filter(({ from }) => name(from) === name(head));
    return `head ${name(head)} reads ${list(reads, (e) => e.from)}; it is read by ${list(read, (e) => e.to)}`;
  }

  function hit(x, y, width) {
    const near = (head) => {
      const [hx, hy] = at(head, width);
      return Math.hypot(hx - x, hy - y) <= NODE + 5;
    };
    return heads(0, shape()[1]).find(near) ?? null;
  }

  function click(head) {
    const same = pinnedHead() && name(pinnedHead()) === name(head);
    lab.set(same ? { layer: null, head: null } : { layer: head[0], head: head[1] });
  }

  function move([right, down]) {
    const [, layers, count] = shape();
    const [layer, head] = graph.target ?? pinnedHead() ?? [0, -1];
    const within = (i, n) => Math.min(n - 1, Math.max(0, i));
    graph.aim([within(layer + right, layers), within(head + down, count)]);
  }

  const graph = lab.figure(grid, {
    title: "The strongest",
    question: q,
    label: "Heads by layer, joined where one reads another",
    draw,
    over,
    hit,
    click,
    move,
    leave: () => lab.set({ layer: null, head: null }),
    readout,
    csv: () => [["writes", "reads", "above random"], ...[...edges].reverse().map(({ from, to, above }) => [name(from), name(to), above])],
    filename: () => q.filename(`${kind.value}-graph`),
  });
  graph.element.edges = () => edges;

  lab.choices.on(["cause.kind"], matrix.paint);
  lab.choices.on(["cause.kind", "cause.least"], graph.paint);
  lab.on(["layer", "head"], graph.point);
});
