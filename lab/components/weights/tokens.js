/* Tokens as points: a map of their embeddings, one of them chosen, and what lies nearest to it. */
lab.component("weights-tokens", (root) => {
  "use strict";

  const { weights } = lab;
  const [VIEW, AXES] = ["weights.view", "weights.axes"];
  const [NEAR, CLOSE, GROW] = [9, 90, 1.6]; // px to a point; points below which all are labelled; a step of zoom
  const SMALL = { size: 11, color: "ink-2" };
  const KINDS = [
    ["begins a word", "accent", /^ .*[\p{L}\p{N}]/u],
    ["goes on with one", "run-b", /^[\p{L}\p{N}']+$/u],
    ["a mark or a space", "surgery", /^(?!<\||⟨)/u],
    ["a byte or special", "reference", /./u],
  ];
  const METHODS = { pca: "PCA", tsne: "t-SNE", umap: "UMAP" };
  const pca = weights.ask("embedding");
  const slow = weights.ask("embedding-drawn");
  const near = weights.ask("neighbours");

  // -- the token box ---------------------------------------------------------------------------------

  const list = lab.el("datalist", { id: "weights-words" });
  const box = lab.el("input", { class: "weights-box", list: "weights-words", autocomplete: "off", spellcheck: "false", "aria-label": "Token" });
  const told = lab.el("span", { class: "caption", role: "status" });
  const form = lab.el("form", { class: "weights-token", onsubmit: submit }, lab.el("label", {}, lab.el("span", { class: "kit-label" }, "token"), box), told);
  const grid = lab.el("div", { class: "kit-grid" });
  root.append(form, grid);
  lab.toggle(form, { name: weights.NAME.all, label: "also tokens that its training text never has", title: "Bytes and pieces of words that it has never met, about which its weights say little" });
  box.addEventListener("change", submit);

  function submit(event) {
    event.preventDefault();
    const words = lab.vocabulary() ?? [];
    const text = box.value;
    const same = (word) => word === text || lab.tokenText(word) === text;
    const found = [same, (word) => word === ` ${text.trim()}`].map((fits) => words.findIndex(fits)).find((id) => id >= 0);
    if (found === undefined) {
      const begins = words.filter((word) => text.trim() && word.trim().startsWith(text.trim())).slice(0, 6);
      told.textContent = `“${text}” is no single token of this run${begins.length ? `; there are ${begins.map(lab.tokenText).join(" ")}` : ""}.`;
      return;
    }
    told.textContent = "";
    weights.choose(found);
    box.value = lab.tokenText(words[found]);
  }

  let listed = null;

  function showToken() {
    const words = lab.vocabulary();
    if (!words) return;
    if (listed !== words) {
      listed = words;
      list.replaceChildren(...words.filter((word) => !word.startsWith("⟨")).map((word) => lab.el("option", { value: lab.tokenText(word) })));
    }
    if (!list.isConnected) root.append(list);
    const writing = document.activeElement === box || told.textContent;
    if (!writing) box.value = lab.tokenText(words[weights.token()]);
  }

  // -- where points are --------------------------------------------------------------------------------

  const source = () => (weights.method() === "pca" ? pca.shown : slow.shown);
  const axes = () => (weights.method() === "pca" ? lab.choices.get(AXES, ["0.1", "0.2", "1.2"]).split(".").map(Number) : [0, 1]);

  let place = null; // where points are drawn: {ids, at(id) -> [x, y], scale, …}

  /* The view: the middle of what is seen, in the map's own units, and how far it is zoomed in. */
  function view() {
    const [x, y, zoom] = (lab.choices.get(VIEW) ?? "").split(",").map(Number);
    return [x, y, zoom].every(Number.isFinite) && zoom >= 1 && zoom <= 200 ? { x, y, zoom } : null;
  }

  function look(next) {
    const zoom = Math.min(200, next?.zoom ?? 1);
    lab.choices.set(VIEW, zoom <= 1 ? null : [next.x, next.y].map((each) => each.toPrecision(4)).concat(zoom.toFixed(2)).join(","));
  }

  function measure(width) {
    const { data } = source().arrays.points;
    const ids = source().arrays.ids.data;
    const rows = new Map(Array.from(ids, (id, row) => [id, row]));
    const [a, b] = axes();
    const count = ids.length;
    const ends = (axis) => {
      let [low, high] = [Infinity, -Infinity];
      for (let i = 0; i < count; i++) {
        low = Math.min(low, data[3 * i + axis]);
        high = Math.max(high, data[3 * i + axis]);
      }
      return [low, high];
    };
    const [[x0, x1], [y0, y1]] = [ends(a), ends(b)];
    const [left, top] = [34, 26];
    const w = width - left - 8;
    const shape = Math.min(1, Math.max(0.6, (y1 - y0) / (x1 - x0) || 1)); // as wide and high as the map itself
    const h = Math.max(260, Math.min(w, 520) * shape);
    const now = view() ?? { x: (x0 + x1) / 2, y: (y0 + y1) / 2, zoom: 1 };
    const scale = now.zoom * Math.min(w / (1.06 * (x1 - x0) || 1), h / (1.06 * (y1 - y0) || 1)); // the same on both axes
    const at = (id) => {
      const row = 3 * rows.get(id);
      return [left + w / 2 + (data[row + a] - now.x) * scale, top + h / 2 - (data[row + b] - now.y) * scale];
    };
    const numbers = (id) => axes().map((axis) => data[3 * rows.get(id) + axis]);
    return { ...now, ids, has: (id) => rows.has(id), numbers, at, scale, left, top, w, h, middle: [left + w / 2, top + h / 2] };
  }

  function kindOf(word) {
    const found = KINDS.findIndex(([, , pattern]) => pattern.test(word));
    return found < 0 ? KINDS.length - 1 : found;
  }

  // -- drawing -----------------------------------------------------------------------------------------

  function draw(ink, width) {
    if (!source()) return waiting(ink, width);
    place = measure(width);
    const { left, top, w, h, ids, at } = place;
    let x = 0;
    for (const [name, color] of KINDS) {
      const size = 14 + lab.ink.measure(name, SMALL);
      if (x + size > width) break;
      ink.circle(x + 4, 8, 3, { fill: color });
      ink.text(x + 11, 8, name, SMALL);
      x += size + 14;
    }
    ink.rect(left - 0.5, top - 0.5, w + 1, h + 1, { stroke: "hairline" });
    const words = lab.vocabulary();
    const inside = [];
    ink.clip(left, top, w, h, () => {
      for (const id of ids) {
        const [px, py] = at(id);
        if (px < left - 4 || px > left + w + 4 || py < top - 4 || py > top + h + 4) continue;
        inside.push(id);
        ink.circle(px, py, place.zoom > 3 ? 3 : 2.2, { fill: KINDS[kindOf(words?.[id] ?? "")][1], opacity: 0.75 });
      }
      if (inside.length < CLOSE) labels(ink, inside);
      else labels(ink, marked());
    });
    const [first, second] = axisNames();
    ink.text(left + w / 2, top + h + 8, first, { ...SMALL, align: "center", baseline: "top", max: w });
    ink.text(10, top + h / 2, second, { ...SMALL, align: "center", rotate: -90, max: h });
    return top + h + 26;
  }

  function waiting(ink, width) {
    ink.text(width / 2, 60, slow.problem ?? `drawing the map by ${METHODS[weights.method()]} …`, { align: "center", color: slow.problem ? "danger" : "ink-2", max: width });
    return 120;
  }

  function axisNames() {
    if (weights.method() !== "pca") return [`${METHODS[weights.method()]} 1 →`, `${METHODS[weights.method()]} 2 →`];
    const { data } = pca.shown.arrays.explained;
    return axes().map((axis) => `component ${axis + 1} (${lab.number(100 * data[axis])}% of the variance) →`);
  }

  /* The chosen token and its nearest. */
  function marked() {
    const chosen = weights.token();
    const rest = near.shown && near.shown.facts.token === chosen ? Array.from(near.shown.arrays.ids.data).slice(0, 8) : [];
    return chosen === null ? [] : [chosen, ...rest].filter(place.has);
  }

  /* Names beside points, those that come first; one that would lie on another is left out. */
  function labels(ink, ids) {
    const taken = [];
    for (const id of ids) {
      const [px, py] = place.at(id);
      const text = lab.word(id);
      const size = lab.ink.measure(text, { size: 11, mono: true });
      const box = [px + 5, py - 7, px + 7 + size, py + 7];
      if (taken.some((other) => box[0] < other[2] && box[2] > other[0] && box[1] < other[3] && box[3] > other[1])) continue;
      taken.push(box);
      ink.rect(px + 5, py - 7, size + 3, 14, { fill: "paper", opacity: 0.75, radius: 2 });
      ink.text(px + 6, py, text, { size: 11, mono: true });
    }
  }

  function over(ink) {
    if (!source() || !place) return;
    const { left, top, w, h } = place;
    ink.clip(left, top, w, h, () => {
      for (const id of marked()) {
        const chosen = id === weights.token();
        ink.circle(...place.at(id), chosen ? 6 : 4.5, { stroke: "ink", width: chosen ? 2 : 1 });
      }
      if (fig.target === null) return;
      const [x, y] = place.at(fig.target);
      const text = lab.word(fig.target);
      const size = lab.ink.measure(text, { mono: true, weight: 700 });
      const start = Math.min(x + 8, left + w - size - 6);
      ink.circle(x, y, 5, { stroke: "accent", width: 2 });
      ink.rect(start - 3, y - 9, size + 6, 18, { fill: "paper", stroke: "accent", radius: 3 });
      ink.text(start, y, text, { mono: true, weight: 700, color: "accent" });
    });
  }

  function hit(x, y) {
    if (!place || !source() || dragged) return null;
    let [best, least] = [null, NEAR ** 2];
    for (const id of place.ids) {
      const [px, py] = place.at(id);
      const distance = (px - x) ** 2 + (py - y) ** 2;
      if (distance < least) [best, least] = [id, distance];
    }
    return best;
  }

  function readout(id) {
    if (id === null) return "Point at a token; a click chooses it. Drag to move; Ctrl and the wheel, or the buttons, to zoom.";
    return `‘${lab.word(id)}’ (token ${lab.count(id)}) at ${place.numbers(id).map(lab.signed).join(", ")}`;
  }

  const csv = () => {
    const { ids, points } = source().arrays;
    return [["id", "token", "component 1", "component 2", "component 3"], ...Array.from(ids.data, (id, row) => [id, lab.word(id), ...points.data.slice(3 * row, 3 * row + 3)])];
  };

  const fig = lab.figure(grid, {
    title: "The tokens",
    about: "Each token is a vector that the model learned; tokens that are used alike come to lie together.",
    question: pca,
    label: "Map of the token embeddings; arrow keys go through the chosen token's neighbours, Enter chooses",
    draw,
    over,
    hit,
    readout,
    csv,
    caption: () => (weights.method() === "pca" ? pca : slow.shown ? slow : pca).caption(`embed.W_E · ${METHODS[weights.method()]}`),
    click: (id) => weights.choose(id),
    move: ([right, down]) => {
      const ids = marked();
      if (ids.length) fig.aim(ids[(ids.indexOf(fig.target) + right + down + ids.length) % ids.length]);
    },
  });

  const installed = () => pca.shown?.facts.methods ?? ["pca"];
  const methods = lab.choice(fig.controls, { name: weights.NAME.method, label: "map", values: () => installed().map((name) => [name, METHODS[name]]) });
  const chosenAxes = lab.choice(fig.controls, { name: AXES, label: "components", values: [["0.1", "1 and 2"], ["0.2", "1 and 3"], ["1.2", "2 and 3"]] });
  const zoomButton = (text, name, by) => lab.el("button", { type: "button", class: "plain", "aria-label": name, onclick: () => zoom(by, place?.middle) }, text);
  fig.controls.append(
    lab.el("span", { class: "weights-zoom" }, zoomButton("+", "Zoom in", GROW), zoomButton("−", "Zoom out", 1 / GROW), lab.el("button", { type: "button", class: "plain", onclick: () => look(null) }, "All")),
  );

  // -- zoom and drag -----------------------------------------------------------------------------------

  const plot = fig.element.querySelector(".kit-plot");
  let held = null;
  let dragged = false;

  /* What lies at (px, py) stays there. */
  function zoom(by, [px, py]) {
    if (!place) return;
    const { x, y, scale, middle } = place;
    const [dx, dy] = [(px - middle[0]) / scale, (middle[1] - py) / scale];
    look({ x: x + dx * (1 - 1 / by), y: y + dy * (1 - 1 / by), zoom: place.zoom * by });
  }

  plot.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    const box = plot.getBoundingClientRect();
    zoom(event.deltaY < 0 ? 1.25 : 0.8, [event.clientX - box.left, event.clientY - box.top]);
  }, { passive: false });
  plot.addEventListener("dblclick", () => look(null));
  plot.addEventListener("pointerdown", (event) => {
    if (!place || place.zoom <= 1 || event.button !== 0) return;
    held = { x: event.clientX, y: event.clientY, from: { x: place.x, y: place.y, zoom: place.zoom }, scale: place.scale };
  });
  plot.addEventListener("pointermove", (event) => {
    if (!held) return;
    const [dx, dy] = [event.clientX - held.x, event.clientY - held.y];
    if (!dragged && Math.hypot(dx, dy) < 4) return;
    if (!dragged) plot.setPointerCapture(event.pointerId);
    dragged = true;
    look({ x: held.from.x - dx / held.scale, y: held.from.y + dy / held.scale, zoom: held.from.zoom });
  });
  for (const end of ["pointerup", "pointercancel"]) {
    plot.addEventListener(end, () => {
      held = null;
      setTimeout(() => (dragged = false)); // the click that ends a drag chooses nothing
    });
  }

  // -- the nearest -------------------------------------------------------------------------------------

  lab.bars(grid, {
    title: () => (near.shown ? `Nearest to ‘${lab.tokenText(near.shown.facts.words[near.shown.facts.token])}’` : "The nearest"),
    about: "By the angle between the vectors: 1 is the same direction, 0 a right angle.",
    question: near,
    unit: "cosine",
    mono: true,
    signed: false,
    max: 1,
    data: () => weights.pairs(near.shown, "ids", "cosine", (word) => word),
    click: ({ ids }) => weights.choose(ids[0]),
    caption: () => near.caption("embed.W_E"),
  });

  function refresh() {
    methods.refresh();
    chosenAxes.element.hidden = weights.method() !== "pca";
    showToken();
    if (pca.shown) fig.paint();
  }

  pca.on(refresh);
  slow.on(refresh);
  near.on(() => pca.shown && fig.paint());
  lab.on(["vocabulary"], refresh);
  lab.choices.on([weights.NAME.token], () => {
    told.textContent = "";
    box.value = lab.word(weights.token());
  });
  lab.choices.on([VIEW, AXES, ...Object.values(weights.NAME)], refresh);
});
