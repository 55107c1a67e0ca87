/* The residual stream from the embeddings to the end: how long it is, what is added, and what it then consists of. */
(() => {
  "use strict";

  const lab = window.lab;
  const { layers } = lab;
  const [LEFT, LEGEND, LENGTHS, GAP, SHARES, BOTTOM] = [52, 26, 120, 26, 200, 44]; // px
  const SMALL = { size: 11, color: "ink-2" };
  const COLORS = { embed: "reference", pos: "edge", attn: "attention-1", mlp: "accent" };
  const NAMES = { embed: "token embedding", pos: "position embedding", attn: "attention", mlp: "MLP" };
  const percent = (share) => `${Number((100 * share).toPrecision(3))}%`.replace("-", "−");

  /* A component's colour, stronger the later its layer. */
  function paintOf(name, n_layers) {
    const { kind, layer } = layers.parts(name);
    return { fill: COLORS[kind], opacity: layer === null ? 1 : 0.3 + (0.7 * (layer + 1)) / n_layers };
  }

  // -- one position, over the layers ---------------------------------------------------------------------

  lab.component("layers-stream", (root) => {
    const view = layers();
    const { residual } = view;
    let place = null; // where everything is: {columns: [{x, w, stack: [{component, y, h}]}], …}

    const depth = (shown) => (shown.facts.points.length - 1) / 2;
    const added = (point) => (point === 0 ? [0, 1] : [point + 1]); // the components that a point adds

    function measure(width) {
      const { shown } = residual;
      const position = view.position();
      const { points, components } = shown.facts;
      const share = (point, component) => shown.at("share", point, component, position);
      const sums = points.map((_, p) => components.reduce(([low, high], _, c) => (share(p, c) < 0 ? [low + share(p, c), high] : [low, high + share(p, c)]), [0, 0]));
      const low = Math.min(0, ...sums.map(([down]) => down).filter(Number.isFinite));
      const high = Math.max(1, ...sums.map(([, up]) => up).filter(Number.isFinite));
      const step = (width - LEFT - 4) / points.length;
      const bar = Math.min(48, step * 0.72);
      const top = { lengths: LEGEND + 14, shares: LEGEND + 14 + LENGTHS + GAP };
      const longest = Math.max(...points.map((_, p) => shown.at("norm", p, position)), ...components.map((_, c) => shown.at("added_norm", c, position)));
      const up = (value) => top.shares + ((high - value) / (high - low)) * SHARES;
      const columns = points.map((_, p) => ({ x: LEFT + (p + 0.5) * step, w: bar, stack: stacked(p, components, share, up) }));
      return { shown, position, columns, step, top, longest, low, high, up };
    }

    function stacked(point, components, share, up) {
      let [above, below] = [0, 0];
      return components.flatMap((_, component) => {
        const part = share(point, component);
        if (!part || !Number.isFinite(part)) return [];
        const from = part > 0 ? above : below;
        if (part > 0) above += part;
        else below += part;
        const [y, end] = [up(Math.max(from, from + part)), up(Math.min(from, from + part))];
        return [{ component, part, y, h: end - y }];
      });
    }

    function draw(ink, width) {
      place = measure(width);
      drawLegend(ink, width);
      drawLengths(ink, width);
      drawShares(ink, width);
      drawPoints(ink);
      return place.top.shares + SHARES + BOTTOM;
    }

    function drawLegend(ink, width) {
      let x = LEFT;
      for (const [kind, name] of Object.entries(NAMES)) {
        const short = width < 480 ? { embed: "tokens", pos: "positions" }[kind] ?? name : name;
        ink.rect(x, 4, 10, 10, { fill: COLORS[kind] });
        ink.text(x + 15, 9, short, SMALL);
        x += 15 + ink.measure(short, SMALL) + 14;
      }
      if (width >= 480) ink.text(x, 9, "stronger: later", { ...SMALL, max: width - x });
    }

    function drawLengths(ink, width) {
      const { shown, position, columns, top, longest } = place;
      const bottom = top.lengths + LENGTHS;
      const y = (length) => bottom - (longest ? (length / longest) * LENGTHS : 0);
      axis(ink, width, "length", [[y(0), "0"], [y(longest), lab.number(longest)]]);
      columns.forEach(({ x, w }, p) => {
        for (const [i, c] of added(p).entries()) {
          const part = w / added(p).length;
          const length = shown.at("added_norm", c, position);
          ink.rect(x - w / 2 + i * part, y(length), part, bottom - y(length), paintOf(shown.facts.components[c], depth(shown)));
        }
      });
      ink.path(columns.map(({ x }, p) => [x, y(shown.at("norm", p, position))]), { stroke: "ink", width: 1.5 });
      columns.forEach(({ x }, p) => ink.circle(x, y(shown.at("norm", p, position)), 2.5, { fill: "ink" }));
    }

    function drawShares(ink, width) {
      const { shown, columns, up, low, high } = place;
      const rows = [0, 0.5, 1].map((value) => [up(value), percent(value)]);
      if (low < -0.05) rows.push([up(low), percent(low)]);
      if (high > 1.1) rows.push([up(high), percent(high)]);
      axis(ink, width, "share of the stream", rows.filter(([y], i) => rows.slice(0, i).every(([other]) => Math.abs(other - y) > 12)));
      for (const { x, w, stack } of columns) {
        for (const { component, y, h } of stack) ink.rect(x - w / 2, y, w, Math.max(0.5, h - 0.5), paintOf(shown.facts.components[component], depth(shown)));
      }
      ink.line(LEFT, up(0) + 0.5, width, up(0) + 0.5, { stroke: "edge" });
    }

    function axis(ink, width, title, rows) {
      for (const [y, text] of rows) {
        ink.line(LEFT, Math.round(y) + 0.5, width, Math.round(y) + 0.5);
        ink.text(LEFT - 6, y, text, { ...SMALL, align: "right" });
      }
      ink.text(8, rows.reduce((sum, [y]) => sum + y, 0) / rows.length, title, { ...SMALL, rotate: -90, align: "center" });
    }

    function drawPoints(ink) {
      const { shown, columns, top, step } = place;
      const y = top.shares + SHARES;
      columns.forEach(({ x }, p) => {
        const { kind, layer } = layers.parts(shown.facts.points[p]);
        const names = step >= 34 ? { embed: "embed", attn: "attn", mlp: "MLP" } : { embed: "E", attn: "A", mlp: "M" };
        ink.text(x, y + 12, names[kind], { ...SMALL, align: "center" });
        if (kind === "attn") ink.text(x + step / 2, y + 26, `layer ${layer}`, { ...SMALL, align: "center", max: 2 * step });
      });
    }

    function hit(x, y) {
      const point = Math.floor((x - LEFT) / place.step);
      if (point < 0 || point >= place.columns.length || y > place.top.shares + SHARES) return null;
      const component = place.columns[point].stack.find((each) => y >= each.y && y < each.y + each.h)?.component ?? null;
      return { point, component: y >= place.top.shares ? component : null };
    }

    function over(ink) {
      const point = fig.target?.point ?? null;
      if (point === null || !place.columns[point]) return;
      const { x, w, stack } = place.columns[point];
      const { top } = place;
      ink.rect(x - w / 2 - 3, top.lengths - 4, w + 6, top.shares + SHARES - top.lengths + 8, { stroke: "accent" });
      const part = stack.find(({ component }) => component === fig.target.component);
      if (part) ink.rect(x - w / 2 - 1, part.y, w + 2, Math.max(1, part.h), { stroke: "accent", width: 2 });
    }

    function readout(target) {
      const { shown, position } = place;
      const at = layers.place(shown, position);
      if (target === null) return `The stream at ${at}. Point at a bar to read it.`;
      const { points, components } = shown.facts;
      const norm = lab.number(shown.at("norm", target.point, position));
      const where = `${layers.pointInWords(points[target.point])}, ${at}: length ${norm}`;
      if (target.component === null) return [where, ...added(target.point).map((c) => told(c))].join(" · ");
      const share = percent(shown.at("share", target.point, target.component, position));
      return `${where} · ${layers.componentInWords(components[target.component])} is ${share} of it · ${told(target.component)}`;
    }

    function told(c) {
      const { shown, position } = place;
      const length = lab.number(shown.at("added_norm", c, position));
      const cosine = lab.signed(shown.at("cosine", c, position));
      const to = layers.parts(shown.facts.components[c]).layer === null ? "their sum" : "the stream before it";
      return `${layers.componentInWords(shown.facts.components[c])} adds ${length}, cosine ${cosine} with ${to}`;
    }

    function note() {
      const { header, facts } = residual.shown;
      const { error } = facts;
      const cut = header.surgery.includes("no-residual") ? "Without the residual connection the stream is only what was added last. " : "";
      return `${cut}The shares at a point add up to 100%. The stream is the sum of its parts${error ? ` to within ${error.toExponential(1)}` : ", exactly"}.`;
    }

    function csv() {
      const { shown, position } = place;
      const { points, components } = shown.facts;
      const row = (name, p) => [name, shown.at("norm", p, position), ...components.map((_, c) => shown.at("share", p, c, position))];
      const facts = (title, name) => [title, "", ...components.map((_, c) => shown.at(name, c, position))];
      return [["point", "length", ...components.map((name) => `share of ${name}`)], ...points.map(row), facts("length added", "added_norm"), facts("cosine", "cosine")];
    }

    const fig = lab.figure(root, {
      title: "The residual stream",
      about: "Every part reads the stream and adds to it. Above: what each adds (bars) and how long the stream has become (line). Below: what the stream consists of; what points against it hangs below zero.",
      question: residual,
      draw,
      over,
      hit,
      readout,
      csv,
      note,
      filename: () => residual.filename(`position-${view.position()}`),
      label: "The residual stream over the layers at the position that is looked at",
    });
    view.onCell(fig.paint);
  });

  // -- all positions -------------------------------------------------------------------------------------

  const VIEWS = [
    ["norm", "length"],
    ["added", "added"],
    ["share", "share of the end"],
    ["cosine", "cosine"],
  ];
  const SHOWN = {
    norm: { rows: "points", scale: "magnitude", values: ({ arrays }) => arrays.norm.data, show: lab.number },
    added: { rows: "components", scale: "magnitude", values: ({ arrays }) => arrays.added_norm.data, show: lab.number },
    share: { rows: "components", scale: "signed", values: lastShares, show: percent },
    cosine: { rows: "components", scale: "signed", values: ({ arrays }) => arrays.cosine.data, max: 1, show: lab.signed },
  };

  function lastShares({ arrays }) {
    const { data, shape } = arrays.share;
    return data.subarray((shape[0] - 1) * shape[1] * shape[2]);
  }

  lab.component("layers-sizes", (root) => {
    const view = layers();
    const { residual } = view;
    let row = 0; // of the cell that the keyboard is on
    const chosen = () => SHOWN[lab.choices.get("layers.sizes", VIEWS.map(([key]) => key))];
    const words = { norm: "length of the stream", added: "length of what is added", share: "share of the last stream", cosine: "cosine with the stream before it" };

    const fig = lab.matrix(root, {
      title: "The stream at every position",
      about: "How long the stream is after each part; how much each part adds; how much of the end it makes up; whether it points along the stream or against it.",
      question: residual,
      data: () => {
        const { shown } = residual;
        const { points, components } = shown.facts;
        const rows = chosen().rows === "points" ? layers.pointLabels(points) : components.map(layers.componentLabel);
        return { rows, columns: lab.tokenLabels(shown.tokens), values: chosen().values(shown) };
      },
      rowTitle: "part",
      columnTitle: "position",
      square: false,
      cellHeight: 18,
      scale: () => chosen().scale,
      max: () => chosen().max ?? (lab.extent(chosen().values(residual.shown)) || 1),
      show: (value) => chosen().show(value),
      describe: (r, c, value) => {
        const { points, components } = residual.shown.facts;
        const what = words[lab.choices.get("layers.sizes", Object.keys(words))];
        const part = chosen().rows === "points" ? layers.pointInWords(points[r]) : layers.componentInWords(components[r]);
        return `${part}, ${layers.place(residual.shown, c)}: ${what} ${chosen().show(value)}`;
      },
      pinned: () => view.pinned() && [row, view.pinned().position],
      pin: (at) => {
        row = at?.[0] ?? 0;
        view.pin(at && { point: view.pinned()?.point, position: at[1] });
      },
      hover: (at) => view.hover(at && { point: null, position: at[1] }),
      label: "Sizes in the residual stream: rows are parts of the model, columns are positions",
    });
    lab.choice(fig.controls, { name: "layers.sizes", label: "show", values: VIEWS });
    lab.choices.on(["layers.sizes"], fig.paint);
    view.onCell(fig.point);
  });
})();
