/* A lesson of one sentence: a copy of the model learns it, and what has changed is shown. Asked on the button alone. */
lab.component("learning-lesson", (root) => {
  "use strict";

  const { learning } = lab;
  const NAME = "learning.lesson"; // what was taught: "updates:share:reply"
  const SCALES = [["probability", "Probability"], ["nats", "Loss"]];
  const [MOST, SHARES] = [400, { min: 0.01, max: 1, step: 0.01, initial: 0.1 }];
  const [LEFT, TOP, PLOT, LABELS] = [66, 34, 160, 84];
  const SMALL = { size: 11, color: "ink-2" };
  const { percent } = learning;

  const grid = learning.section(
    root,
    "A lesson of one sentence",
    "Say what should follow the prompt. A copy of this checkpoint then takes real optimizer steps on it, as in training, " +
      "and you see what that did. The run itself is left as it is: no file of it changes.",
  );

  // -- what is taught --------------------------------------------------------------------------------

  const asked = lab.el("p", { class: "learning-asked muted" });
  const box = lab.el("input", { type: "text", maxlength: MOST, placeholder: "such as: i am a lighthouse" });
  const teach = lab.el("button", { type: "submit", class: "plain learning-teach" }, "Teach it");
  const controls = lab.el("div", { class: "kit-controls" });
  const label = lab.el("label", { class: "learning-label" }, lab.el("span", { class: "kit-label" }, "What should follow the prompt"), box);
  const form = lab.el("form", { class: "learning-form", onsubmit: submit }, asked, label, controls);
  const said = lab.el("p", { class: "learning-said", role: "status" });
  grid.before(form);
  form.append(said);
  const updates = lab.choice(controls, { name: "learning.updates", label: "Updates", values: [["1", "1"], ["3", "3"], ["10", "10"]] });
  const share = lab.slider(controls, { name: "learning.share", label: "Learning rate, of the run’s highest", format: (part) => `${Math.round(100 * part)}%`, ...SHARES });
  controls.append(teach);

  /* {updates, share, reply} of the lesson that the address names. */
  function given() {
    const match = /^(1|3|10):([\d.]{1,6}):([^]+)$/.exec(lab.choices.get(NAME) ?? "");
    return match && { updates: Number(match[1]), share: Number(match[2]), reply: match[3] };
  }

  function submit(event) {
    event.preventDefault();
    if (box.value.trim()) lab.choices.set(NAME, `${updates.value}:${share.value}:${box.value}`);
    else box.focus();
  }

  // A lesson is for what was looked at when it was given. This goes first, so that nothing else is asked.
  lab.on(["run", "prompt", "step"], () => lab.choices.set(NAME, null));
  const q = lab.question("lesson", { page: "learning", options: given });

  function write() {
    const { shown } = q;
    asked.textContent = `After the prompt “${lab.state.prompt}”`;
    teach.disabled = q.busy;
    grid.hidden = !shown;
    said.classList.toggle("trouble", Boolean(q.problem));
    said.textContent = q.problem ?? (shown ? summary(shown) : q.busy ? "A copy is learning …" : "");
    if (shown) listReplies(shown.facts);
  }

  function summary({ facts, options, header, step }) {
    const { loss_before: before, loss_after: after, rate, moments } = facts;
    const times = options.updates === 1 ? "1 update" : `${options.updates} updates`;
    const memory = moments
      ? "The optimizer went on from the moments that the checkpoint kept."
      : "The optimizer began afresh: this checkpoint did not keep its moments, so the first steps differ from what training would have done.";
    return (
      `${times} at a learning rate of ${lab.number(rate)} on a copy of ${header.run} at step ${lab.count(step)}: the text’s loss went from ` +
      `${lab.number(before)} to ${lab.number(after)} nats per token. ${memory} The run is untouched.`
    );
  }

  // -- the text, before and after --------------------------------------------------------------------

  const data = (name) => q.shown.arrays[name].data;
  const word = (i) => lab.tokenText(q.shown.facts.tokens[i]);
  const caption = () => q.caption(`taught: “${q.shown.options.reply}”`);
  const inNats = () => scale.value === "nats";
  const bars = (name) => (inNats() ? Array.from(data(name), (p) => -Math.log(p)) : data(name));
  let place = null;

  function draw(ink, width) {
    const n = data("before").length;
    const step = Math.min(56, (width - LEFT - 4) / n);
    const [before, after] = [bars("before"), bars("after")];
    const top = inNats() ? Math.max(1, Math.ceil(Math.max(lab.extent(before), lab.extent(after)))) : 1;
    place = { n, step };
    const y = (value) => TOP + PLOT * (1 - value / top);
    [["edge", "before"], ["attention-1", "after"]].forEach(([fill, text], i) => {
      ink.rect(LEFT + 80 * i, 4, 10, 10, { fill });
      ink.text(LEFT + 80 * i + 16, 9, text, SMALL);
    });
    for (const share of [0, 0.25, 0.5, 0.75, 1]) {
      const line = Math.round(y(share * top)) + 0.5;
      ink.line(LEFT, line, LEFT + n * step, line);
      ink.text(LEFT - 6, y(share * top), inNats() ? String(share * top) : `${100 * share}%`, { ...SMALL, align: "right" });
    }
    ink.text(6, TOP + PLOT / 2, inNats() ? "loss in nats" : "probability", { ...SMALL, align: "center", rotate: -90 });
    const [bar, labels] = [Math.max(1, Math.min(0.36 * step, 14)), Math.ceil(13 / step)];
    for (let i = 0; i < n; i++) {
      const middle = LEFT + (i + 0.5) * step;
      if (i) {
        ink.rect(middle - bar, y(before[i]), bar, y(0) - y(before[i]), { fill: "edge" });
        ink.rect(middle, y(after[i]), bar, y(0) - y(after[i]), { fill: "attention-1" });
      }
      if (i % labels === 0) ink.text(middle, TOP + PLOT + 8, word(i), { ...SMALL, mono: true, rotate: -90, align: "right", max: LABELS - 12 });
    }
    ink.line(LEFT, TOP + PLOT + 0.5, LEFT + n * step, TOP + PLOT + 0.5, { stroke: "edge" });
    return TOP + PLOT + LABELS;
  }

  function readout(i) {
    if (i === null) return "Point at a token to read its probability before and after the lesson.";
    if (!i) return `‘${word(0)}’ (position 0): nothing comes before it, so nothing was expected.`;
    const [before, after] = ["before", "after"].map((name) => data(name)[i]);
    const nats = [before, after].map((p) => lab.number(-Math.log(p))).join(" → ");
    return `‘${word(i)}’ (position ${i}): ${percent(before)} before, ${percent(after)} after; loss ${nats} nats`;
  }

  const tokens = lab.figure(grid, {
    title: "How likely each token is, before and after",
    about: "The lesson is the whole text: prompt and reply, each token given those before it.",
    question: q,
    label: "Probability of each token before and after the lesson; arrow keys read them",
    draw,
    over: (ink) => {
      const { target } = tokens;
      if (target !== null && target < place.n) ink.rect(LEFT + target * place.step + 0.5, TOP - 4, place.step - 1, PLOT + LABELS, { stroke: "accent" });
    },
    hit: (x) => {
      const i = Math.floor((x - LEFT) / place.step);
      return i >= 0 && i < place.n ? i : null;
    },
    move: ([right]) => tokens.aim(Math.min(place.n - 1, Math.max(0, (tokens.target ?? -1) + right))),
    readout,
    caption,
    csv: () => [
      ["position", "token", "probability before", "probability after"],
      ...q.shown.facts.tokens.map((_, i) => [i, word(i), data("before")[i], data("after")[i]]),
    ],
  });
  tokens.element.classList.add("kit-wide");
  const scale = lab.choice(tokens.controls, { name: "learning.scale", label: "Show", values: SCALES });
  lab.choices.on(["learning.scale"], tokens.paint);

  // -- what moved ------------------------------------------------------------------------------------

  lab.bars(grid, {
    title: "How far each matrix moved",
    about: "The size of its whole change, in percent of its own size (Frobenius norms).",
    question: q,
    unit: "% of its norm",
    mono: true,
    most: 40,
    caption,
    data: () => q.shown.facts.matrices.map((name, i) => ({ label: name.replace(/\.weight$/, ""), value: 100 * data("update")[i] })),
  });

  lab.bars(grid, {
    title: "What else changed",
    about: "How far the expectation of the first token after other prompts moved: KL(before ‖ after). Only the lesson’s own prompt was taught.",
    question: q,
    unit: "nats",
    caption,
    data: () => q.shown.facts.probes.map((label, i) => ({
      label: label === q.shown.header.prompt ? `${label} (taught)` : label,
      value: data("kl")[i],
    })),
  });
  const replies = lab.el("div", { class: "learning-replies" });
  grid.append(lab.el("div", { class: "kit-wide" }, lab.el("h2", {}, "Their replies, the likeliest token each time"), replies));

  /* Where a reply parts from the one before, its rest is marked. */
  function listReplies({ probes, replies_before: before, replies_after: after }) {
    replies.replaceChildren(...probes.map((probe, i) => {
      const [one, other] = [before[i], after[i]].map((text) => text.split(/(?<= )/));
      const parts = other.findIndex((piece, j) => piece.trim() !== one[j]?.trim());
      const same = parts < 0 ? other.length : parts;
      const rest = other.slice(same).join("") || " and ends here";
      const changed = before[i] === after[i] ? ["the same"] : [other.slice(0, same).join(""), lab.el("strong", {}, rest)];
      return lab.el(
        "div",
        {},
        lab.el("span", { class: "muted" }, probe),
        lab.el("dl", {}, lab.el("dt", {}, "before"), lab.el("dd", {}, before[i] || "(nothing)"), lab.el("dt", {}, "after"), lab.el("dd", {}, ...changed)),
      );
    }));
  }

  q.on(write);
  lab.watch(["prompt", "run", "step"], write);
  lab.onReady(() => (box.value = given()?.reply ?? ""));
});
