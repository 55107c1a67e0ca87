/* The tuned lens: trained on a click for the step that is looked at, then a grid beside the logit lens; and how near
   both lenses come to the final answer, layer by layer. */
(() => {
  "use strict";

  const lab = window.lab;
  const { layers } = lab;
  let tuned = null; // {q, about(), onChange(fn)}: shared by the grid and the curves

  /* Which steps of the run have a tuned lens, and the question for those that have. */
  function sharedTuned() {
    if (tuned) return tuned;
    const { PAGE } = layers();
    const listeners = new Set();
    let known = { run: null, steps: {} };
    const about = () => (known.run === lab.state.run ? (known.steps[lab.state.step] ?? null) : null);
    const q = lab.question("tuned-lens", { page: PAGE, options: () => (about() ? {} : null) });

    async function look() {
      const { page, run } = lab.state;
      if (page !== PAGE || run === null) return;
      try {
        const { steps } = await lab.getJSON(`lab/tuned/${encodeURIComponent(run)}`);
        if (run !== lab.state.run) return;
        known = { run, steps };
      } catch (error) {
        return lab.notify(error.message);
      }
      q.refresh();
      listeners.forEach((fn) => fn());
    }

    lab.watch(["page", "run"], look);
    lab.on(["tuning"], () => (lab.tuning ? listeners.forEach((fn) => fn()) : look()));
    lab.on(["step"], () => listeners.forEach((fn) => fn()));
    tuned = { q, about, onChange: (fn) => listeners.add(fn) };
    return tuned;
  }

  const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

  lab.component("layers-tuned", (root) => {
    const shared = sharedTuned();
    const { lens } = layers();
    const bar = lab.el("progress", { "aria-label": "Training the tuned lens", hidden: "" });

    function empty() {
      const at = lab.tuning;
      if (at?.run === lab.state.run && at.step === lab.state.step) {
        return at.of ? `Training: step ${at.done} of ${at.of}.` : "Training: reading the corpus.";
      }
      return "Not trained at this step yet: seconds for fry, about a minute for guppy.";
    }

    function held() {
      const { points, kl_before, kl_after, heldout_tokens } = shared.q.shown.facts;
      const names = layers.pointLabels(points);
      const rows = kl_before.map((before, i) => `${names[i]} ${lab.number(before)} → ${lab.number(kl_after[i])}`);
      return `Held-out text (${lab.count(heldout_tokens)} tokens), KL to final in nats, logit lens → tuned lens: ${rows.join(", ")}.`;
    }

    const fig = lab.layers.grid(root, shared.q, {
      title: "Tuned lens",
      about: "The same after an affine map for each layer, learned on the run's own text, that turns its stream into the coordinates of the last.",
      row: (point, shown) => Math.min(Math.ceil(Math.min(point, 2 * shown.facts.points.length) / 2), shown.facts.points.length - 1),
      point: (row) => Math.min(2 * row, (lens.shown?.facts.points.length ?? 1) - 1),
      empty,
      note: held,
    });
    root.append(bar);

    function paint() {
      const at = lab.tuning;
      const here = at && at.run === lab.state.run && at.step === lab.state.step;
      bar.hidden = !here;
      if (here && at.of) Object.assign(bar, { value: at.done, max: at.of });
      else bar.removeAttribute("value");
      const button = document.getElementById("layers-train");
      if (button) {
        const run = lab.run();
        button.classList.toggle("lab-gone", Boolean(shared.about() || here || !run?.steps.length || run.error));
        button.disabled = Boolean(at);
      }
      fig.paint();
    }

    shared.onChange(paint);
    lab.watch(["page", "runs"], paint);
  });

  lab.component("layers-nearness", (root) => {
    const shared = sharedTuned();
    const { lens } = layers();

    /* The mean over positions of each point's KL; without the last point, where it is 0. */
    function nearness({ arrays }) {
      const { data, shape } = arrays.kl;
      return Array.from({ length: shape[0] - 1 }, (_, p) => mean(data.subarray(p * shape[1], (p + 1) * shape[1])));
    }

    const curve = (name, color, every, y) => ({ name, x: y.map((_, i) => every * i), y, color, points: true });

    function data() {
      const names = layers.pointLabels(lens.shown.facts.points);
      const series = [curve("logit lens", "accent", 1, nearness(lens.shown))];
      if (shared.q.shown) series.push(curve("tuned lens", "attention-1", 2, nearness(shared.q.shown)));
      return { series, xTitle: "read after", yTitle: "KL to final, nats", xTicks: names.slice(0, -1).map((name, i) => [i, name]), xRange: [-0.4, names.length - 1.6], logY: true };
    }

    const fig = lab.lines(root, {
      title: "How near the answer is",
      about: "KL of the final distribution to what a lens reads, in nats, a mean over the positions of this prompt.",
      question: lens,
      data,
      unit: "nats",
      height: 200,
      showX: (x) => layers.pointLabels(lens.shown.facts.points)[x],
      filename: () => lens.filename("kl"),
      label: "KL to the final distribution, layer by layer, for both lenses",
    });
    shared.q.on(fig.paint);
  });
})();
