/* What the fixed probe prompts produced: all of them at the time bar's step, and one of them at every checkpoint. */
lab.component("samples", (root) => {
  "use strict";

  const now = lab.el("div", { class: "lab-samples-now" });
  const select = lab.el("select", { "aria-label": "Probe prompt", onchange: () => drawHistory() });
  const rows = lab.el("tbody", {});
  const title = lab.el("h3", {});
  const picker = lab.el("div", { class: "select" }, select);
  const head = lab.el("tr", {}, lab.el("th", { scope: "col" }, "step"), lab.el("th", { scope: "col" }, "reply"));
  const history = lab.el(
    "div",
    { class: "lab-samples-history" },
    lab.el("div", { class: "lab-samples-head" }, lab.el("h3", {}, "Through training"), picker),
    lab.el("div", { class: "lab-scroll" }, lab.el("table", { class: "lab-table" }, lab.el("thead", {}, head), rows)),
  );
  root.append(lab.el("div", {}, title, now), history);

  let feed = null;
  let unfollow = () => {};

  /* The samples at the step, or at the last checkpoint before it that has some. */
  function drawNow() {
    const samples = feed?.samples ?? [];
    const steps = [...new Set(samples.map(({ step }) => step))];
    const step = steps.findLast((each) => each <= (lab.state.step ?? Infinity)) ?? steps[0];
    title.textContent = step === undefined ? "What it says" : `What it says at step ${lab.count(step)}`;
    const shown = samples.filter((sample) => sample.step === step);
    now.replaceChildren(
      ...shown.map(({ prompt, text }) => lab.el("div", {}, lab.el("p", { class: "lab-asked" }, prompt), lab.el("p", {}, lab.reply(text)))),
    );
    if (!shown.length) now.append(lab.el("p", { class: "lab-empty" }, "Replies to the probe prompts appear with each checkpoint."));
  }

  function drawPrompts() {
    const prompts = [...new Set((feed?.samples ?? []).map(({ prompt }) => prompt))];
    const known = [...select.options].map((option) => option.value);
    picker.hidden = !prompts.length;
    if (known.join("\n") === prompts.join("\n")) return;
    const kept = select.value;
    select.replaceChildren(...prompts.map((prompt) => lab.el("option", { value: prompt }, prompt)));
    select.value = prompts.includes(kept) ? kept : (prompts[0] ?? "");
  }

  function drawHistory() {
    const samples = (feed?.samples ?? []).filter(({ prompt }) => prompt === select.value).reverse();
    rows.replaceChildren(
      ...samples.map(({ step, text }) => {
        const go = lab.el("button", { type: "button", class: "lab-link", onclick: () => lab.set({ step }) }, lab.count(step));
        return lab.el("tr", { "data-step": step }, lab.el("td", {}, go), lab.el("td", {}, lab.reply(text)));
      }),
    );
    markStep();
  }

  function markStep() {
    for (const row of rows.children) row.classList.toggle("current", Number(row.dataset.step) === lab.state.step);
  }

  function draw() {
    drawNow();
    drawPrompts();
    drawHistory();
  }

  lab.watch(["run"], () => {
    unfollow();
    feed = null;
    draw();
    if (lab.state.run === null) return;
    unfollow = lab.follow(lab.state.run, (latest, fresh) => {
      feed = latest;
      if (fresh.samples.length) draw();
    });
  });
  lab.watch(["step"], () => {
    drawNow();
    markStep();
  });
});
