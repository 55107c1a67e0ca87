/* The frame around every page: which run, what was done to it, which prompt. The time bar is its own component. */
lab.component("frame", (root) => {
  "use strict";

  const DEBOUNCE = 90;

  // -- parts ---------------------------------------------------------------------------------------

  const select = lab.el("select", { id: "lab-run", "aria-label": "Run" });
  const badge = lab.el("span", { class: "badge", hidden: "" });
  const box = lab.el("textarea", {
    id: "lab-prompt",
    rows: 1,
    "aria-label": "Prompt",
    placeholder: "Say something to the fish",
    autocomplete: "off",
    spellcheck: "false",
  });
  const chips = lab.el("div", { class: "chips", role: "group", "aria-label": "The prompt as tokens", tabindex: 0 });
  const count = lab.el("span", { class: "count" });
  root.append(
    lab.el("div", { class: "row" }, lab.el("div", { class: "select" }, select), badge, lab.el("div", { class: "box" }, box)),
    lab.el("div", { class: "row reading" }, chips, count),
  );

  // -- run -----------------------------------------------------------------------------------------

  select.addEventListener("change", () => lab.set({ run: select.value }));

  /* Each run below its parent; a family belongs where its eldest does. */
  function families() {
    const here = new Set(lab.runs.map((run) => run.id));
    const children = (id) => lab.runs.filter((run) => run.parent?.run === id);
    const walk = (run, depth) => [{ run, depth }, ...children(run.id).flatMap((child) => walk(child, depth + 1))];
    const eldest = lab.runs.filter((run) => !run.parent || !here.has(run.parent.run));
    return [
      ["Your runs", eldest.filter((run) => !run.bundled)],
      ["Bundled runs", eldest.filter((run) => run.bundled)],
    ].map(([title, runs]) => [title, runs.flatMap((run) => walk(run, 0))]);
  }

  function label({ run, depth }) {
    const indent = depth ? `${"\u2003".repeat(depth - 1)}└ ` : "";
    const fork = depth ? ` from step ${run.parent.step}` : "";
    const state = run.error ? " · cannot be read" : run.status === "finished" ? "" : ` · ${run.status}`;
    return `${indent}${run.name}${fork}${state}`;
  }

  function showRuns() {
    const groups = families()
      .filter(([, members]) => members.length)
      .map(([title, members]) => {
        const options = members.map((member) => {
          const { id, error } = member.run;
          return lab.el("option", { value: id, disabled: error ? "" : null, title: error }, label(member));
        });
        return lab.el("optgroup", { label: title }, ...options);
      });
    const signature = groups.map((group) => group.textContent).join("\n");
    if (select.dataset.signature !== signature) {
      select.dataset.signature = signature;
      select.replaceChildren(...(groups.length ? groups : [lab.el("option", {}, "No runs yet: train one")]));
    }
    select.disabled = !groups.length;
    if (lab.state.run !== null) select.value = lab.state.run;
    const run = lab.run();
    const operated = Boolean(run?.surgery.length);
    badge.hidden = !operated;
    badge.textContent = operated ? run.surgery_text : "";
    badge.title = operated ? `This model is under surgery: ${run.surgery_text}` : "";
    root.classList.toggle("operated", operated);
  }

  // -- prompt --------------------------------------------------------------------------------------

  let typing = 0;

  function commit() {
    clearTimeout(typing);
    lab.set({ prompt: box.value });
  }

  box.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(commit, DEBOUNCE);
  });
  box.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    commit();
  });
  box.addEventListener("blur", commit);

  function showPrompt() {
    const { prompt } = lab.state;
    const mine = document.activeElement === box && box.value.endsWith(prompt);
    if (!mine && box.value !== prompt) box.value = prompt;
  }

  async function showTokens() {
    const { run, prompt } = lab.state;
    if (run === null) return chips.replaceChildren();
    let reading;
    try {
      reading = await lab.tokens(run, prompt);
    } catch (error) {
      if (run === lab.state.run && prompt === lab.state.prompt) {
        chips.replaceChildren(lab.el("span", { class: "trouble" }, error.message));
        count.textContent = "";
      }
      return;
    }
    if (run !== lab.state.run || prompt !== lab.state.prompt) return;
    const { tokens, cut } = reading;
    chips.replaceChildren(...lab.chips(tokens));
    const room = lab.run()?.n_ctx;
    const share = [`${tokens.length}`, lab.el("span", { class: "of" }, ` of ${room}`), " tokens"];
    count.replaceChildren(...(cut ? [`cut to the last ${tokens.length} tokens`] : share));
    count.classList.toggle("cut", cut);
    root.dataset.tokens = tokens.length;
  }

  lab.watch(["run", "runs"], showRuns);
  lab.watch(["prompt"], showPrompt);
  lab.watch(["run", "prompt"], showTokens);
});
