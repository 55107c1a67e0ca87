/* The shape: a sentence of what it costs, and a slider for each size with lines of how cost grows along it. */
lab.component("machine-shape", (root) => {
  "use strict";

  const { machine } = lab;
  const { q, ops } = machine.ask();
  const STEPS = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64];
  const powers = (from, to) => Array.from({ length: Math.log2(to / from) + 1 }, (_, i) => from * 2 ** i);
  const SLIDERS = [
    { name: "n_layers", label: "depth", unit: "layers", values: () => [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48] },
    { name: "d_model", label: "width", unit: "d_model", values: ({ n_heads }) => STEPS.map((k) => 16 * n_heads * k) },
    { name: "n_heads", label: "heads", unit: "a layer", values: ({ d_model }) => STEPS.filter((n) => d_model % n === 0) },
    { name: "d_mlp", label: "MLP width", unit: "d_mlp", values: () => [32, 64, 128, 256, 512, 768, 1024, 2048, 4096, 8192, 16384] },
    { name: "context", label: "context", unit: "tokens", values: () => powers(16, 8192) },
    { name: "batch", label: "batch", unit: "rows", values: () => powers(1, 1024) },
    { name: "vocab_size", label: "vocabulary", unit: "tokens", values: () => powers(64, 65536) },
  ];
  const LINES = [
    ["parameters", "accent", []],
    ["bytes at the fullest", "run-b", [5, 3]],
    ["operations", "ink", [1.5, 2.5]],
  ];
  const HELD = {
    weights: "weights",
    steps: "optimizer state",
    forward: "kept from the forward pass for the backward pass",
    backward: "gradients",
    cache: "cached keys and values",
  };
  const [HEIGHT, EDGE] = [64, 7]; // px of a small chart; half a thumb, so that lines stand above the slider's values

  // -- parts -----------------------------------------------------------------------------------------

  const sentence = lab.el("p", { class: "machine-sentence", "aria-live": "polite" });
  const status = lab.el("p", { class: "caption" });
  const bar = lab.el("div", { class: "kit-controls" });
  lab.choice(bar, { name: "machine.mode", label: "Doing", values: [["training", "Training"], ["inference", "Reading a text"]] });
  const back = lab.el("button", { type: "button", class: "plain", onclick: machine.forget }, "Back to the run’s shape");
  bar.append(back);
  const legend = lab.el("p", { class: "caption" });
  const grid = lab.el("div", { class: "machine-sliders" });
  const save = (name, make) => lab.el("button", { type: "button", class: "kit-save", onclick: make }, name);
  const saves = lab.el("div", { class: "kit-saves", role: "group", "aria-label": "Save" }, lab.el("span", {}, "Save"));
  saves.append(save("PNG", savePng), save("SVG", saveSvg), save("CSV", saveCsv));
  root.append(bar, sentence, status, legend, grid, saves);

  const parts = SLIDERS.map((slider) => {
    const range = lab.el("input", { type: "range", min: 0, max: 1, step: "any", "aria-label": slider.label });
    const reading = lab.el("output", {});
    const canvas = lab.el("canvas", { class: "machine-growth", role: "img" });
    const head = lab.el("div", { class: "machine-head" }, lab.el("span", { class: "kit-label" }, slider.label), reading);
    grid.append(lab.el("div", { class: "machine-slider" }, head, canvas, range));
    const part = { ...slider, range, reading, canvas, legal: [] };
    range.addEventListener("input", () => choose(part, nearest(part, Number(range.value))));
    range.addEventListener("keydown", (event) => step(part, event));
    return part;
  });

  // -- the hand --------------------------------------------------------------------------------------

  /* Where a value stands on its slider, 0 to 1: its logarithm. */
  const place = ({ legal }, value) => Math.log(value / legal[0]) / Math.log(legal.at(-1) / legal[0]) || 0;

  const nearest = (part, at) =>
    part.legal.reduce((best, each) => (Math.abs(place(part, each) - at) < Math.abs(place(part, best) - at) ? each : best));

  function choose({ name }, value) {
    machine.reshape(q.shown.facts, { [name]: value });
    show(); // the thumb goes to the value, though it may be the old one
  }

  function step(part, event) {
    const move = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, Home: -Infinity, End: Infinity }[event.key];
    if (!move) return;
    event.preventDefault();
    const at = part.legal.indexOf(machine.shape(q.shown.facts)[part.name]) + move;
    choose(part, part.legal[Math.max(0, Math.min(part.legal.length - 1, at))]);
  }

  // -- what it costs ---------------------------------------------------------------------------------

  const training = () => q.shown.facts.setting.mode === "training";

  /* [parameters, bytes, operations] */
  function costs(size) {
    const { groups, peak } = machine.memory(q.shown.facts, size);
    const { forward, backward } = machine.operations(ops.shown.facts, size);
    return [groups.parameters / 4, peak, training() ? forward + backward : forward];
  }

  function show() {
    const ready = q.shown && ops.shown;
    for (const each of [sentence, legend, grid, saves]) each.hidden = !ready;
    const trouble = q.problem ?? ops.problem;
    status.textContent = trouble ?? (ready ? "" : lab.run()?.steps.length ? "computing …" : "This run has no checkpoint yet.");
    back.hidden = true;
    if (!ready) return;
    const size = machine.shape(q.shown.facts);
    const mine = machine.own(q.shown.facts);
    back.hidden = machine.SIZES.every((name) => size[name] === mine[name]);
    sentence.replaceChildren(...words(size, back.hidden));
    const keys = LINES.map(([name, color, dash]) => lab.el("span", { class: "machine-key" }, swatch(color, dash), name));
    legend.replaceChildren(...keys, "Each line is a multiple of what the shape costs now; both axes are logarithmic.");
    for (const part of parts) paint(part, size);
    root.dataset.painted = JSON.stringify(size);
  }

  function swatch(color, dash) {
    const canvas = lab.el("canvas", { class: "machine-swatch", "aria-hidden": "true" });
    lab.ink.onCanvas(canvas, 24, 10).line(0, 5, 24, 5, { stroke: color, width: 2, dash });
    return canvas;
  }

  function words(size, itself) {
    const { facts, header } = q.shown;
    const { groups, phases, peak, fullest } = machine.memory(facts, size);
    const { bytes, many } = machine;
    const rows = `${lab.count(size.batch)} ${size.batch === 1 ? "row" : "rows"} of ${lab.count(size.context)} tokens`;
    const held = facts.moments[fullest].filter((phase) => phases[phase]);
    const list = held.map((phase) => `${bytes(phases[phase])} ${HELD[phase] ?? "for a moment"}`);
    const strong = (text) => lab.el("strong", {}, text);
    return [
      `${itself ? header.run : "This shape"} has `,
      strong(`${many(groups.parameters / 4)} parameters`),
      `. ${training() ? stepping(facts.setting, rows) : `Reading ${rows}`} takes `,
      strong(bytes(peak)),
      ` at its fullest, when ${fullest}: ${list.slice(0, -1).join(", ")} and ${list.at(-1)}`,
      `${training() ? absent(held, groups) : ""}.`,
    ];
  }

  const stepping = ({ optimizer, dtype }, rows) =>
    `A training step on ${rows} (${optimizer === "muon" ? "Muon and AdamW" : "AdamW"}, products in ${dtype})`;

  const absent = (held, { gradients, activations }) =>
    held.includes("forward")
      ? `; gradients, ${machine.bytes(gradients)}, come as activations go`
      : `; activations, ${machine.bytes(activations)}, are gone by then`;

  // -- how it grows ----------------------------------------------------------------------------------

  function paint(part, size) {
    const { name, range, reading, canvas, unit } = part;
    const mine = machine.own(q.shown.facts)[name];
    const own = name === "n_heads" && size.d_model % mine ? [] : [mine];
    part.legal = [...new Set([...part.values(size), ...own, size[name]])].sort((a, b) => a - b);
    const at = place(part, size[name]);
    range.value = at;
    range.style.setProperty("--range_progress", `${100 * at}%`);
    reading.textContent = `${lab.count(size[name])} ${unit}`;
    range.setAttribute("aria-valuetext", reading.textContent);

    const width = canvas.parentElement.clientWidth;
    if (!width) return;
    canvas.style.cssText = `width:${width}px;height:${HEIGHT}px`;
    const curves = grown(part, size);
    draw(lab.ink.onCanvas(canvas, width, HEIGHT), part, size, curves, width);
    canvas.setAttribute("aria-label", spoken(part, curves));
  }

  /* For each value of a slider the logarithms of what the three costs are multiplied with. */
  function grown({ name, legal }, size) {
    const now = costs(size);
    return legal.map((value) => costs({ ...size, [name]: value }).map((cost, i) => Math.log(cost / now[i])));
  }

  function draw(ink, part, size, curves, width) {
    const { name, legal } = part;
    const [low, high] = [Math.min(...curves.flat(), -0.1), Math.max(...curves.flat(), 0.1)];
    const x = (value) => EDGE + (width - 2 * EDGE) * place(part, value);
    const y = (log) => 6 + ((HEIGHT - 12) * (high - log)) / (high - low);
    ink.line(EDGE, y(0), width - EDGE, y(0), { stroke: "hairline" });
    ink.line(x(size[name]), 0, x(size[name]), HEIGHT, { stroke: "hairline" });
    LINES.forEach(([, color, dash], i) => {
      ink.path(legal.map((value, k) => [x(value), y(curves[k][i])]), { stroke: color, width: 1.75, dash });
    });
    ink.circle(x(size[name]), y(0), 2.5, { fill: "ink" });
    const last = legal.at(-1);
    const most = lab.number(Math.exp(Math.max(...curves.at(-1))));
    if (size[name] !== last) ink.text(EDGE, 8, `×${most} at ${lab.count(last)}`, { size: 11, color: "ink-2" });
  }

  const spoken = ({ legal, unit }, curves) =>
    `At ${lab.count(legal.at(-1))} ${unit}: ${LINES.map(([name], i) => `${name} times ${lab.number(Math.exp(curves.at(-1)[i]))}`).join(", ")}`;

  // -- files -----------------------------------------------------------------------------------------

  const filename = () => q.filename("growth");

  /* All sliders' lines in one picture, two in a row. */
  function compose(make) {
    const size = machine.shape(q.shown.facts);
    const [width, tall] = [320, HEIGHT + 32];
    const ink = make(2 * width + 48, Math.ceil(parts.length / 2) * tall + 72);
    ink.rect(0, 0, ink.width, ink.height, { fill: "paper" });
    parts.forEach((part, i) => {
      ink.translate(16 + (i % 2) * (width + 16), 16 + Math.floor(i / 2) * tall, () => {
        ink.text(0, 6, `${part.label}: ${lab.count(size[part.name])} ${part.unit}`, { size: 12 });
        ink.translate(0, 16, () => draw(ink, part, size, grown(part, size), width));
      });
    });
    let x = 16;
    for (const [name, color, dash] of LINES) {
      ink.line(x, ink.height - 38, x + 24, ink.height - 38, { stroke: color, width: 2, dash });
      ink.text(x + 30, ink.height - 38, name, { size: 11, color: "ink-2" });
      x += 46 + ink.measure(name, { size: 11 });
    }
    ink.text(16, ink.height - 18, q.caption(), { size: 11, color: "ink-2", max: ink.width - 32 });
    return ink;
  }

  function savePng() {
    const canvas = document.createElement("canvas");
    compose((w, h) => lab.ink.onCanvas(canvas, w, h, 2));
    canvas.toBlob((blob) => lab.save(blob, `${filename()}.png`), "image/png");
  }

  function saveSvg() {
    lab.save(new Blob([compose(lab.ink.asSvg).toString()], { type: "image/svg+xml" }), `${filename()}.svg`);
  }

  function saveCsv() {
    const size = machine.shape(q.shown.facts);
    const rows = parts.flatMap(({ name, legal }) => legal.map((value) => [name, value, ...costs({ ...size, [name]: value })]));
    const text = [["size", "value", "parameters", "bytes", "operations"], ...rows].map((row) => row.join(",")).join("\n");
    lab.save(new Blob([text, "\n"], { type: "text/csv" }), `${filename()}.csv`);
  }

  q.on(show);
  ops.on(show);
  lab.choices.on(machine.changes, show);
  lab.onTheme(show);
  new ResizeObserver(show).observe(grid);
});
