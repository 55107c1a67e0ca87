/* What could follow: the three likeliest tokens, three deep, as a tree. */
lab.component("sampling-tree", (root) => {
  "use strict";

  const { sampling } = lab;
  const [ROW, TOP, DEEP, PATH] = [20, 28, 3, 78];
  const SMALL = { size: 11, color: "ink-2" };
  const q = sampling.ask("tree");
  const percent = (share) => `${lab.number(100 * share)}%`;
  let nodes = []; // {token, parent, depth, p, path, ends, x, y, w}

  /* Leaves one below the other, parents in the middle of their children. */
  function layout(width) {
    const { token, parent, depth, probability, path, ends } = Object.fromEntries(
      Object.entries(q.shown.arrays).map(([name, { data }]) => [name, data]),
    );
    const wide = width > 600; // room for the paths' probabilities beside the leaves
    const w = Math.min(170, (width - (wide ? PATH : 0)) / DEEP - 18);
    const column = (width - (wide ? PATH : 0) - w) / (DEEP - 1);
    nodes = Array.from(token, (id, i) => ({ i, token: id, parent: parent[i], depth: depth[i], p: probability[i], path: path[i], ends: ends[i] }));
    for (const node of nodes) node.children = nodes.filter((each) => each.parent === node.i);
    let y = TOP;
    const place = (node) => {
      node.children.forEach(place);
      const between = [node.children[0]?.y, node.children.at(-1)?.y];
      node.y = node.children.length ? (between[0] + between[1]) / 2 : y + ROW / 2;
      if (!node.children.length) y += ROW;
      node.x = (node.depth - 1) * column;
      node.w = w;
    };
    const first = nodes.filter((node) => node.parent < 0);
    first.forEach((node) => {
      place(node);
      y += 10;
    });
    return { height: y, column, wide };
  }

  function draw(ink, width) {
    const { height, column, wide } = layout(width);
    ["next token", "then", "then"].forEach((text, i) => ink.text(i * column + 4, 8, text, SMALL));
    if (wide) ink.text(width, 8, "path", { ...SMALL, align: "right" });
    for (const node of nodes) {
      const parent = nodes[node.parent];
      if (parent) link(ink, parent, node);
    }
    for (const node of nodes) {
      box(ink, node);
      if (wide && !node.children.length) ink.text(width, node.y, percent(node.path), { ...SMALL, align: "right" });
    }
    return height;
  }

  function link(ink, from, to, style = {}) {
    const [x1, x2] = [from.x + from.w, to.x];
    const middle = (x1 + x2) / 2;
    const d = `M${x1} ${from.y}C${middle} ${from.y} ${middle} ${to.y} ${x2} ${to.y}`;
    ink.path(d, { stroke: "attention-1", width: 1 + 9 * to.path, opacity: 0.35, ...style });
  }

  function box(ink, { x, y, w, token, p, ends }, stroke = "hairline") {
    const tint = lab.color.attention(0.85 * p);
    ink.rect(x + 0.5, y - 8.5, w - 1, 17, { fill: tint, stroke, radius: 3 });
    const color = lab.ink.contrast(tint);
    const share = percent(p);
    const room = w - lab.ink.measure(share, { size: 11 }) - 16;
    ink.text(x + 6, y, lab.word(token), { mono: true, size: 12, color, max: room, weight: ends ? 700 : 400 });
    ink.text(x + w - 6, y, share, { size: 11, color, align: "right" });
  }

  const line = (node) => (node ? [...line(nodes[node.parent]), node] : []);

  function over(ink) {
    const node = nodes[fig.target];
    if (!node) return;
    const way = line(node);
    way.slice(1).forEach((each, i) => link(ink, way[i], each, { stroke: "accent", opacity: 0.9 }));
    for (const each of way) box(ink, each, "accent");
  }

  const hit = (x, y) => nodes.find((node) => x >= node.x && x < node.x + node.w && Math.abs(y - node.y) <= 9)?.i ?? null;

  function readout(at) {
    const node = nodes[at];
    if (!node) return "Point at a token to read its path; a click lets the text go on that way.";
    const way = line(node);
    const words = way.map(({ token }) => `‘${lab.word(token)}’`).join(" ");
    const product = way.length > 1 ? `: ${way.map(({ p }) => percent(p)).join(" × ")} = ${percent(node.path)}` : `: ${percent(node.p)}`;
    return `${words}${product}${node.ends ? " · the turn ends here" : ""}`;
  }

  function note() {
    const leaves = nodes.filter(({ children }) => !children.length);
    return `Shades and widths are probabilities. These ${leaves.length} paths together have ${percent(leaves.reduce((sum, { path }) => sum + path, 0))} of all.`;
  }

  const csv = () => [
    ["path", "probability of the token", "probability of the path", "ends"],
    ...nodes.map((node) => [line(node).map(({ token }) => lab.word(token)).join(" "), node.p, node.path, node.ends]),
  ];

  const fig = lab.figure(root, {
    title: "Where it could go",
    about: "The three likeliest tokens, and after each of them the three likeliest, three deep; the model's own probabilities, at temperature 1.",
    question: q,
    label: "Tree of alternatives; arrow keys walk it, Enter takes a path",
    draw,
    over,
    hit,
    readout,
    note,
    csv,
    caption: () => sampling.caption(q),
    click: (at) => sampling.follow([...sampling.then(), ...line(nodes[at]).map(({ token }) => token)]),
    move,
  });

  function move([right, down]) {
    const node = nodes[fig.target];
    if (!node) return fig.aim(0);
    if (right > 0) return fig.aim(node.children[0]?.i ?? node.i);
    if (right < 0) return fig.aim(node.parent < 0 ? node.i : node.parent);
    const beside = nodes.filter(({ depth }) => depth === node.depth).sort((a, b) => a.y - b.y);
    fig.aim(beside[Math.min(beside.length - 1, Math.max(0, beside.indexOf(node) + down))].i);
  }

  lab.on(["vocabulary"], () => q.shown && fig.paint());
});
