/* The wall: every layer's heads as thumbnails, a row for each layer, with what kind of head each is. Hover previews a
   head, a click pins it. */
lab.component("wall", (root) => {
  "use strict";

  const NO_RUN = "There is no run to look at yet: train one on the Train page.";
  const NO_STEP = "This run has no checkpoint yet; its first is on its way.";
  const { attention } = lab;
  const grid = lab.el("div", { class: "grid", role: "group", "aria-label": "All heads; arrow keys move, Enter pins" });
  const status = lab.el("p", { class: "caption status" });
  const caption = lab.el("p", { class: "caption" });
  const save = lab.saves({ PNG: () => paper().png(filename()), SVG: () => paper().svg(filename()), NPZ: attention.saveNpz });
  const foot = lab.el("div", { class: "foot" }, lab.el("div", {}, caption, status), save);
  const legend = lab.el("canvas", { class: "legend", role: "img" });
  lab.choice(root, { name: "attention.show", label: "Show", values: attention.SHOWN });
  root.append(legend, grid, foot);

  let shape = ""; // layers and columns of the thumbnails
  let model = ""; // layers and heads of the run they were made for
  let thumbs = []; // {layer, head, button, canvas, ink, badge}
  let image = null;

  // -- building --------------------------------------------------------------------------------------

  /* As many thumbnails as there is to show; while that is not known, those that are there, or the run's heads. */
  function fit({ n_layers: layers, n_heads: heads }, columns) {
    if (!columns && model === `${layers}x${heads}`) return;
    model = `${layers}x${heads}`;
    columns ??= Array.from({ length: heads }, (_, head) => `H${head}`);
    const wanted = JSON.stringify([layers, columns]);
    if (shape === wanted) return;
    shape = wanted;
    build(layers, columns, heads);
  }

  function build(layers, columns, heads) {
    grid.style.setProperty("--heads", columns.length);
    // Thumbnails of fewer columns than heads are as large as those of the heads.
    grid.style.maxWidth = columns.length < heads ? `${Math.max(40, (100 * columns.length) / heads)}%` : "";
    grid.replaceChildren(lab.el("span", {}), ...columns.map((name) => lab.el("span", { class: "axis" }, name)));
    thumbs = [];
    for (let layer = 0; layer < layers; layer++) {
      grid.append(lab.el("span", { class: "axis" }, `L${layer}`), ...columns.map((_, head) => thumb(layer, head)));
    }
    mark();
    showKinds();
  }

  function thumb(layer, head) {
    const canvas = lab.el("canvas");
    const button = lab.el("button", {
      type: "button",
      class: "thumb",
      tabindex: -1,
      "aria-label": `Layer ${layer}, head ${head}`,
      onclick: () => pin(layer, head),
      onpointerenter: (event) => event.pointerType === "mouse" && attention.preview([layer, head]),
      onpointerleave: () => attention.preview(null),
      onfocus: () => button.matches(":focus-visible") && attention.preview([layer, head]),
      onblur: () => attention.preview(null),
      onkeydown: (event) => walk(event, layer, head),
    });
    const badge = lab.el("span", { class: "badge" });
    button.append(canvas, badge);
    thumbs.push({ layer, head, button, canvas, badge, ink: canvas.getContext("2d") });
    return button;
  }

  function pin(layer, head) {
    const pinned = lab.state.layer === layer && lab.state.head === head;
    lab.set(pinned ? { layer: null, head: null } : { layer, head });
  }

  function walk(event, layer, head) {
    const steps = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
    if (event.key === "Escape") return lab.set({ layer: null, head: null });
    if (!steps[event.key]) return;
    event.preventDefault();
    const [down, right] = steps[event.key];
    thumbs.find((each) => each.layer === layer + down && each.head === head + right)?.button.focus();
  }

  /* Which one is large: pinned by a click, or shown as long as nothing else is. One thumbnail is in the tab order. */
  function mark() {
    const [layer, head] = attention.selected();
    const pinned = lab.state.layer !== null;
    for (const each of thumbs) {
      const large = each.layer === layer && each.head === head;
      each.button.classList.toggle("large", large);
      each.button.setAttribute("aria-pressed", String(large && pinned));
      each.button.tabIndex = each.layer === (lab.state.layer ?? 0) && each.head === (lab.state.head ?? 0) ? 0 : -1;
    }
  }

  /* What kind of head each is, in a corner of its thumbnail. */
  function showKinds() {
    const heads = attention.chosen() !== "rollout";
    for (const { layer, head, badge, button } of thumbs) {
      const found = heads ? attention.kindOf(layer, head) : null;
      badge.textContent = found?.kind ? attention.shortKind(found.kind) : "";
      button.title = found ? attention.kindInWords(layer, head) : "";
    }
    count();
  }

  // -- painting --------------------------------------------------------------------------------------

  function paint() {
    const picture = attention.picture();
    const run = lab.run();
    root.classList.toggle("waiting", !picture);
    if (run?.n_layers) fit(run, picture?.columns);
    if (picture) {
      const { header, n } = picture;
      if (image?.width !== n) image = new ImageData(n, n);
      for (const { layer, head, canvas, ink } of thumbs) {
        if (canvas.width !== n) canvas.width = canvas.height = n;
        picture.paint(image, picture.values(layer, head));
        ink.putImageData(image, 0, 0);
      }
      grid.classList.toggle("future", attention.seesFuture());
      grid.classList.toggle("holes", picture.name === "scores");
      root.dataset.painted = JSON.stringify([header.run, picture.step, header.prompt]);
      drawLegend(picture);
    }
    caption.textContent = picture ? picture.caption(picture.everywhere) : "";
    const trouble = attention.trouble() ?? run?.error;
    status.textContent = trouble ?? (picture ? progress() : waiting(run));
    status.classList.toggle("trouble", Boolean(trouble));
    save.hidden = !picture;
    count();
  }

  let drawn = ""; // what the legend shows

  function drawLegend({ name, scale, max, unit }) {
    const next = JSON.stringify([name, max, lab.isDark()]);
    if (next === drawn) return;
    drawn = next;
    const [width, height] = [Math.min(420, root.clientWidth || 420), scale === "signed" ? 28 : 20];
    legend.style.cssText = `width:${width}px;height:${height}px`;
    lab.drawScale(lab.ink.onCanvas(legend, width, height), 0, 4, { scale, max, unit, none: name === "scores" });
    legend.setAttribute("aria-label", `Colours: ${unit}, up to ${lab.number(max)}`);
  }

  /* How many checkpoints are in the browser with all that is drawn here. */
  function count() {
    root.dataset.have = Math.min(attention.have().have, attention.kinds().progress().have);
  }

  const waiting = (run) => (!run ? NO_RUN : run.steps.length ? "computing …" : NO_STEP);

  function progress() {
    const { have, of } = attention.have();
    return have < of ? `${have} of ${of} checkpoints are in the browser` : `all ${of} checkpoints are in the browser`;
  }

  // -- saving ----------------------------------------------------------------------------------------

  const filename = () => `${attention.filename()}-heads`;

  function paper() {
    const { n, layers, columns } = attention.picture();
    const side = Math.max(96, n);
    const [left, top, gap] = [28, 20, 6];
    function draw(ink) {
      for (const { layer, head, canvas, ink: thumb } of thumbs) {
        const [x, y] = [left + head * (side + gap), top + layer * (side + gap)];
        if (layer === 0) ink.text(x, 8, columns[head], { color: "ink-2" });
        if (head === 0) ink.text(0, y + side / 2, `L${layer}`, { color: "ink-2" });
        ink.image(x, y, side, side, thumb.getImageData(0, 0, canvas.width, canvas.height));
        ink.rect(x + 0.5, y + 0.5, side - 1, side - 1, { stroke: "hairline" });
        if (attention.seesFuture()) ink.line(x, y, x + side, y + side, { stroke: "surgery" });
      }
    }
    const [width, height] = [left + columns.length * (side + gap), top + layers * (side + gap)];
    return lab.paper({ width, height, words: [caption.textContent], draw });
  }

  lab.onReady(paint);
  attention.onPicture(paint);
  attention.onSelect(mark);
  attention.kinds().on(showKinds);
  lab.onTheme(paint);
});
