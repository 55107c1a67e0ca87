/* The map: every tensor as an area of its bytes. Hover names it, a click looks inside a group or a layer. */
lab.component("machine-map", (root) => {
  "use strict";

  const { machine } = lab;
  const { q } = machine.ask();
  // A share of the attention scale for each group; a tensor is told apart by its place and its name, not by this alone.
  const SHADES = { parameters: 0.85, gradients: 0.6, optimizer: 0.42, activations: 0.26, cache: 0.5, temporary: 0.12 };
  const [LEGEND, LINE] = [22, 16]; // px of a line of the legend, of a label
  const height = (width) => (width > 640 ? 440 : 400);

  let tree = null; // what is drawn: {key, name, value, children}
  let places = [];

  const fig = lab.figure(root, {
    title: "Every tensor, by its bytes",
    question: q,
    label: "Treemap of memory; arrow keys walk, Enter looks inside, Escape goes back",
    draw,
    over,
    hit,
    readout,
    click: ({ key }) => enter(key),
    move: walk,
    leave: () => zoom(path().slice(0, -1)),
    note: () => (inTraining() ? "Not all of it is there at one time: gradients come as activations go." : ""),
    csv: () => [
      ["tensor", "group", "phase", "layer", "shape", "dtype", "bytes"],
      ...all().map(({ name, group, phase, layer, shape, dtype, bytes }) => [name, group, phase, layer, shape.join("x"), dtype, bytes]),
    ],
    caption: () => q.caption(sizes()),
    filename: () => q.filename(sizes().replaceAll(/\W+/g, "-")),
  });
  const by = lab.choice(fig.controls, { name: "machine.by", label: "First by", values: [["group", "Group"], ["layer", "Layer"]] });
  const trail = lab.el("nav", { class: "machine-trail", "aria-label": "Where in the map" });
  fig.controls.append(trail);

  const inTraining = () => q.shown.facts.setting.mode === "training";

  /* Every tensor but those of moments that are not the fullest. */
  function all() {
    const { facts } = q.shown;
    const size = machine.shape(facts);
    const there = new Set(facts.moments[machine.memory(facts, size).fullest]);
    return machine.tensors(facts, size).filter(({ group, phase }) => group !== "temporary" || there.has(phase));
  }

  function sizes() {
    const { d_model, n_layers, n_heads, d_mlp, batch, context, vocab_size } = machine.shape(q.shown.facts);
    return `${n_layers} layers, ${n_heads} heads, width ${d_model}, MLP ${d_mlp}, vocabulary ${vocab_size}, ${batch} × ${context} tokens`;
  }

  // -- the tree --------------------------------------------------------------------------------------

  const layerOf = ({ layer }) => (layer === null ? "outside the layers" : `layer ${layer}`);

  function grown() {
    const keys = by.value === "group" ? [(t) => t.group, layerOf] : [layerOf, (t) => t.group];
    const top = { key: "", name: "everything", value: 0, children: [] };
    for (const tensor of all()) {
      let node = top;
      node.value += tensor.bytes;
      for (const key of keys) {
        const name = key(tensor);
        let child = node.children.find((each) => each.name === name);
        if (!child) node.children.push((child = { key: [node.key, name].filter(Boolean).join("/"), name, value: 0, children: [] }));
        child.value += tensor.bytes;
        node = child;
      }
      node.children.push({ key: `${node.key}/${tensor.name}`, name: tensor.name, value: tensor.bytes, tensor });
    }
    return top;
  }

  /* Names from the top to what is looked at; what the address asks for as far as it is there. */
  function path() {
    const names = (lab.choices.get("machine.zoom") ?? "").split("/").filter(Boolean);
    const found = [];
    for (let node = tree; names.length; found.push(node.name)) {
      node = node.children?.find((child) => child.name === names[0]);
      if (!node?.children) break;
      names.shift();
    }
    return found;
  }

  const inside = (names) => names.reduce((node, name) => node.children.find((child) => child.name === name), tree);

  const zoom = (names) => lab.choices.set("machine.zoom", names.join("/") || null);

  /* Look one level further towards what was clicked. */
  function enter(key) {
    const node = places.find((each) => each.node.key === key)?.node;
    const steps = key.split("/");
    const deeper = steps.slice(0, path().length + 1);
    if (node && inside(path()).children && deeper.length <= 2) zoom(deeper);
  }

  // -- drawing ---------------------------------------------------------------------------------------

  function draw(ink, width) {
    tree = grown();
    const node = inside(path());
    const top = legend(ink, width);
    const bottom = top + height(width);
    places = lab.treemap(node, 0, top, width, bottom - top);
    for (const { node: each, x, y, w, h } of places) {
      if (each.tensor) ink.rect(x, y, w, h, { fill: shade(each.tensor), stroke: "paper", width: w * h > 60 ? 0.5 : 0.1 });
    }
    for (const { node: each, x, y, w, h, depth } of places) {
      if (depth === 1 && each.children) ink.rect(x, y, w, h, { stroke: "paper", width: 3 });
    }
    label(ink);
    follow();
    return bottom;
  }

  const shade = ({ group }) => lab.color.attention(SHADES[group]);

  function legend(ink, width) {
    let [x, y] = [0, 0];
    const sums = {};
    for (const { group, bytes } of all()) sums[group] = (sums[group] ?? 0) + bytes;
    for (const group of Object.keys(SHADES).filter((name) => sums[name])) {
      const text = `${group} ${machine.bytes(sums[group])}`;
      const room = 18 + ink.measure(text, { size: 12 });
      if (x && x + room > width) [x, y] = [0, y + LEGEND - 4];
      ink.rect(x, y + 3, 12, 12, { fill: shade({ group }), stroke: "edge", width: 0.5 });
      ink.text(x + 18, y + 9, text, { size: 12, color: "ink-2" });
      x += room + 16;
    }
    return y + LEGEND;
  }

  /* The name of each area that has room for it, those of large areas first; below one that is there already. */
  function label(ink) {
    const taken = []; // [x, y, w] of lines
    const named = places.filter(({ depth, w, h }) => depth && depth < 3 && w >= 44 && h >= LINE);
    for (const { node, x, y, w, h, depth } of named.sort((a, b) => a.depth - b.depth)) {
      const style = { size: 12, weight: depth === 1 ? 600 : 400 };
      const name = node.tensor ? short(node.name) : node.name;
      const text = ink.fit(w > 130 ? `${name} · ${machine.bytes(node.value)}` : name, w - 10, style);
      const room = ink.measure(text, style);
      const meets = (line) => taken.some(([left, top, wide]) => left < x + 5 + room && x + 5 < left + wide && Math.abs(top - line) < LINE);
      const line = [y, y + LINE].find((each) => each + LINE <= y + h && !meets(each));
      if (line === undefined || text.length < Math.min(name.length, 5)) continue;
      ink.text(x + 5, line + 10, text, { ...style, color: lab.ink.contrast(ground(x + 6, line + 9)) });
      taken.push([x + 5, line, room]);
    }
  }

  /* What colour is there. */
  function ground(x, y) {
    const at = places.find((each) => each.node.tensor && within(each, x, y));
    return at ? shade(at.node.tensor) : lab.color.attention(0);
  }

  const within = (each, x, y) => x >= each.x && x < each.x + each.w && y >= each.y && y < each.y + each.h;

  const short = (name) => name.replace(/^blocks\.\d+\./, "");

  /* The way back: everything › activations › layer 2. */
  function follow() {
    const names = path();
    const crumbs = ["everything", ...names].map((name, i) =>
      lab.el("button", { type: "button", class: "kit-save", "aria-current": i === names.length ? "true" : null, onclick: () => zoom(names.slice(0, i)) }, name),
    );
    trail.replaceChildren(...crumbs.flatMap((crumb, i) => (i ? [lab.el("span", { class: "muted" }, "›"), crumb] : [crumb])));
    trail.hidden = !names.length;
  }

  // -- the hand --------------------------------------------------------------------------------------

  function hit(x, y) {
    const found = places.find((each) => each.node.tensor && within(each, x, y));
    return found ? { key: found.node.key } : null;
  }

  const targeted = () => places.find((each) => each.node.key === fig.target?.key);

  function over(ink) {
    const at = targeted();
    if (!at) return;
    const parent = places.find((each) => each.depth === 1 && each.node.children && at.node.key.startsWith(`${each.node.key}/`));
    if (parent) ink.rect(parent.x + 1, parent.y + 1, parent.w - 2, parent.h - 2, { stroke: "ink", width: 1 });
    ink.rect(at.x + 1, at.y + 1, Math.max(1, at.w - 2), Math.max(1, at.h - 2), { stroke: "accent", width: 2 });
  }

  function readout(target) {
    const node = target && targeted()?.node;
    if (!node) return path().length < 2 ? "Point at an area to name it; click to look inside." : "Point at an area to name it.";
    const share = lab.percent(node.value / tree.value);
    if (!node.tensor) return `${node.name} · ${machine.bytes(node.value)} · ${share} of all`;
    const { name, group, shape, dtype, bytes } = node.tensor;
    const size = shape.length ? shape.map(lab.count).join(" × ") : "one number";
    return `${name} · ${group} · ${size}, ${dtype} · ${machine.bytes(bytes)} · ${share} of all`;
  }

  /* From area to area of the level that is looked at, the largest first. */
  function walk([dx, dy]) {
    const level = places.filter((each) => each.depth === 1);
    const at = level.findIndex((each) => each.node.key === fig.target?.key);
    const next = level[Math.max(0, Math.min(level.length - 1, at + (dx || dy)))];
    if (next) fig.aim({ key: next.node.key });
  }

  fig.element.places = () => places; // where each area is: {node: {name, value}, x, y, w, h}

  lab.choices.on([...machine.changes, "machine.by", "machine.zoom"], () => q.shown && fig.paint());
  lab.choices.on(["machine.by", "machine.mode"], () => lab.choices.set("machine.zoom", null));
});
