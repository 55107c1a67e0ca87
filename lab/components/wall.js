/* The wall: every layer's heads as thumbnails, a row for each layer. Hover previews a head, a click pins it. */
lab.component("wall", (root) => {
  "use strict";

  const NO_RUN = "There is no run to look at yet: train one on the Train page.";
  const NO_STEP = "This run has no checkpoint yet; its first is on its way.";
  const { attention } = lab;
  const grid = lab.el("div", { class: "grid", role: "group", "aria-label": "All heads; arrow keys move, Enter pins" });
  const status = lab.el("p", { class: "caption status" });
  const caption = lab.el("p", { class: "caption" });
  const save = lab.el("button", { type: "button", class: "plain", onclick: savePng }, "Save PNG");
  const foot = lab.el("div", { class: "foot" }, lab.el("div", {}, caption, status), save);
  root.append(lab.legend(), grid, foot);

  let shape = "";
  let thumbs = []; // {layer, head, button, ink}
  let image = null;

  // -- building --------------------------------------------------------------------------------------

  function build(layers, heads) {
    shape = `${layers}x${heads}`;
    grid.style.setProperty("--heads", heads);
    grid.replaceChildren(lab.el("span", {}));
    for (let head = 0; head < heads; head++) grid.append(lab.el("span", { class: "axis" }, `H${head}`));
    thumbs = [];
    for (let layer = 0; layer < layers; layer++) {
      grid.append(lab.el("span", { class: "axis" }, `L${layer}`));
      for (let head = 0; head < heads; head++) grid.append(thumb(layer, head));
    }
    mark();
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
    button.append(canvas);
    thumbs.push({ layer, head, button, canvas, ink: canvas.getContext("2d") });
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

  // -- painting --------------------------------------------------------------------------------------

  function paint() {
    const { shown, problem } = attention;
    const run = lab.run();
    root.classList.toggle("waiting", !shown);
    if (run?.n_layers && shape !== `${run.n_layers}x${run.n_heads}`) build(run.n_layers, run.n_heads);
    if (shown) {
      const { header } = shown;
      if (image?.width !== header.n) image = new ImageData(header.n, header.n);
      for (const { layer, head, canvas, ink } of thumbs) {
        if (canvas.width !== header.n) canvas.width = canvas.height = header.n;
        lab.color.paintAttention(image, shown.pattern(layer, head));
        ink.putImageData(image, 0, 0);
      }
      grid.classList.toggle("future", attention.seesFuture());
      root.dataset.painted = JSON.stringify([header.run, shown.step, header.prompt]);
    }
    caption.textContent = shown ? attention.caption("blocks.*.attn.hook_pattern") : "";
    const trouble = problem ?? run?.error;
    status.textContent = trouble ?? (shown ? progress() : waiting(run));
    status.classList.toggle("trouble", Boolean(trouble));
    save.hidden = !shown;
    root.dataset.have = attention.progress().have;
  }

  const waiting = (run) => (!run ? NO_RUN : run.steps.length ? "computing …" : NO_STEP);

  function progress() {
    const { have, of } = attention.progress();
    return have < of ? `${have} of ${of} checkpoints are in the browser` : `all ${of} checkpoints are in the browser`;
  }

  // -- saving ----------------------------------------------------------------------------------------

  function savePng() {
    const { header } = attention.shown;
    const side = Math.max(96, header.n);
    const [left, top, gap] = [28, 20, 6];
    const width = left + header.heads * (side + gap);
    const picture = lab.picture(width, top + header.layers * (side + gap), caption.textContent);
    const { ink } = picture;
    ink.font = `12px ${lab.css("--ui")}`;
    ink.imageSmoothingEnabled = false;
    for (const { layer, head, canvas } of thumbs) {
      const [x, y] = [left + head * (side + gap), top + layer * (side + gap)];
      ink.fillStyle = lab.css("--ink-2");
      if (layer === 0) ink.fillText(`H${head}`, x, top - 6);
      if (head === 0) ink.fillText(`L${layer}`, 0, y + side / 2 + 4);
      ink.drawImage(canvas, x, y, side, side);
      ink.strokeStyle = lab.css("--hairline");
      ink.strokeRect(x + 0.5, y + 0.5, side - 1, side - 1);
      if (attention.seesFuture()) drawDiagonal(ink, x, y, side);
    }
    picture.save(`${attention.filename()}-heads.png`);
  }

  function drawDiagonal(ink, x, y, side) {
    ink.strokeStyle = lab.css("--surgery");
    ink.beginPath();
    ink.moveTo(x, y);
    ink.lineTo(x + side, y + side);
    ink.stroke();
  }

  lab.onReady(paint);
  attention.on(paint);
  attention.onSelect(mark);
  lab.onTheme(paint);
});
