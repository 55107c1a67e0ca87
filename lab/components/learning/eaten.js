/* The batch that a step learned from: its rows, what each token cost before and after, and which moved most. */
lab.component("learning-eaten", (root) => {
  "use strict";

  const { learning } = lab;
  const [MADE, TOKEN] = ["learning.made", "learning.token"];
  const FIRST_ROWS = 8;
  const MOST_MOVED = 200;
  const SHADES = [["change", "Change"], ["before", "Before"], ["after", "After"]];

  const grid = learning.section(
    root,
    "What did it eat",
    "Every step of training learns from one batch of conversations. Choose a step, a spike perhaps, to see its batch, " +
      "and what each of its tokens cost the model before and after.",
  );

  /* The step that is asked for, also as "checkpoint": the one that made the checkpoint; null: none yet. */
  const follows = () => lab.choices.get(MADE) === "checkpoint";
  const chosen = () => (follows() ? lab.state.step : lab.choices.number(MADE, 1e9));
  const options = () => (follows() ? {} : chosen() === null ? null : { made: chosen() });
  // This goes first, so that no other run's batch is asked for.
  lab.on(["run"], () => choose(null));
  lab.on(["step"], () => follows() && lab.choices.set(TOKEN, null));
  const q = lab.question("eaten", { page: "learning", prompt: false, options });
  const data = (name) => q.shown.arrays[name].data;
  const columns = () => q.shown.arrays.ids.shape[1];
  const change = (i) => data("after")[i] - data("before")[i];
  const pinned = () => (q.shown ? lab.choices.number(TOKEN, data("ids").length) : null);
  const pin = (i) => lab.choices.set(TOKEN, pinned() === i ? null : i);

  // -- which step ------------------------------------------------------------------------------------

  const number = lab.el("input", { type: "number", min: 1, step: 1, onchange: () => choose(number.value === "" ? null : number.value) });
  const back = lab.el("button", { type: "button", class: "plain", onclick: () => choose("checkpoint") }, "The step that made this checkpoint");
  const label = lab.el("label", { class: "kit-choice" }, lab.el("span", { class: "kit-label" }, "Step"), number);
  const controls = lab.el("div", { class: "kit-controls" }, label, back);
  const said = lab.el("p", { class: "learning-said", role: "status" });
  const choose = (made) => lab.choices.set({ [MADE]: made, [TOKEN]: null });

  let feed = null;
  let unfollow = () => {};
  const rows = () => (feed?.rows ?? []).filter(({ kind, loss }) => kind === "step" && loss !== undefined);
  const curve = lab.lines(grid, {
    title: "Loss of the batches",
    about: "Each step’s own batch, as training saw it. A click opens a batch.",
    unit: "nats per token",
    height: 220,
    data: () => ({
      series: [{ name: "training", x: rows().map(({ step }) => step), y: rows().map(({ loss }) => loss) }],
      xTitle: "step",
      yTitle: "nats per token",
      logX: true,
    }),
    mark: chosen,
    pick: (step) => choose(step),
    caption: () => lab.state.run ?? "",
    filename: () => `${lab.state.run}-batches`,
  });
  curve.element.classList.add("kit-wide");
  grid.append(lab.el("div", { class: "kit-wide" }, controls, said));

  function follow() {
    unfollow();
    feed = null;
    unfollow = () => {};
    if (lab.state.page !== "learning" || lab.state.run === null) return curve.paint();
    unfollow = lab.follow(lab.state.run, (latest) => {
      feed = latest;
      curve.paint();
    });
  }

  /* The batch's own step and those of the checkpoints; the frame's step is another matter. */
  function told() {
    const { made, before_step: before, after_step: after } = q.shown.facts;
    const { run, surgery_text: surgery } = q.shown.header;
    return [run, `batch of step ${lab.count(made)}`, `losses at steps ${lab.count(before)} and ${lab.count(after)}`, surgery].filter(Boolean).join(" · ");
  }

  /* Which checkpoints the numbers are of, and what lies between them. */
  function summary() {
    const { made, before_step: before, after_step: after } = q.shown.facts;
    const [first, then] = ["before", "after"].map((name) => learning.mean(data(name)));
    const [one, other] = [first, then].map(lab.number);
    const count = `The batch of step ${lab.count(made)}: ${q.shown.arrays.ids.shape[0]} rows.`;
    if (before === after) return `${count} Only one checkpoint is near, step ${lab.count(after)}, so there is no before and after: there its tokens cost ${one} nats on average.`;
    const means = `On average its tokens cost ${one} nats at step ${lab.count(before)} and ${other} at step ${lab.count(after)}, a change of ${lab.signed(then - first)}.`;
    const apart = after - before;
    const honest =
      apart === 1
        ? "These two checkpoints are this one step apart: the change is what it did."
        : `These are the nearest checkpoints, ${lab.count(apart)} steps apart: the change is of all these steps, not of this batch alone.`;
    return `${count} ${means} ${honest}`;
  }

  // -- the rows --------------------------------------------------------------------------------------

  const fig = lab.el("section", { class: "kit-figure kit-wide" });
  const shading = lab.el("div", { class: "kit-controls" });
  const scale = lab.el("canvas", { "aria-hidden": "true" });
  const readout = lab.el("p", { class: "kit-readout", "aria-live": "polite" });
  const list = lab.el("div", { class: "learning-rows" });
  const more = lab.el("button", { type: "button", class: "plain kit-more", onclick: () => showAll(!all) });
  const caption = lab.el("p", { class: "caption" });
  fig.append(lab.el("h2", {}, "The batch"), shading, scale, readout, list, more, caption);
  const moved = lab.el("div", { class: "kit-wide" });
  grid.append(fig, moved);
  const shade = lab.choice(shading, { name: "learning.shade", label: "Shade by the loss", values: SHADES });

  let all = false;
  let built = null; // the answer whose rows are there
  let hover = null;

  function showAll(next) {
    all = next;
    built = null;
    paint();
  }

  function build() {
    const { tokens } = q.shown.facts;
    const count = all ? tokens.length : Math.min(FIRST_ROWS, tokens.length);
    list.replaceChildren(...tokens.slice(0, count).map((row, r) => {
      const chips = lab.chips(row);
      chips.forEach((chip, c) => (chip.dataset.token = r * columns() + c));
      return lab.el("div", { class: "learning-row" }, lab.el("span", {}, String(r + 1)), lab.el("div", { class: "kit-chips" }, ...chips));
    }));
    more.hidden = tokens.length <= FIRST_ROWS;
    more.textContent = all ? `Show the first ${FIRST_ROWS} rows` : `Show all ${tokens.length} rows`;
    built = q.shown;
  }

  function paint() {
    fig.hidden = moved.hidden = !q.shown;
    said.classList.toggle("trouble", Boolean(q.problem));
    said.textContent = q.problem ?? (q.shown ? summary() : q.busy ? "Reading the batch …" : "");
    number.value = chosen() ?? "";
    number.max = lab.run()?.steps.at(-1) ?? "";
    back.disabled = follows();
    curve.paint();
    if (!q.shown) return;
    if (built !== q.shown) build();
    const values = shade.value === "change" ? data("before").map((_, i) => change(i)) : data(shade.value);
    const signed = shade.value === "change";
    const max = signed ? lab.extent(values) : Math.max(lab.extent(data("before")), lab.extent(data("after")));
    for (const chip of list.querySelectorAll(".chip")) {
      const value = values[chip.dataset.token];
      const tint = Number.isFinite(value) ? lab.ink.valueColor(signed ? "signed" : "magnitude", value, max) : null;
      chip.style.background = tint ? lab.ink.color(tint) : "";
      chip.style.color = tint ? `var(--${lab.ink.contrast(tint)})` : "";
    }
    const [width, height] = [300, signed ? 28 : 18];
    scale.style.cssText = `width:${width}px;height:${height}px`;
    lab.drawScale(lab.ink.onCanvas(scale, width, height), 0, 4, { scale: signed ? "signed" : "magnitude", max, unit: "nats" });
    caption.textContent = told();
    point();
  }

  function point() {
    if (!q.shown) return;
    const at = hover ?? pinned();
    list.querySelector(".here")?.classList.remove("here");
    if (at !== null) list.querySelector(`[data-token="${at}"]`)?.classList.add("here");
    readout.textContent = at === null ? "Point at a token to read what it cost; a click keeps it." : describe(at);
  }

  function word(i) {
    return lab.tokenText(q.shown.facts.tokens[Math.floor(i / columns())][i % columns()] ?? "");
  }

  function describe(i) {
    const where = `‘${word(i)}’ (row ${Math.floor(i / columns()) + 1}, position ${i % columns()})`;
    const [before, after] = [data("before")[i], data("after")[i]];
    if (!Number.isFinite(before)) return `${where}: nothing comes before it, so nothing was expected.`;
    return `${where}: ${lab.number(before)} nats before, ${lab.number(after)} after, ${lab.signed(after - before)}`;
  }

  const under = (event) => {
    const chip = event.target.closest(".chip");
    return chip ? Number(chip.dataset.token) : null;
  };

  function look(i) {
    if (i === hover) return;
    hover = i;
    point();
  }

  list.addEventListener("pointerover", (event) => event.pointerType === "mouse" && look(under(event)));
  list.addEventListener("pointerleave", () => look(null));
  list.addEventListener("click", (event) => under(event) !== null && pin(under(event)));

  // -- the tokens that moved most --------------------------------------------------------------------

  lab.bars(moved, {
    title: "The tokens that moved most",
    about: "Loss after less loss before: below zero it became likelier. Each token follows the one before it; a click marks it in its row.",
    question: q,
    caption: told,
    filename: () => `${q.shown.header.run}-batch-${q.shown.facts.made}`,
    unit: "nats",
    signed: true,
    mono: true,
    most: 16,
    data: () => {
      const order = Array.from(data("ids").keys()).filter((i) => Number.isFinite(change(i)) && change(i));
      order.sort((a, b) => Math.abs(change(b)) - Math.abs(change(a)));
      return order.slice(0, MOST_MOVED).map((i) => ({ label: `${word(i - 1)} ${word(i)}`, value: change(i), token: i, pinned: i === pinned() }));
    },
    describe: ({ token }) => describe(token),
    click: ({ token }) => {
      if (token >= list.children.length * columns()) showAll(true);
      pin(token);
      list.querySelector(".here")?.scrollIntoView({ block: "nearest" });
    },
  });

  q.on(paint);
  lab.choices.on(["learning.shade"], paint);
  lab.choices.on([TOKEN], point);
  lab.onTheme(() => built && paint());
  lab.watch(["run", "page"], follow);
});
