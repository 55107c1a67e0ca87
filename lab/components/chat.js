/* A conversation. Its value is a list of turns {role, text, step, run, note, live}; Python streams it, this shows it. */
lab.component("chat", (root) => {
  "use strict";

  const list = lab.el("div", { class: "lab-turns", role: "log", "aria-live": "polite", "aria-label": "Conversation" });
  root.append(list);

  function turnOf({ role, text, run, step, note }) {
    const who = role === "user" ? "you" : `${run} · step ${lab.count(step)}`;
    const shown = lab.el("div", { class: "lab-said" });
    shown.textContent = text || (role === "user" ? "" : "…");
    const turn = lab.el("div", { class: `lab-turn ${role}` }, lab.el("div", { class: "caption" }, who), shown);
    if (note) turn.append(lab.el("div", { class: "lab-note" }, note));
    return turn;
  }

  function empty() {
    const name = lab.run()?.name ?? "a run";
    const step = lab.state.step === null ? "" : ` as it was at step ${lab.count(lab.state.step)}`;
    return lab.el("p", { class: "lab-empty" }, `Say something. ${name} answers${step}; move the time bar to talk to another step.`);
  }

  let turns = [];

  function show(value) {
    turns = Array.isArray(value) ? value : [];
    list.replaceChildren(...(turns.length ? turns.map(turnOf) : [empty()]));
    root.dataset.live = turns.at(-1)?.live ? "yes" : "no";
    list.scrollTop = list.scrollHeight;
  }

  root.show = show;
  show([]);
  lab.watch(["run", "step", "runs"], () => turns.length || show([]));
});
