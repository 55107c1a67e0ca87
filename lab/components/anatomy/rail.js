/* lab.anatomy.rail(stages, elementOf): the list of stages, which of them is looked at, and walking through them. */
(() => {
  "use strict";

  const lab = window.lab;
  const { anatomy } = lab;
  const STAGE = "anatomy.stage";
  const PACE = 2600; // ms that a stage is shown while playing
  const OWN = 900; // ms that a scroll of our own may take
  const SIGHT = 0.3; // of the window's height: what stands there is looked at
  const calm = window.matchMedia("(prefers-reduced-motion: reduce)");

  const frameHeight = () => document.getElementById("lab-frame")?.offsetHeight ?? 0;

  anatomy.rail = (stages, elementOf) => {
    let current = 0;
    let playing = 0;
    let arrived = false;
    let going = 0; // until when scrolling is our own
    let asked = false;

    const button = (text, label, fn) => lab.el("button", { type: "button", class: "plain", title: label, "aria-label": label, onclick: fn }, text);
    const play = button("Play", "Walk through the stages", () => (playing ? stop() : start()));
    const back = button("‹", "The stage before (k)", () => go(-1));
    const on = button("›", "The next stage (j)", () => go(1));
    const where = lab.el("span", { class: "where" });
    const list = lab.el("ol", { class: "stages" });
    const walker = lab.el("div", { class: "walker" }, play, lab.el("span", { class: "beside" }, back, on), where);
    const element = lab.el("nav", { class: "rail", "aria-label": "Stages" }, walker, list);
    const groups = [...new Set(stages.map(({ group }) => group))];
    for (const group of groups) {
      list.append(lab.el("li", { class: "group" }));
      stages.forEach((stage, i) => {
        if (stage.group !== group) return;
        list.append(lab.el("li", { "data-stage": i }, lab.el("button", { type: "button", onclick: () => to(i) }, stage.title)));
      });
    }

    function paint() {
      const s = anatomy.q.shown;
      if (!s) return;
      list.querySelectorAll(".group").forEach((item, i) => {
        item.textContent = ["Attention", "MLP"].includes(groups[i]) ? `Layer ${s.facts.layer} · ${groups[i]}` : groups[i];
      });
      for (const item of list.querySelectorAll("[data-stage]")) {
        const i = Number(item.dataset.stage);
        item.classList.toggle("here", i === current);
        item.classList.toggle("is-off", Boolean(stages[i].off?.(s)));
        item.firstChild.setAttribute("aria-current", i === current ? "step" : "false");
      }
      where.textContent = `${current + 1} of ${stages.length} · ${stages[current].title}`;
      stages.forEach((stage, i) => elementOf(stage).classList.toggle("here", i === current));
      back.disabled = current === 0;
      on.disabled = current === stages.length - 1;
    }

    function settle() {
      paint();
      lab.choices.set(STAGE, current ? stages[current].id : null);
    }

    function show(i, smooth = !calm.matches) {
      current = i;
      going = performance.now() + (smooth ? OWN : 100);
      const top = elementOf(stages[i]).getBoundingClientRect().top + scrollY - frameHeight() - 24;
      window.scrollTo({ top: i ? top : 0, behavior: smooth ? "smooth" : "instant" });
      settle();
    }

    function to(i) {
      stop();
      show(i);
    }

    const go = (by) => to(Math.min(stages.length - 1, Math.max(0, current + by)));

    function start() {
      if (current === stages.length - 1) current = -1;
      play.textContent = "Pause";
      const next = () => {
        if (current >= stages.length - 1) return stop();
        show(current + 1);
        playing = setTimeout(next, PACE);
      };
      next();
    }

    function stop() {
      clearTimeout(playing);
      playing = 0;
      play.textContent = "Play";
    }

    /* The stage that an address names is where the page opens. */
    function arrive() {
      element.closest(".lab-anatomy").style.setProperty("--frame", `${frameHeight()}px`);
      if (arrived) return;
      arrived = true;
      const named = stages.findIndex(({ id }) => id === lab.choices.get(STAGE));
      if (named > 0) requestAnimationFrame(() => show(named, false));
    }

    function look() {
      asked = false;
      if (lab.state.page !== "anatomy" || !anatomy.q.shown) return;
      const line = frameHeight() + (innerHeight - frameHeight()) * SIGHT;
      const ended = innerHeight + scrollY >= document.documentElement.scrollHeight - 4;
      const passed = stages.filter((stage) => elementOf(stage).getBoundingClientRect().top <= line).length;
      const at = ended ? stages.length - 1 : Math.max(0, passed - 1);
      if (at === current) return;
      current = at;
      settle();
    }

    window.addEventListener(
      "scroll",
      () => {
        if (asked || lab.state.page !== "anatomy" || performance.now() < going) return;
        asked = true;
        requestAnimationFrame(look);
      },
      { passive: true },
    );
    for (const kind of ["wheel", "touchmove"]) window.addEventListener(kind, () => playing && stop(), { passive: true });
    window.addEventListener("keydown", (event) => {
      if (lab.state.page !== "anatomy" || event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.target.closest?.("input, textarea, select") || !anatomy.q.shown) return;
      const layer = (by) => anatomy.setLayer(anatomy.layer() + by);
      const keys = { j: () => go(1), k: () => go(-1), "[": () => layer(-1), "]": () => layer(1) };
      if (!keys[event.key]) return;
      event.preventDefault();
      keys[event.key]();
    });
    lab.on(["page"], stop);
    return { element, paint, arrive, to };
  };
})();
