/* The Mask page: two runs of one seed, one with the causal mask and one without, side by side as they train. */
lab.component("mask", (root) => {
  "use strict";

  const TWIN = /^(twins-\d+)-(mask|no-mask)$/;
  const SIDES = [
    { key: "mask", title: "With the causal mask", color: "--accent", prefix: "with mask · " },
    { key: "no-mask", title: "Without the causal mask", color: "--surgery", prefix: "no mask · " },
  ];

  const MASS = "Share of all attention that goes to later positions, mean over layers and heads on fixed held-out rows. Spread evenly, a little over half of it would.";

  // -- parts -----------------------------------------------------------------------------------------

  const select = lab.el("select", { "aria-label": "Pair of twins", onchange: () => choose(select.value) });
  const picker = lab.el("div", { class: "select", hidden: "" }, select);
  const told = lab.el("p", { class: "lab-message", role: "status" });
  const lossHost = lab.el("div", { class: "lab-chart-host" });
  const massHost = lab.el("div", { class: "lab-chart-host low" });
  const pick = (step) => lab.set({ run: twin(lab.state.run) ? lab.state.run : pair?.["no-mask"]?.id, step });
  const losses = lab.chart(lossHost, {
    y: "loss, nats per token",
    label: "Training losses of both twins, and their loss under the masked evaluation; arrow keys read values",
    detail: lab.curves.perplexity,
    onPick: pick,
  });
  const mass = lab.chart(massHost, {
    y: "attention on the future, share",
    yMax: 1,
    label: "Mean attention on future positions of both twins; arrow keys read values",
    onPick: pick,
  });
  const lossBar = lab.curves.toolbar(losses, () => `${chosen ?? "twins"} losses`);
  const massBar = lab.curves.toolbar(mass, () => `${chosen ?? "twins"} attention on the future`);
  const columns = Object.fromEntries(SIDES.map((side) => [side.key, columnOf(side)]));
  root.append(
    lab.el("div", { class: "lab-mask-head" }, told, picker),
    lab.el("section", {}, lab.el("h2", {}, "Loss"), lossBar.bar, lossHost),
    lab.el("section", {}, lab.el("h2", {}, "Attention on the future"), lab.el("p", { class: "caption" }, MASS), massBar.bar, massHost),
    lab.el("section", { class: "lab-twins" }, ...SIDES.map(({ key }) => columns[key].column)),
  );

  function columnOf({ key, title, color }) {
    const when = lab.el("span", { class: "caption" });
    const replies = lab.el("div", { class: "lab-samples-now" });
    const look = lab.el("button", { type: "button", class: "plain", onclick: () => lookInside(key) }, "Look inside");
    look.setAttribute("aria-label", `Look inside the twin ${key === "mask" ? "with" : "without"} the mask`);
    const head = lab.el("div", { class: "lab-twin-head" }, lab.swatch(color), lab.el("h3", {}, title), when, look);
    return { column: lab.el("div", { class: "lab-twin" }, head, replies), when, replies, look };
  }

  // -- which twins -----------------------------------------------------------------------------------

  let pair = null; // {mask: summary, "no-mask": summary}
  let chosen = null; // "twins-3"
  let pinned = false; // chosen by a person, so newer twins do not take its place
  const feeds = {};
  const unfollow = [];

  const twin = (id) => SIDES.some(({ key }) => pair?.[key]?.id === id);

  function pairs() {
    const found = new Map();
    for (const run of lab.runs) {
      const match = TWIN.exec(run.id);
      if (match && !run.error) found.set(match[1], { ...found.get(match[1]), [match[2]]: run });
    }
    return new Map([...found].filter(([, twins]) => twins.mask && twins["no-mask"]));
  }

  function refresh() {
    const all = pairs();
    const newest = [...all.keys()][0] ?? null;
    if (!all.has(chosen)) pinned = false;
    const wanted = pinned ? chosen : newest;
    pair = all.get(wanted) ?? null;
    picker.hidden = all.size < 2;
    if (select.dataset.names !== String([...all.keys()])) {
      select.dataset.names = String([...all.keys()]);
      select.replaceChildren(...[...all.keys()].map((name) => lab.el("option", { value: name }, name.replace("-", " "))));
    }
    select.value = wanted ?? "";
    if (wanted !== chosen) follow(wanted);
    draw();
  }

  function choose(name) {
    pinned = true;
    pair = pairs().get(name) ?? null;
    follow(name);
    draw();
  }

  function follow(name) {
    chosen = name;
    for (const stop of unfollow.splice(0)) stop();
    for (const { key } of SIDES) {
      delete feeds[key];
      if (!pair) continue;
      const stop = lab.follow(pair[key].id, (latest) => {
        feeds[key] = latest;
        draw();
      });
      unfollow.push(stop);
    }
  }

  function lookInside(key) {
    if (pair) lab.set({ page: "attention", run: pair[key].id, step: feeds[key]?.steps.at(-1) });
  }

  // -- drawing ---------------------------------------------------------------------------------------

  const rowsOf = (key) => feeds[key]?.rows ?? [];
  const shownStep = () => (twin(lab.state.run) ? lab.state.step : null);

  function draw() {
    root.dataset.status = pair ? SIDES.map(({ key }) => feeds[key]?.manifest.status ?? pair[key].status).join(" ") : "";
    root.classList.toggle("bare", !pair);
    const curve = ({ key, color, prefix }) => lab.curves.losses(rowsOf(key), color, { prefix, heldout: false, masked: true });
    losses.update({
      series: SIDES.flatMap(curve),
      lines: lab.curves.references(feeds.mask?.manifest.reference).filter(({ name }) => name !== "unigram entropy"),
      mark: shownStep(),
    });
    const share = ({ key, color, prefix }) => lab.curves.futureMass(rowsOf(key), color, prefix.replace(" · ", ""));
    mass.update({ series: SIDES.map(share).filter(({ x }) => x.length), mark: shownStep() });
    lossBar.showLegend();
    massBar.showLegend();
    const button = document.getElementById("mask-train");
    if (button) button.disabled = root.dataset.status.split(" ").some(lab.isActive);
    for (const side of SIDES) drawColumn(side);
    tell();
  }

  function drawColumn({ key }) {
    const { when, replies, look } = columns[key];
    const samples = feeds[key]?.samples ?? [];
    const limit = shownStep() ?? Infinity;
    const step = samples.findLast((sample) => sample.step <= limit)?.step;
    when.textContent = step === undefined ? "" : `step ${lab.count(step)}`;
    look.disabled = !feeds[key]?.steps.length;
    const shown = samples.filter((sample) => sample.step === step);
    replies.replaceChildren(
      ...shown.map(({ prompt, text }) =>
        lab.el("div", {}, lab.el("p", { class: "lab-asked" }, prompt), lab.el("p", {}, lab.reply(text))),
      ),
    );
    if (!shown.length) replies.append(lab.el("p", { class: "lab-empty" }, "Replies appear with each checkpoint."));
  }

  /* One sentence on where the twins stand, made of their own numbers. */
  function tell() {
    told.textContent = pair ? sentence() : "No twins have been trained here yet. They take about a minute.";
  }

  function sentence() {
    // Side by side means at one step, the last that both have done.
    const step = Math.min(...SIDES.map(({ key }) => rowsOf(key).findLast((row) => row.kind === "step")?.step ?? 0));
    const last = (key, field) => rowsOf(key).findLast((row) => row.step <= step && row[field] != null)?.[field];
    const [a, b] = SIDES.map(({ key }) => last(key, "loss"));
    const masked = last("no-mask", "masked_loss");
    const states = SIDES.map(({ key }) => feeds[key]?.manifest.status ?? pair[key].status);
    if (a === undefined || b === undefined) {
      const waits = states.includes("queued") ? "waiting for a free place" : states.includes("running") ? "preparing their data" : states[1];
      return `The twins are ${waits}.`;
    }
    const over = states.every((state) => state === "finished") ? "The twins are done" : `The twins are ${states.includes("running") ? "training" : states[1]}`;
    const back = masked === undefined ? "" : `; with the mask put back it is at ${lab.number(masked)}`;
    return `${over}: at step ${lab.count(step)} the one with the mask is at a loss of ${lab.number(a)}, the one without at ${lab.number(b)}${back}.`;
  }

  lab.watch(["runs"], refresh);
  lab.watch(["step", "run"], draw);
});
