/* lab.neurons(): what the parts of the Neurons page share: which neuron is looked at, its answers, and the index.

   A neuron is chosen by a click on the map, kept in the address as neurons.layer and neurons.neuron; until then it is the
   one that writes most at the prompt's last token. The index of a checkpoint (every text of the corpus, read once) is
   built by a process of its own; how far that is, is asked once a second. */
(() => {
  "use strict";

  const lab = window.lab;
  const PAGE = "neurons";
  const EVERY = 1000; // ms between two questions how far an index is
  let made = null;

  lab.neurons = () => (made ??= make());

  function make() {
    const listeners = new Set();
    const tell = () => listeners.forEach((fn) => fn());
    let hovered = null; // a neuron of the map under the hand
    let natural = null; // {key, at}: the neuron that is shown until one is chosen

    // -- which neuron --------------------------------------------------------------------------------

    const all = lab.question("neurons", { page: PAGE, scrub: true });

    /* [layers, positions, neurons] of what is there. */
    const shape = () => all.shown.arrays.activation.shape;

    /* The chosen one, [layer, neuron]; null as long as nothing is known of the run. */
    function chosen() {
      if (!all.shown) return null;
      const [layers, , neurons] = shape();
      const layer = lab.choices.number("neurons.layer", layers);
      const neuron = lab.choices.number("neurons.neuron", neurons);
      return layer === null || neuron === null ? automatic() : [layer, neuron];
    }

    /* The same one at all steps of a run and a prompt, so that scrubbing shows how it came to be. */
    function automatic() {
      const { header } = all.shown;
      const key = JSON.stringify([header.run, header.prompt]);
      if (natural?.key !== key) natural = { key, at: strongest(shape()[1] - 1, 1)[0].at };
      return natural.at;
    }

    const isPinned = () => lab.choices.get("neurons.layer") !== null && lab.choices.get("neurons.neuron") !== null;

    function choose(at) {
      const [layer, neuron] = at ?? [null, null];
      lab.choices.set({ "neurons.layer": layer, "neurons.neuron": neuron });
    }

    /* The position whose token is looked at: pinned, or the last. */
    function position() {
      const n = shape()[1];
      return lab.choices.number("neurons.position", n, n - 1);
    }

    /* The neurons that write most at a position: [{at, activation, written}]. */
    function strongest(pos, k) {
      const [layers, , neurons] = shape();
      const found = [];
      for (let layer = 0; layer < layers; layer++) {
        for (let neuron = 0; neuron < neurons; neuron++) {
          const activation = all.shown.at("activation", layer, pos, neuron);
          const written = Math.abs(activation) * all.shown.at("norm", layer, neuron);
          found.push({ at: [layer, neuron], activation, written });
        }
      }
      return found.sort((a, b) => b.written - a.written).slice(0, k);
    }

    /* What a neuron does at each position. */
    const track = ([layer, neuron]) => Array.from({ length: shape()[1] }, (_, pos) => all.shown.at("activation", layer, pos, neuron));

    // -- the index -----------------------------------------------------------------------------------

    const known = new Map(); // run and step -> {index, job}, as the server says
    let asking = 0;
    let trouble = null;

    const keyOf = ({ run, step }) => JSON.stringify([run, step]);
    const told = () => known.get(keyOf(lab.state)) ?? null;
    const index = () => told()?.index ?? null;

    /* Ask how it is with the current step's index, and once more as long as one is being built. */
    async function look() {
      clearTimeout(asking);
      const { page: shown, run, step } = lab.state;
      if (shown !== PAGE || run === null || step === null) return;
      await hear(() => lab.getJSON(lab.url("lab/neurons/index", { run, step })), { run, step });
      if (told()?.job?.running) asking = setTimeout(look, EVERY);
    }

    async function hear(ask, at) {
      trouble = null;
      try {
        known.set(keyOf(at), await ask());
      } catch (error) {
        trouble = error.message;
      }
      activity.refresh();
      top.refresh();
      tell();
    }

    async function order(what) {
      clearTimeout(asking);
      const { run, step } = lab.state;
      await hear(() => lab.post(`lab/neurons/${what}`, { run, step }), { run, step });
      asking = setTimeout(look, EVERY);
    }

    // -- answers that follow -------------------------------------------------------------------------

    const named = (at) => at && { layer: at[0], neuron: at[1] };
    const one = lab.question("neuron", { page: PAGE, scrub: true, options: () => named(chosen()) });
    const activity = lab.question("neuron-activity", {
      page: PAGE,
      prompt: false,
      options: () => (index() ? { texts: 0 } : null),
    });
    const top = lab.question("neuron-top", { page: PAGE, prompt: false, options: () => (index() ? named(chosen()) : null) });

    const page = {
      all,
      one,
      activity,
      top,
      shape,
      chosen,
      choose,
      isPinned,
      position,
      strongest,
      track,
      index,
      /* The one that is being built, of whatever run, or how this one's building ended; null. */
      job: () => told()?.job ?? null,
      /* Whether it is known if there is an index. */
      knows: () => told() !== null,
      trouble: () => trouble,
      build: () => order("index"),
      stop: () => order("stop"),
      /* The neuron under the hand, or the chosen one. */
      seen: () => hovered ?? chosen(),
      preview: (at) => {
        hovered = at;
        tell();
      },
      title: ([layer, neuron]) => `Layer ${layer} · neuron ${neuron}`,
      /* What stands in place of numbers that only the index tells. */
      untold: "Known as soon as the index above is built.",
      plain: (x) => String(Number(x.toPrecision(3))),
      percent: (share) => `${lab.number(100 * share)}%`,
      /* fn() when another neuron is seen, or more is known of the index; returns unsubscribe. */
      on: (fn) => {
        listeners.add(fn);
        return () => listeners.delete(fn);
      },
    };

    // The first answer says which neuron is the natural one; what is asked of it follows.
    all.on(() => [one, top].forEach((q) => q.refresh()));
    lab.choices.on(["neurons.layer", "neurons.neuron", "neurons.position"], tell);
    lab.watch(["page", "run", "step"], look);
    return page;
  }
})();
