/* The walk: which token, layer and head; all stages below each other; the stream beside them; the open arithmetic. */
lab.component("anatomy", (root) => {
  "use strict";

  const { anatomy } = lab;
  const ORDER = [
    ...["embedding", "position", "before", "norm1", "qkv", "scores", "mask", "softmax", "values", "output", "residual1"],
    ...["norm2", "up", "activation", "down", "residual2", "after", "final", "logits", "probabilities", "sample"],
  ];
  const STAGES = ORDER.map((id) => anatomy.parts[id]);
  const WALKED = STAGES.filter((stage) => !stage.fold);
  const LEGEND = 300; // px
  const NOTE = "Colours are full at the ± beside a strip: three times the root mean square of its numbers, or their largest.";
  /* The stage below which a number's arithmetic stands when an address opens it. */
  const HOMES = { embed: "embedding", pos_embed: "position", q: "qkv", k: "scores", scores: "scores", masked: "mask" };
  Object.assign(HOMES, { pattern: "softmax", v: "values", z: "values", result: "output", attn_out: "output" });
  Object.assign(HOMES, { resid_pre: "residual1", resid_mid: "residual1", mlp_pre: "up", mlp_post: "activation" });
  Object.assign(HOMES, { mlp_out: "down", resid_post: "residual2", logits: "logits", probabilities: "probabilities" });

  anatomy.start();
  const { q } = anatomy;
  const shown = () => q.shown;

  // -- which token, layer and head -------------------------------------------------------------------------

  const chips = lab.el("div", { class: "tokens kit-chips", role: "group", "aria-label": "The token that is walked through" });
  const button = (text, label, fn) => lab.el("button", { type: "button", class: "plain", title: label, "aria-label": label, onclick: fn }, text);
  const layerName = lab.el("output", {});
  const lower = button("‹", "The layer before ([)", () => anatomy.setLayer(anatomy.layer() - 1));
  const higher = button("›", "The next layer (])", () => anatomy.setLayer(anatomy.layer() + 1));
  const layers = lab.el("div", { class: "stepper", role: "group", "aria-label": "Layer" }, lower, layerName, higher);
  const heads = lab.el("div", { class: "kit-segments", role: "group", "aria-label": "Head" });
  const legend = lab.el("canvas", { class: "scale", "aria-hidden": "true" });
  const controls = lab.el("div", { class: "controls" }, layers, lab.el("div", { class: "headed" }, lab.el("span", { class: "kit-label" }, "Head"), heads), legend);
  let chipsOf = null; // the tokens that the chips were made for

  function paintChosen() {
    const { tokens, facts } = shown();
    if (chipsOf !== tokens.join("\n")) {
      chipsOf = tokens.join("\n");
      chips.replaceChildren(...lab.chips(tokens));
      for (const chip of chips.children) Object.assign(chip, { tabIndex: 0, role: "button" });
    }
    [...chips.children].forEach((chip, i) => {
      chip.classList.toggle("here", i === facts.pos);
      chip.setAttribute("aria-pressed", String(i === facts.pos));
    });
    layerName.textContent = `Layer ${facts.layer}`;
    layers.title = `Layers 0 to ${facts.n_layers - 1}`;
    lower.disabled = facts.layer === 0;
    higher.disabled = facts.layer === facts.n_layers - 1;
    if (heads.children.length !== facts.n_heads) {
      const each = (_, head) => lab.el("button", { type: "button", onclick: () => anatomy.setHead(head) }, String(head));
      heads.replaceChildren(...Array.from({ length: facts.n_heads }, each));
    }
    [...heads.children].forEach((one, head) => one.setAttribute("aria-pressed", String(head === facts.head)));
    legend.style.cssText = `width:${LEGEND}px;height:28px`;
    const ink = lab.ink.onCanvas(legend, LEGEND, 28);
    lab.drawScale(ink, 0, 4, { scale: "signed", max: 1, unit: "of the ± beside a strip", show: (x) => (x < 0 ? "−1" : "1") });
  }

  function choose(event) {
    const chip = event.target.closest(".chip");
    if (!chip || !shown()) return;
    const last = Number(chip.dataset.position) === shown().tokens.length - 1;
    lab.choices.set(anatomy.TOKEN, last ? null : chip.dataset.position);
  }

  chips.addEventListener("click", choose);
  chips.addEventListener("keydown", (event) => {
    const chip = event.target.closest(".chip");
    const beside = { ArrowLeft: chip?.previousSibling, ArrowRight: chip?.nextSibling }[event.key];
    if (beside) beside.focus();
    else if (["Enter", " "].includes(event.key)) choose(event);
    else return;
    event.preventDefault();
  });

  // -- the stages --------------------------------------------------------------------------------------------

  const body = lab.el("div", { class: "walk" });
  const trouble = lab.el("p", { class: "trouble", role: "status" });
  const caption = lab.el("p", { class: "caption" });
  const status = lab.el("p", { class: "caption" });
  const panel = anatomy.panel(visit);
  const sections = STAGES.map(section);
  const byStage = new Map(sections.map((each) => [each.stage.id, each]));
  const rail = anatomy.rail(WALKED, ({ id }) => byStage.get(id).element);
  const saves = anatomy.saves(sections, () => caption.textContent);
  let code = null; // lines by stage
  let home = null; // the section below which the arithmetic stands
  let later = 0; // when drawings out of sight are painted

  root.append(
    lab.el("div", { class: "chosen" }, lab.el("div", { class: "asked" }, lab.el("span", { class: "kit-label" }, "Token"), chips), controls),
    trouble,
    lab.el("div", { class: "stage-and-rail" }, rail.element, body),
    lab.el("div", { class: "kit-foot" }, lab.el("div", {}, lab.el("p", { class: "caption" }, NOTE), caption, status), saves),
  );

  function section(stage) {
    const spine = lab.el("div", { class: "spine" });
    const main = lab.el("div", { class: "main" });
    const element = lab.el("section", { class: stage.fold ? "stage fold" : "stage", id: `stage-${stage.id}` }, spine, main);
    body.append(element);
    const made = { stage, element, spine, main };
    if (stage.fold) return made;
    const figure = lab.el("div", { class: "figure" });
    const beside = lab.el("div", { class: "beside" });
    const number = lab.el("span", { class: "number" }, String(WALKED.indexOf(stage) + 1));
    made.badge = lab.el("span", { class: "off", hidden: "" });
    made.say = lab.el("p", { class: "say" });
    made.shape = stage.matrix ? lab.el("canvas", { class: "shape", role: "img" }) : null;
    made.code = lab.el("div", { class: "code" });
    const heading = lab.el("div", { class: "heading" }, lab.el("h2", {}, number, stage.title), made.badge);
    main.append(heading, made.say, lab.el("div", { class: "made" }, figure, beside));
    beside.append(...(made.shape ? [made.shape] : []), made.code);
    made.view = anatomy.view(figure, {
      draw: (board) => shown() && stage.draw(board, shown()),
      label: `${stage.title}: arrow keys move from number to number, Enter opens its arithmetic`,
      open: (one) => open(one, made),
    });
    if (stage.action) figure.append(button(stage.action.name, stage.action.name, () => act(made)));
    return made;
  }

  function act(each) {
    each.stage.action.do(shown());
    anatomy.spine.paint(each, shown(), anatomy.exposure(shown()));
    paintWords(each);
    paintDrawing(each);
  }

  function paintWords(each) {
    const s = shown();
    const off = each.stage.off?.(s) || "";
    each.badge.hidden = !off;
    each.badge.textContent = off;
    each.element.classList.toggle("is-off", Boolean(off));
    each.say.textContent = each.stage.say(s);
    paintCode(each);
  }

  function paintCode({ stage, code: host }) {
    const names = typeof stage.code === "function" ? stage.code(shown()) : stage.code;
    if (!code || host.dataset.of === names.join()) return;
    host.dataset.of = names.join();
    host.replaceChildren();
    const lines = names.flatMap((name) => code[name]);
    const place = ({ path, number }) => `${path}:${number}`;
    const distinct = lines.filter((line, i) => lines.findIndex((other) => place(other) === place(line)) === i);
    let before = null;
    for (const line of distinct) {
      const parts = lines.filter((other) => place(other) === place(line)).map(({ part }) => part);
      const longest = parts.reduce((best, part) => (part.length > best.length ? part : best));
      const start = line.text.indexOf(longest);
      const lit = lab.el("code", { class: "lit" }, line.text.slice(0, start).trimStart(), lab.el("b", {}, longest));
      lit.append(line.text.slice(start + longest.length));
      if (before?.function !== line.function) host.append(lab.el("div", { class: "place" }, `${place(line)}  ${line.function}`));
      host.append(lit);
      before = line;
    }
  }

  function paintFold({ stage, element, main }) {
    const rows = stage.fold(shown());
    element.hidden = !rows.length;
    const line = ({ layer, attention, mlp }) =>
      lab.el(
        "div",
        { class: "layer" },
        lab.el("button", { type: "button", class: "plain", onclick: () => anatomy.setLayer(layer) }, `Layer ${layer}`),
        lab.el("span", { class: "caption" }, `attention wrote a vector of length ${lab.number(attention)}, the MLP one of ${lab.number(mlp)}`),
      );
    main.replaceChildren(...rows.map(line));
  }

  /* What can be seen at once, the rest as soon as the hand rests. */
  function paintDrawings() {
    clearTimeout(later);
    const near = ({ element }) => {
      const { top, bottom } = element.getBoundingClientRect();
      return bottom > -innerHeight / 2 && top < 1.5 * innerHeight;
    };
    const drawings = sections.filter(({ view }) => view);
    const far = drawings.filter((each) => !near(each));
    for (const each of drawings) if (!far.includes(each)) paintDrawing(each);
    later = setTimeout(() => {
      const s = shown();
      if (!s) return;
      far.forEach(paintDrawing);
      root.dataset.painted = JSON.stringify([s.header.run, s.step, s.header.prompt, s.facts.layer, s.facts.head, s.facts.pos]);
    }, 80);
  }

  function paintDrawing(each) {
    each.view.paint();
    paintEquation(each);
  }

  function paintEquation({ stage, shape }) {
    const room = shape?.parentNode.clientWidth;
    if (!room) return;
    const terms = stage.matrix(shown());
    shape.setAttribute("aria-label", terms.map(([name, rows, columns]) => `${name} ${rows}×${columns}`).join(", "));
    anatomy.equation(shape, terms, room);
  }

  function paint() {
    const s = shown();
    root.classList.toggle("waiting", q.busy);
    const run = lab.run();
    trouble.textContent = q.problem ?? run?.error ?? (s ? "" : run ? "computing …" : "There is no run to look at yet: train one on the Train page.");
    for (const each of [root.querySelector(".chosen"), root.querySelector(".stage-and-rail"), root.querySelector(".kit-foot")]) each.hidden = !s;
    if (!s) return;
    paintChosen();
    const max = anatomy.exposure(s);
    for (const each of sections) {
      if (each.stage.fold) paintFold(each);
      else paintWords(each);
      anatomy.spine.paint(each, s, max);
    }
    paintDrawings();
    rail.paint();
    caption.textContent = q.caption(`layer ${s.facts.layer}, head ${s.facts.head}, position ${s.facts.pos}`);
    const { have, of } = q.progress();
    status.textContent = have < of ? `${have} of ${of} checkpoints are in the browser` : `all ${of} checkpoints are in the browser`;
    mark();
    rail.arrive();
  }

  // -- the number that is open -------------------------------------------------------------------------------

  function open(number, at) {
    home = at;
    anatomy.tell(null);
    anatomy.open(number);
  }

  function visit(number) {
    home = homeOf(number);
    anatomy.visit(number);
    rail.to(WALKED.indexOf(home.stage));
  }

  function homeOf({ stage }) {
    const norm = { ln1: "norm1", ln2: "norm2", ln_: "final" }[stage.slice(0, 3)];
    return byStage.get(norm ?? HOMES[stage]) ?? sections[0];
  }

  function mark() {
    const number = anatomy.root();
    home = number ? (home ?? homeOf(number)) : null;
    if (!home) panel.element.remove();
    else if (panel.element.parentNode !== home.main) {
      home.main.append(panel.element);
      panel.paint();
    }
    for (const each of sections) each.view?.mark(number);
  }

  body.addEventListener("pointermove", (event) => {
    const found = event.pointerType === "mouse" ? anatomy.spine.at(event, shown()) : null;
    if (found) anatomy.tell(found.text, event.clientX, event.clientY);
  });
  body.addEventListener("pointerout", (event) => event.target.closest?.(".spine") && anatomy.tell(null));
  body.addEventListener("click", (event) => {
    const found = anatomy.spine.at(event, shown());
    if (found) open(found.number, sections.find(({ element }) => element.contains(event.target)));
  });

  // -- beginning ---------------------------------------------------------------------------------------------

  q.on(paint);
  anatomy.matrices.on(() => shown() && sections.forEach(paintEquation));
  anatomy.onNumber(() => shown() && mark());
  lab.onTheme(() => shown() && paint());
  lab.on(["page"], () => anatomy.tell(null));
  lab.watch(["run", "page", "step"], async () => {
    const { page, run, step } = lab.state;
    if (page !== "anatomy" || run === null || step === null) return;
    try {
      const [words, lines] = await Promise.all([anatomy.vocabulary(), anatomy.code()]);
      if (run !== lab.state.run || (anatomy.words === words && code === lines)) return;
      [anatomy.words, code] = [words, lines];
      if (shown()) paint();
    } catch (error) {
      lab.notify(error.message);
    }
  });

  // For whoever points at numbers from outside.
  root.anatomy = { find: (id, number) => byStage.get(id).view.find(number) };
});
