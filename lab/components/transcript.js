/* What a checkpoint replied to the prompt pack: questions that no grammar made, group by group. */
lab.component("transcript", (root) => {
  "use strict";

  const KINDS = { exact: "a training reply", near: "nearly a training reply", composed: "composed", new: "new" };
  const title = lab.el("h2", {});
  const about = lab.el("p", { class: "caption" }, "Beside each reply: whether training has it, nearly has it, has its pieces, or never had it; marked are those with a sentence that puts words together as no training reply does.");
  const groups = lab.el("div", {});
  root.append(title, about, groups);
  let feed = null;
  let unfollow = () => {};

  /* {step, groups: [[name, [row]]]} of the last measured checkpoint at or before the time bar's step. */
  function transcript() {
    const rows = (feed?.transcript ?? []).filter(({ step }) => step <= (lab.state.step ?? Infinity));
    if (!rows.length) return null;
    const step = Math.max(...rows.map((row) => row.step));
    // A prompt asked again counts as it was answered last.
    const latest = new Map(rows.filter((row) => row.step === step).map((row) => [JSON.stringify([row.group, row.prompt]), row]));
    const found = new Map();
    for (const row of latest.values()) found.set(row.group, [...(found.get(row.group) ?? []), row]);
    return { step, groups: [...found] };
  }

  function draw() {
    if (lab.state.page !== "scores") return;
    const told = transcript();
    root.hidden = !told;
    if (!told) return;
    title.textContent = `What it says to prompts that no grammar made, at step ${lab.count(told.step)}`;
    const open = new Set([...groups.querySelectorAll("details[open]")].map((each) => each.dataset.group));
    groups.replaceChildren(
      ...told.groups.map(([name, rows]) =>
        lab.el(
          "details",
          { "data-group": name, open: open.has(name) || null },
          lab.el("summary", {}, name, lab.el("span", { class: "muted" }, ` ${rows.length} prompts`)),
          lab.el("table", { class: "lab-table" }, lab.el("tbody", {}, ...rows.map(line))),
        ),
      ),
    );
  }

  function line({ prompt, text, kind, strange }) {
    return lab.el(
      "tr",
      { class: strange ? "strange" : null },
      lab.el("th", { scope: "row" }, prompt),
      lab.el("td", {}, lab.reply(text)),
      lab.el("td", { class: "muted" }, KINDS[kind] ?? "", strange ? ", strange" : ""),
    );
  }

  function refresh() {
    unfollow();
    unfollow = () => {};
    feed = null;
    draw();
    if (lab.state.page !== "scores" || lab.state.run === null) return;
    unfollow = lab.follow(lab.state.run, (latest) => {
      feed = latest;
      draw();
    });
  }

  lab.watch(["run", "page", "scores"], refresh);
  lab.on(["step"], draw);
});
