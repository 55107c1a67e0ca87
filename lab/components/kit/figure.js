/* lab.figure(root, options): a drawing with its title, what it says under the hand, its caption, and files to keep.

   It repaints when its questions have another answer, when its width changes and with the theme. A drawing returns its
   height; marks of the hand lie on a second canvas. The same drawing goes into the files. What is off the screen is
   painted when the hand rests.

   options: title, about (a sentence), note (a line below), caption, filename, each a text or a function; question (one
   of lab.question, or several: it draws when all of them have something to show); draw(ink, width) -> height;
   over(ink, width) for marks; hit(x, y, width) -> what is there, any plain value or null; hover(target), click(target),
   move([right, down]) for arrow keys, leave() for Escape; readout(target) -> what is said of it; csv() -> rows of
   cells, the first with names; empty (a sentence while nothing is asked); label (for screen readers); npz: false.
   The figure has element, controls (a place for lab.choice and its like), target, paint(), point() for a changed pin,
   and aim(target) for what the keyboard looks at. */
(() => {
  "use strict";

  const lab = window.lab;
  const [MARGIN, LINE, TITLE] = [16, 16, 28]; // px of a picture to keep: around, between lines of the caption, of the title
  const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  const REST = 120; // ms
  const NO_RUN = "There is no run to look at yet: train one on the Train page.";
  const NO_STEP = "This run has no checkpoint yet; its first is on its way.";

  const said = (value, ...given) => (typeof value === "function" ? value(...given) : value) ?? "";

  lab.figure = (root, options) => {
    const questions = [options.question ?? []].flat();
    const [first] = questions;
    const title = lab.el("h2", {});
    const about = lab.el("p", { class: "kit-about muted" });
    const controls = lab.el("div", { class: "kit-controls" });
    const readout = lab.el("p", { class: "kit-readout", "aria-live": "polite" });
    const base = lab.el("canvas", {});
    const over = lab.el("canvas", { "aria-hidden": "true" });
    const active = Boolean(options.move || options.click);
    const plot = lab.el("div", {
      class: "kit-plot",
      role: active ? "application" : "img",
      tabindex: active ? 0 : null,
    });
    plot.append(base, over);
    const note = lab.el("p", { class: "caption" });
    const caption = lab.el("p", { class: "caption" });
    const status = lab.el("p", { class: "caption kit-status" });
    const ways = { PNG: () => paper().png(filename()), SVG: () => paper().svg(filename()) };
    if (options.csv) ways.CSV = () => lab.saveTable(options.csv(), filename());
    if (first && options.npz !== false) ways.NPZ = () => lab.saveAnswer(first.url({ format: "npz" }), `${filename()}.npz`);
    const saves = lab.saves(ways);
    const words = lab.el("div", {}, note, caption, status);
    const element = lab.el("section", { class: "kit-figure" });
    element.append(title, about, controls, readout, plot, lab.el("div", { class: "kit-foot" }, words, saves));
    root.append(element);

    let [width, height] = [0, 0]; // what was drawn last
    let target = null; // what is under the hand
    let seen = true; // whether it is on the screen, or nearly
    let later = 0; // the painting that waits

    const fig = {
      element,
      controls,
      question: first ?? null,
      get target() {
        return target;
      },
      paint,
      point,
    };

    // -- painting ------------------------------------------------------------------------------------

    const ready = () => questions.every((q) => q.shown);

    /* At once what can be seen; the rest as soon as the hand rests, so that it does not slow the hand down. */
    function paint() {
      clearTimeout(later);
      later = seen ? 0 : setTimeout(paintNow, REST);
      if (seen) paintNow();
    }

    function look(entries) {
      seen = entries.at(-1).isIntersecting;
      if (seen && later) paint();
    }

    function paintNow() {
      later = 0;
      const room = plot.clientWidth;
      const there = ready();
      const busy = questions.some((q) => q.busy);
      element.classList.toggle("waiting", busy);
      write(there, busy);
      if (!there) {
        if (!busy) clear();
        return;
      }
      if (!room) return;
      if (room !== width) setTarget(null);
      const drawn = Math.ceil(options.draw(lab.ink.onCanvas(base, room, height), room));
      const grown = drawn !== height;
      if (grown || room !== width) {
        [width, height] = [room, drawn];
        for (const canvas of [base, over]) canvas.style.cssText = `width:${width}px;height:${height}px`;
        plot.style.height = `${height}px`;
      }
      if (grown) options.draw(lab.ink.onCanvas(base, width, height), width);
      note.textContent = said(options.note);
      point();
      if (first) element.dataset.painted = JSON.stringify([first.shown.header.run, first.shown.step, first.shown.header.prompt]);
    }

    function clear() {
      [width, height] = [0, 0];
      plot.style.height = "0";
      for (const canvas of [base, over]) canvas.width = canvas.height = 0;
      readout.textContent = "";
      delete element.dataset.painted;
    }

    function write(there, busy) {
      title.textContent = said(options.title);
      title.hidden = !title.textContent;
      plot.setAttribute("aria-label", options.label ?? title.textContent);
      about.textContent = said(options.about);
      about.hidden = !about.textContent;
      caption.textContent = there ? inWords() : "";
      if (!there) note.textContent = "";
      saves.hidden = !there;
      readout.hidden = !options.readout || !there;
      const run = lab.run();
      const trouble = questions.find((q) => q.problem)?.problem ?? run?.error;
      status.textContent = trouble ?? (there ? progress() : busy ? "computing …" : waiting(run));
      status.classList.toggle("trouble", Boolean(trouble));
    }

    const waiting = (run) => (!run ? NO_RUN : run.steps.length ? said(options.empty) : NO_STEP);
    const inWords = () => (options.caption ? options.caption() : (first?.caption() ?? ""));

    function progress() {
      const all = questions.filter((q) => q.scrub);
      if (!all.length) return "";
      const have = Math.min(...all.map((q) => q.progress().have));
      const { of } = all[0].progress();
      return have < of ? `${have} of ${of} checkpoints are in the browser` : `all ${of} checkpoints are in the browser`;
    }

    /* The marks of hand and pin, and what they say. */
    function point() {
      if (later || !width || !height || !ready()) return;
      readout.textContent = said(options.readout, target);
      if (options.over) options.over(lab.ink.onCanvas(over, width, height), width);
    }

    // -- the hand ------------------------------------------------------------------------------------

    function setTarget(next) {
      if (JSON.stringify(next) === JSON.stringify(target)) return;
      target = next;
      options.hover?.(target);
      point();
    }

    function under(event) {
      if (!options.hit || !height || !ready()) return null;
      const box = base.getBoundingClientRect();
      return options.hit(event.clientX - box.left, event.clientY - box.top, width) ?? null;
    }

    if (options.hit) {
      plot.addEventListener("pointermove", (event) => {
        if (event.pointerType !== "mouse") return;
        setTarget(under(event));
        plot.style.cursor = target === null ? "" : options.click ? "pointer" : "crosshair";
      });
      plot.addEventListener("pointerleave", () => setTarget(null));
      plot.addEventListener("click", (event) => {
        const at = under(event);
        if (at !== null && !options.click) setTarget(at); // a finger cannot hover
        if (at !== null) options.click?.(at);
      });
    }
    plot.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || !ready()) return;
      const move = options.move && ARROWS[event.key];
      const press = options.click && target !== null && ["Enter", " "].includes(event.key);
      if (move || press) event.preventDefault();
      if (move) options.move(move);
      else if (press) options.click(target);
      else if (event.key === "Escape") options.leave?.();
    });

    /* What is looked at by keyboard. */
    fig.aim = setTarget;

    // -- files ---------------------------------------------------------------------------------------

    const filename = () => options.filename?.() ?? first?.filename() ?? "figure";

    const paper = () =>
      lab.paper({
        width,
        height,
        title: title.textContent,
        words: [note.textContent, caption.textContent],
        draw(ink) {
          options.draw(ink, width);
          options.over?.(ink, width);
        },
      });

    // Builders may still fill in what the drawing reads; the first painting waits for that.
    queueMicrotask(() =>
      lab.onReady(() => {
        questions.forEach((q) => q.on(paint));
        lab.onTheme(paint);
        new IntersectionObserver(look, { rootMargin: "200px" }).observe(element);
        new ResizeObserver(() => plot.clientWidth !== width && paint()).observe(plot);
      }),
    );
    return fig;
  };
})();
