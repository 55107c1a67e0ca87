/* One layer's attention as lines from token to token, a colour for each head: what BertViz calls the head view. */
lab.component("attention-arcs", (root) => {
  "use strict";

  const { attention } = lab;
  const [ROWS, TOP, SIDE] = [[11, 18], 22, 0.3]; // px of a token, of the titles; share of the width of each column
  const HIGH = 900; // px that a long text may take
  const LEAST = 0.04; // probability from which a line is drawn
  const HIDDEN = "attention.hidden";
  const HUES = ["accent", "run-b", "head-2", "surgery", "head-4", "head-5", "head-6", "reference"];
  const sight = lab.sight(root);
  let place = null; // {n, left, right, row, bar, gap}: where lines end, how wide a head's shade beside a token is
  let labels = [];

  // -- which heads -----------------------------------------------------------------------------------

  const layerOf = () => Math.min(lab.state.layer ?? 0, (attention.shown?.header.layers ?? 1) - 1);
  const color = (head) => HUES[head % HUES.length];

  function hidden() {
    const chosen = (lab.choices.get(HIDDEN) ?? "").split(",").filter(Boolean).map(Number);
    return new Set(chosen);
  }

  const hide = (heads) => lab.choices.set(HIDDEN, heads.length ? heads.sort((a, b) => a - b).join(",") : null);

  function toggle(head) {
    const now = hidden();
    if (!now.delete(head)) now.add(head);
    hide([...now]);
  }

  /* Only this head; all of them when it is the only one. A double click has toggled it twice before. */
  function solo(head) {
    const others = Array.from({ length: attention.shown.header.heads }, (_, i) => i).filter((i) => i !== head);
    const now = hidden();
    hide(!now.has(head) && others.every((i) => now.has(i)) ? [] : others);
  }

  // -- drawing ---------------------------------------------------------------------------------------

  function draw(ink, width) {
    const { shown } = attention;
    if (!shown) return 0;
    const { header } = shown;
    labels = header.tokens.map(lab.tokenText);
    const side = Math.min(220, width * SIDE);
    const bar = Math.min(7, 48 / header.heads);
    const row = Math.max(ROWS[0], Math.min(ROWS[1], HIGH / header.n));
    place = { n: header.n, left: side, right: width - side, row, bar, gap: 6 + bar * header.heads };
    ink.text(place.left - place.gap, 8, "query", { size: 11, color: "ink-2", align: "right" });
    ink.text(place.right + place.gap, 8, "key", { size: 11, color: "ink-2" });
    const off = hidden();
    for (let head = 0; head < header.heads; head++) {
      if (!off.has(head)) drawHead(ink, shown.pattern(layerOf(), head), color(head), null);
    }
    labels.forEach((_, i) => drawLabels(ink, i));
    return TOP + row * header.n + 4;
  }

  const middle = (i) => TOP + (i + 0.5) * place.row;

  function drawLabels(ink, i) {
    const { left, right, gap, row } = place;
    const shared = { size: Math.min(12, row), mono: true, max: left - gap - 2 };
    ink.text(left - gap, middle(i), labels[i], { ...shared, align: "right" });
    ink.text(right + gap, middle(i), labels[i], shared);
  }

  /* The lines of one head; of one token when `only` is {side: "query" | "key", at}. */
  function drawHead(ink, pattern, stroke, only) {
    const { n, left, right } = place;
    for (let query = 0; query < n; query++) {
      if (only?.side === "query" && only.at !== query) continue;
      for (let key = 0; key < n; key++) {
        if (only?.side === "key" && only.at !== key) continue;
        const p = pattern[query * n + key] / 65535;
        if (p >= LEAST) ink.line(left, middle(query), right, middle(key), { stroke, width: 1 + 2 * p, opacity: p });
      }
    }
  }

  /* The token under the hand, its lines alone, and how much of each head goes where. */
  function over(ink) {
    const at = fig.target ?? pinned();
    const { shown } = attention;
    if (!at || !shown || at.at >= place.n) return;
    const { left, right, n, bar, gap, row } = place;
    const off = hidden();
    ink.rect(left - 2, TOP - 2, right - left + 4, row * n + 4, { fill: "paper", opacity: 0.86 });
    const start = at.side === "query" ? right + 3 : left - gap + 3;
    for (let head = 0; head < shown.header.heads; head++) {
      if (off.has(head)) continue;
      const pattern = shown.pattern(layerOf(), head);
      drawHead(ink, pattern, color(head), at);
      for (let i = 0; i < n; i++) {
        const p = pattern[at.side === "query" ? at.at * n + i : i * n + at.at] / 65535;
        if (p >= LEAST) ink.rect(start + head * bar, TOP + i * row + 1, bar - 1, row - 2, { fill: color(head), opacity: p });
      }
    }
    ink.rect(at.side === "query" ? 0.5 : right + gap - 3.5, TOP + at.at * row + 0.5, left - gap + 3, row - 1, { stroke: "accent" });
  }

  const pinned = () => (lab.state.query === null ? null : { side: "query", at: lab.state.query });

  function hit(x, y) {
    if (!place) return null;
    const at = Math.floor((y - TOP) / place.row);
    if (at < 0 || at >= place.n) return null;
    return x < place.left ? { side: "query", at } : x > place.right ? { side: "key", at } : null;
  }

  function readout(target) {
    const at = target ?? pinned();
    const { shown } = attention;
    if (!at || !shown || at.at >= shown.header.n) return "Point at a token to see its lines alone. Lines under 0.04 are not drawn.";
    const { n, heads } = shown.header;
    const off = hidden();
    const found = [];
    for (let head = 0; head < heads; head++) {
      if (off.has(head)) continue;
      const pattern = shown.pattern(layerOf(), head);
      const row = Array.from({ length: n }, (_, i) => pattern[at.side === "query" ? at.at * n + i : i * n + at.at] / 65535);
      const best = row.indexOf(Math.max(...row));
      found.push(`H${head} ‘${labels[best]}’ ${lab.number(row[best])}`);
    }
    return `‘${labels[at.at]}’ ${at.side === "query" ? "looks most at" : "is looked at most by"} ${found.join(", ") || "nothing shown"}`;
  }

  function csv() {
    const { header, pattern } = attention.shown;
    const rows = [["layer", "head", "query", "key", "query token", "key token", "probability"]];
    for (let head = 0; head < header.heads; head++) {
      pattern(layerOf(), head).forEach((value, i) => {
        const [query, key] = [Math.floor(i / header.n), i % header.n];
        if (value) rows.push([layerOf(), head, query, key, header.tokens[query], header.tokens[key], (value / 65535).toFixed(6)]);
      });
    }
    return rows;
  }

  const fig = lab.figure(root, {
    title: () => `Token to token · layer ${layerOf()}`,
    about: "Each line goes from a token that asks to one it looks at, as strong as the probability.",
    label: "Lines from query tokens to key tokens",
    caption: () => (attention.shown ? attention.caption(`blocks.${layerOf()}.attn.hook_pattern`) : ""),
    filename: () => `${attention.shown.header.run}-step-${attention.shown.step}-L${layerOf()}-arcs`,
    draw,
    over,
    hit,
    readout,
    csv,
    click: ({ at, side }) => {
      const [layer, head] = [layerOf(), lab.state.head ?? 0];
      const key = side === "key" ? at : (lab.state.key ?? at);
      const query = side === "query" ? at : (lab.state.query ?? at);
      lab.set({ layer, head, query, key });
    },
    leave: () => lab.set({ query: null, key: null }),
  });

  // -- controls --------------------------------------------------------------------------------------

  const layers = lab.el("div", { class: "kit-segments", role: "group", "aria-label": "Layer" });
  const swatches = lab.el("div", { class: "arc-heads", role: "group", "aria-label": "Heads: click to hide, double-click to see alone" });
  fig.controls.append(
    lab.el("div", { class: "kit-choice" }, lab.el("span", { class: "kit-label" }, "Layer"), layers),
    swatches,
    lab.el("span", { class: "kit-label" }, "click: hide · double-click: alone"),
  );

  function build() {
    const { layers: depth = 0, heads = 0 } = attention.shown?.header ?? {};
    if (layers.childElementCount !== depth) layers.replaceChildren(...Array.from({ length: depth }, (_, layer) => layerButton(layer)));
    if (swatches.childElementCount !== heads) swatches.replaceChildren(...Array.from({ length: heads }, (_, head) => swatch(head)));
    [...layers.children].forEach((button, layer) => button.setAttribute("aria-pressed", String(layer === layerOf())));
    const off = hidden();
    [...swatches.children].forEach((button, head) => {
      button.setAttribute("aria-pressed", String(!off.has(head)));
      const kind = attention.kindOf(layerOf(), head)?.kind;
      button.lastChild.textContent = kind ? `H${head} ${attention.shortKind(kind)}` : `H${head}`;
    });
  }

  const layerButton = (layer) =>
    lab.el("button", { type: "button", onclick: () => lab.set({ layer, head: lab.state.head ?? 0 }) }, String(layer));

  function swatch(head) {
    const dot = lab.el("i", { "aria-hidden": "true" });
    dot.style.background = `var(--${color(head)})`;
    const act = { onclick: () => toggle(head), ondblclick: () => solo(head) };
    return lab.el("button", { type: "button", class: "arc-head", ...act }, dot, lab.el("span", {}));
  }

  function refresh() {
    build();
    fig.paint();
  }

  const soon = sight.when(refresh);
  attention.on(() => (fig.element.hidden = !attention.shown));
  attention.on(soon);
  attention.kinds().on(sight.when(build));
  lab.on(["layer", "head"], soon);
  lab.on(["query"], () => fig.point());
  lab.choices.on([HIDDEN], soon);
});
