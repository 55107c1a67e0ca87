/* lab.curves: from a run's metrics rows to the lines of a chart, and the toolbar that every chart has. */
(() => {
  "use strict";

  const lab = window.lab;
  const REFERENCES = [
    ["log_v", "log V", "log V"],
    ["unigram", "unigram entropy", "unigram"],
    ["bigram", "bigram entropy", "bigram"],
    ["grammar", "grammar entropy", "grammar"],
  ];
  const DASHED = [5, 4];
  const DOTTED = [2, 3];

  const column = (rows, kind, field) => {
    const kept = rows.filter((row) => row.kind === kind && row[field] !== undefined);
    return { x: kept.map((row) => row.step), y: kept.map((row) => row[field]) };
  };

  lab.curves = {
    /* Training loss solid, held-out loss dashed; where the mask is off, the loss with it put back dotted. */
    losses(rows, color, { prefix = "", heldout = true, masked = false } = {}) {
      const series = [{ name: `${prefix}training`, color, ...column(rows, "step", "loss") }];
      if (heldout) series.push({ name: `${prefix}held-out`, color, dash: DASHED, ...column(rows, "eval", "heldout_loss") });
      if (masked) {
        const dash = heldout ? DOTTED : DASHED;
        series.push({ name: `${prefix}held-out, mask on`, color, dash, ...column(rows, "eval", "masked_loss") });
      }
      return series.filter(({ x }) => x.length);
    },

    futureMass(rows, color, name) {
      return { name, color, ...column(rows, "eval", "future_mass") };
    },

    /* The lines that a run knows; those from before a line was thought of lack it. */
    references(reference = {}) {
      const known = REFERENCES.filter(([key]) => reference[key] !== undefined);
      return known.map(([key, name, short]) => ({ name, short, y: reference[key] }));
    },

    /* What the lines say, in words. */
    meaning(reference = {}) {
      if (reference.bigram === undefined) return "";
      const least = reference.grammar === undefined ? "" : ", and of knowing the whole grammar, below which next to nothing is left to learn";
      return `Grey: the loss of even guesses (log V), of counting tokens, of counting pairs of tokens${least}.`;
    },

    perplexity: (loss) => `perplexity ${lab.number(Math.exp(loss))}`,

    /* Hands a file to the person. */
    save(name, content) {
      const blob = content instanceof Blob ? content : new Blob([content], { type: "text/csv" });
      const link = lab.el("a", { href: URL.createObjectURL(blob), download: name });
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    },

    /* Legend on the left; log-x (unless a page has it elsewhere) and downloads on the right. name() gives files and
       pictures their title. */
    toolbar(chart, name, { logs = true } = {}) {
      const legend = lab.el("div", { class: "lab-legend" });
      const log = lab.el("input", { type: "checkbox", onchange: () => (chart.logX = log.checked) });
      const button = (text, label, onclick) => lab.el("button", { type: "button", class: "plain", "aria-label": label, onclick }, text);
      const picture = async () => lab.curves.save(`${name()}.png`, await chart.png(name()));
      const numbers = () => lab.curves.save(`${name()}.csv`, chart.csv());
      const bar = lab.el(
        "div",
        { class: "lab-toolbar" },
        legend,
        ...(logs ? [lab.el("label", { class: "lab-check" }, log, "log steps")] : []),
        button("PNG", "Save this chart as a picture", picture),
        button("CSV", "Save these numbers as a table", numbers),
      );
      const showLegend = () => {
        const entries = chart.series.map(({ name, color, dash, fill }) => lab.el("span", {}, lab.swatch(color, dash, fill), name));
        legend.replaceChildren(...entries);
      };
      return { bar, showLegend };
    },
  };

  /* What a model said, on few lines: line breaks as ↵, and the whole of it on hover. Never markup. */
  lab.reply = (text, more = false) => {
    const shown = lab.el("span", { class: "lab-reply", title: text });
    shown.textContent = text.replace(/\n/g, "↵\u200b") + (more ? " …" : "");
    return text ? shown : lab.el("span", { class: "lab-reply" }, lab.el("i", {}, "(nothing)"));
  };

  // -- what a run is doing ---------------------------------------------------------------------------

  const ACTIVE = new Set(["queued", "running", "paused"]);
  lab.isActive = (status) => ACTIVE.has(status);

  /* Seconds that a run's budget still needs, null where nothing tells. */
  lab.secondsLeft = ({ train, parent, stop }, last) => {
    if (!last) return null;
    if (stop) return Math.max(0, (last.seconds / last.step) * (stop.step + stop.cooldown_steps - last.step));
    if (train.max_seconds) return Math.max(0, train.max_seconds - last.seconds);
    const start = parent?.step ?? 0;
    const [done, goal] = train.steps ? [last.step - start, train.steps] : [last.tokens, train.tokens];
    return done > 0 ? Math.max(0, (last.seconds * (goal - done)) / done) : null;
  };

  /* 7 s, 1 min 05 s, 1 h 02 min */
  lab.duration = (seconds) => {
    const s = Math.round(seconds);
    if (s < 60) return `${s} s`;
    const two = (n) => String(n).padStart(2, "0");
    if (s < 3600) return `${Math.floor(s / 60)} min ${two(s % 60)} s`;
    return `${Math.floor(s / 3600)} h ${two(Math.floor((s % 3600) / 60))} min`;
  };

  /* What an action on the server told: {error}, {run} to look at, {note}, {measuring}: the {run, step} that is being
     measured, null when it is done; or {tuning}: the same of a tuned lens, with how much is {done, of}. */
  lab.told = async (told) => {
    if (!told) return;
    if ("measuring" in told) {
      lab.measuring = told.measuring;
      lab.emit(["scores"]);
    }
    if ("tuning" in told) {
      lab.tuning = told.tuning;
      lab.emit(["tuning"]);
      if (told.tuning) return;
    }
    if (told.error) lab.notify(told.error);
    if (told.note) lab.notify(told.note, "note");
    if (!told.run) return lab.refreshRuns();
    await lab.adopt(told.run);
    // On a phone what begins is below the button that began it.
    document.querySelector(`#page-${lab.state.page} [data-begins]`)?.scrollIntoView({ block: "nearest" });
  };
})();
