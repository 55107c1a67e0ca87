/* The texts of the corpus at which the chosen neuron is most active, from the index; and the button that builds it. */
lab.component("neuron-texts", (root) => {
  "use strict";

  const FEW = 6;
  const page = lab.neurons();
  const { top } = page;
  const title = lab.el("h2", {});
  const about = lab.el("p", { class: "kit-about muted" });
  const status = lab.el("p", { class: "neuron-status", role: "status" });
  const build = lab.el("button", { type: "button", class: "plain", onclick: page.build }, "Build the index");
  const stop = lab.el("button", { type: "button", class: "plain", onclick: page.stop }, "Stop");
  const bar = lab.el("progress", { "aria-label": "How much of the corpus is read", max: 1 });
  const work = lab.el("div", { class: "neuron-work" }, status, bar, lab.el("div", { class: "buttons" }, build, stop));
  const list = lab.el("ol", { class: "neuron-texts" });
  const more = lab.el("button", { type: "button", class: "plain", onclick: () => lab.choices.set("neurons.texts", all() ? null : "all") });
  const caption = lab.el("p", { class: "caption" });
  const save = lab.el("button", { type: "button", class: "kit-save", onclick: saveCsv }, "CSV");
  const saves = lab.el("div", { class: "kit-saves", role: "group", "aria-label": "Save" }, lab.el("span", {}, "Save"), save);
  root.append(title, about, work, list, more, lab.el("div", { class: "kit-foot" }, caption, saves));

  const all = () => lab.choices.get("neurons.texts") === "all";
  let since = null; // {key, at, done}: when this page first heard of the one that is being built

  // -- the index -------------------------------------------------------------------------------------

  function paintWork() {
    const [job, index] = [page.job(), page.index()];
    const running = Boolean(job?.running);
    const { run, step } = lab.state;
    const mine = running && job.run === run && job.step === step;
    work.hidden = (Boolean(index) && !running) || !page.knows();
    build.hidden = running || Boolean(index);
    stop.hidden = !mine;
    bar.hidden = !running;
    if (running && job.of) bar.value = job.done / job.of;
    else bar.removeAttribute("value");
    const trouble = page.trouble() ?? (running ? null : job?.error);
    status.textContent = trouble ?? (running ? inProgress(job, mine) : index || !page.knows() ? "" : offer(step));
    status.classList.toggle("trouble", Boolean(trouble));
    root.dataset.index = index ? "built" : running ? "building" : page.knows() ? "none" : "";
  }

  const offer = (step) =>
    `The texts at which each neuron is most active are found by reading the whole corpus once with all neurons watched. For step ${lab.count(step)} that has not been done yet; it takes a minute or a few, and is kept.`;

  function inProgress({ run, step, done, of }, mine) {
    const which = mine ? "The index" : `Before this one: the index of step ${lab.count(step)} of ${run}`;
    if (!of) return `${which}: reading the data …`;
    const key = JSON.stringify([run, step]);
    if (since?.key !== key) since = { key, at: performance.now(), done };
    const rate = (done - since.done) / (performance.now() - since.at);
    const left = rate > 0 ? ` · about ${Math.max(1, Math.round((of - done) / rate / 1000))} s left` : "";
    return `${which}: ${lab.number(done)} of ${lab.number(of)} tokens${left}`;
  }

  // -- the texts -------------------------------------------------------------------------------------

  function paint() {
    paintWork();
    const { shown } = top;
    const at = shown ? [shown.facts.layer, shown.facts.neuron] : page.chosen();
    title.textContent = `Where it is most active in the corpus${at ? `: ${page.title(at)}` : ""}`;
    root.classList.toggle("waiting", top.busy);
    const index = page.index();
    about.textContent = shown
      ? `Of all ${lab.count(shown.facts.texts_there)} different texts of the corpus; a beginning that many share stands for the first of them alone. The stronger a token's colour, the more active the neuron is there; the strongest is framed.`
      : "";
    list.replaceChildren(...(shown ? texts(shown) : []));
    const count = shown?.facts.tokens.length ?? 0;
    more.hidden = count <= FEW;
    more.textContent = all() ? `Show the first ${FEW}` : `Show all ${count}`;
    caption.textContent = shown ? top.caption() : (top.problem ?? (index && top.busy ? "computing …" : ""));
    saves.hidden = !shown;
    if (shown && !count) list.append(lab.el("li", { class: "muted" }, "It is active in no text of the corpus: this neuron is dead."));
    if (shown) root.dataset.painted = JSON.stringify([shown.header.run, shown.step, ...at]);
    else delete root.dataset.painted;
  }

  function texts(shown) {
    const { tokens } = shown.facts;
    const max = lab.extent(shown.arrays.value.data);
    return tokens.slice(0, all() ? tokens.length : FEW).map((each, i) => {
      const chips = lab.chips(each);
      const peak = shown.at("position", i);
      chips.forEach((chip, position) => {
        const value = shown.at("activation", i, position);
        const tint = lab.ink.valueColor("magnitude", value, max);
        chip.style.background = lab.ink.color(tint);
        chip.style.color = `var(--${lab.ink.contrast(tint)})`;
        chip.title = `activation ${lab.signed(value)}`;
        chip.classList.toggle("peak", position === peak);
      });
      const copies = shown.at("copies", i);
      const often = copies > 1 ? ` · ${lab.count(copies)} times in the corpus` : "";
      const number = lab.el("span", { class: "caption" }, `${lab.signed(shown.at("value", i))} at ‘${lab.tokenText(each[peak])}’${often}`);
      return lab.el("li", {}, number, lab.el("div", { class: "kit-chips" }, ...chips));
    });
  }

  function saveCsv() {
    const { shown } = top;
    const quote = (text) => `"${text.replaceAll('"', '""')}"`;
    const rows = shown.facts.tokens.flatMap((each, i) =>
      each.map((token, position) => [i, shown.at("copies", i), position, quote(token), shown.at("activation", i, position)].join(",")),
    );
    const text = ["text,copies,position,token,activation", ...rows, ""].join("\n");
    lab.save(new Blob([text], { type: "text/csv" }), `${top.filename(`L${shown.facts.layer}N${shown.facts.neuron}`)}.csv`);
  }

  top.on(paint);
  page.on(paintWork);
  page.all.on(paint);
  lab.choices.on(["neurons.texts"], paint);
  lab.onTheme(paint);
});
