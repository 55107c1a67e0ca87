/* Speed: how fast the run trained, what share of the machine's arithmetic that was, and how long other shapes would take. */
lab.component("machine-speed", (root) => {
  "use strict";

  const { machine } = lab;
  const { q, ops } = machine.ask();
  let peak = false;
  const speed = lab.question("speed", { page: "machine", prompt: false, options: () => ({ peak: peak ? "true" : null }) });
  const numbers = lab.el("dl", { class: "lab-numbers" });
  const words = lab.el("p", { class: "kit-about" });
  const measure = lab.el("button", { type: "button", class: "plain", onclick: measureHere }, "Measure this machine");
  const caption = lab.el("p", { class: "caption" });
  root.append(lab.el("h2", {}, "Speed"), words, numbers, measure, caption);

  function measureHere() {
    peak = true;
    speed.refresh();
  }

  const entry = (term, value, title) => lab.el("div", { title }, lab.el("dt", {}, term), lab.el("dd", {}, value));

  let facts = null;

  function show() {
    if (speed.shown) ({ facts } = speed.shown);
    else if (!speed.busy) facts = null;
    const ready = facts && q.shown && ops.shown;
    for (const each of [numbers, words]) each.hidden = !ready;
    measure.hidden = !ready || !facts.flops_per_second || "peak" in facts;
    measure.disabled = speed.busy;
    caption.textContent = speed.problem ?? (ready ? speed.caption() : "");
    if (!ready) return;
    if (!facts.flops_per_second) {
      words.textContent = "This run has logged no step yet, so it has no speed.";
      numbers.replaceChildren();
      return;
    }
    numbers.replaceChildren(
      entry("tokens/s", lab.number(facts.tokens_per_second), "The median over the logged steps; padding not counted"),
      entry("a step", `${lab.number(facts.seconds_per_step)} s`, `${lab.number(facts.tokens_per_step)} tokens`),
      entry("arithmetic", machine.flop(facts.flops_per_second, "FLOP/s"), `${machine.flop(facts.flops_per_token)} a token`),
      ...(facts.share ? [entry("share of the peak", lab.percent(facts.share), peakWords())] : []),
      entry("time taken", lab.duration(facts.seconds), "Evaluation and checkpoints included"),
    );
    words.textContent = [trained(), other(), facts.peak ? `${peakWords()}.` : ""].filter(Boolean).join(" ");
  }

  const cores = () => (facts.threads ? ` on ${facts.threads} ${facts.threads === 1 ? "thread" : "threads"}` : "");

  function trained() {
    const where = facts.device === "cpu" ? `a CPU${cores()}` : facts.device;
    return `Trained on ${where} in ${facts.dtype}: ${machine.many(facts.tokens)} tokens in ${lab.count(facts.steps)} steps, rows of ${lab.number(facts.row)} tokens on average.`;
  }

  const peakWords = () =>
    `A matrix product here, now, reaches ${machine.flop(facts.peak, "FLOP/s")} in ${facts.dtype}${facts.device === "cpu" ? `${cores()}, measured on one and multiplied` : ""}`;

  /* The shape of the sliders at this run's arithmetic. */
  function other() {
    const { facts: held } = q.shown;
    const size = machine.shape(held);
    const row = Math.min(size.context, Math.max(1, Math.round(facts.row)));
    const cost = machine.operations(ops.shown.facts, { ...size, batch: 1, context: row });
    const seconds = (facts.tokens * cost.needed) / row / facts.flops_per_second;
    const same = machine.SIZES.every((name) => size[name] === machine.own(held)[name]);
    const who = same ? "At that speed its steps alone take" : "At that arithmetic the same tokens would take this shape";
    return `${who} ${seconds < 60 ? `${lab.number(seconds)} s` : lab.duration(seconds)}.`;
  }

  for (const each of [q, ops, speed]) each.on(show);
  lab.on(["run"], () => (peak = false));
  lab.choices.on(machine.changes, show);
});
