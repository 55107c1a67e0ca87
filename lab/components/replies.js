/* The shared prompt's reply at every checkpoint: rows appear as they are computed, the time bar's step first. */
lab.component("replies", (root) => {
  "use strict";

  const DEBOUNCE = 250;
  const AT_ONCE = 2; // as many as the lab computes at once
  const KEPT = 1000;
  const TROUBLES = 3; // replies that fail before the others are not asked for
  const known = new Map(); // (run, step, prompt, sampling) -> reply or {error}; null while it is computed

  const asked = lab.el("p", { class: "caption" });
  const body = lab.el("tbody", {});
  const head = ["step", "loss", "reply"].map((word) => lab.el("th", { scope: "col" }, word));
  const table = lab.el("table", { class: "lab-table" }, lab.el("thead", {}, lab.el("tr", {}, ...head)), body);
  root.append(lab.el("h2", {}, "The same prompt at every checkpoint"), asked, lab.el("div", { class: "lab-scroll" }, table));

  let feed = null;
  let unfollow = () => {};
  let waiting = 0;
  let troubles = 0;
  let abort = new AbortController();
  let rows = new Map(); // step -> {row, loss, cell}

  const sampling = () => lab.state.sampling ?? "{}";
  const keyOf = (step) => JSON.stringify([lab.state.run, step, lab.state.prompt, sampling()]);

  // -- the table ---------------------------------------------------------------------------------------

  function drawTable() {
    const steps = lab.run()?.steps ?? [];
    rows = new Map(steps.map((step) => [step, rowOf(step)]));
    body.replaceChildren(...[...rows.values()].map(({ row }) => row));
    asked.textContent = `“${short(lab.state.prompt)}”, with the settings and the seed above, at each of ${steps.length} checkpoints.`;
    for (const step of steps) fill(step);
    drawLosses();
    markStep();
  }

  const short = (text) => (text.length > 200 ? `${text.slice(0, 200)}…` : text);

  function rowOf(step) {
    const go = lab.el("button", { type: "button", class: "lab-link" }, lab.count(step));
    const [loss, cell] = [lab.el("td", { class: "lab-loss" }), lab.el("td", { class: "lab-answer" })];
    const row = lab.el("tr", { "data-step": step, onclick: () => lab.set({ step }) }, lab.el("td", {}, go), loss, cell);
    return { row, loss, cell };
  }

  function fill(step) {
    const found = rows.get(step);
    if (!found) return;
    const reply = known.get(keyOf(step));
    found.row.classList.toggle("pending", !reply);
    if (!reply) return found.cell.replaceChildren();
    if (reply.error) return found.cell.replaceChildren(lab.el("span", { class: "lab-trouble" }, reply.error));
    found.cell.replaceChildren(lab.reply(reply.text, !reply.stopped));
  }

  function drawLosses() {
    for (const { step, heldout_loss: value } of feed?.rows.filter((row) => row.kind === "eval") ?? []) {
      const cell = rows.get(step)?.loss;
      if (!cell || value === null) continue;
      cell.textContent = lab.number(value);
      cell.title = `held-out loss in nats per token; ${lab.curves.perplexity(value)}`;
    }
  }

  function markStep() {
    for (const [step, { row }] of rows) row.classList.toggle("current", step === lab.state.step);
  }

  // -- asking ------------------------------------------------------------------------------------------

  function schedule() {
    clearTimeout(waiting);
    abort.abort();
    abort = new AbortController();
    troubles = 0;
    for (const [key, reply] of known) if (reply === null || reply.error) known.delete(key);
    if (lab.state.page !== "talk" || lab.state.run === null) return;
    drawTable();
    waiting = setTimeout(ask, DEBOUNCE);
  }

  /* The step looked at first, then its neighbours outwards: what is near on the time bar is wanted next. */
  function order() {
    const at = Math.log2(1 + (lab.state.step ?? 0));
    const missing = [...rows.keys()].filter((step) => !known.has(keyOf(step)));
    return missing.sort((a, b) => Math.abs(Math.log2(1 + a) - at) - Math.abs(Math.log2(1 + b) - at));
  }

  async function ask() {
    const { signal } = abort;
    const queue = order();
    await Promise.all(Array.from({ length: AT_ONCE }, () => work(queue, signal)));
  }

  async function work(queue, signal) {
    const { run, prompt } = lab.state;
    const settings = JSON.parse(sampling());
    for (let step = queue.shift(); step !== undefined && !signal.aborted; step = queue.shift()) {
      const key = keyOf(step);
      known.set(key, null);
      try {
        const { replies } = await lab.getJSON(lab.url("lab/replies", { run, prompt, steps: step, ...settings }), signal);
        known.set(key, replies[0]);
      } catch (error) {
        known.delete(key);
        if (error.name === "AbortError" || signal.aborted) return;
        known.set(key, { error: error.message });
        if (++troubles === TROUBLES) queue.length = 0; // it is not this step's fault
      }
      if (signal.aborted) return;
      fill(step);
    }
    while (known.size > KEPT) known.delete(known.keys().next().value);
  }

  // -- what changes --------------------------------------------------------------------------------------

  lab.watch(["run"], () => {
    unfollow();
    feed = null;
    if (lab.state.run === null) return;
    unfollow = lab.follow(lab.state.run, (latest, fresh) => {
      feed = latest;
      drawLosses();
      if (fresh.steps.some((step) => !rows.has(step))) schedule();
    });
  });
  lab.watch(["page", "run", "prompt", "sampling"], schedule);
  lab.watch(["step"], markStep);
});
