/* lab.anatomy: which token, layer, head and number are looked at, and what the model says of them.

   The layer and the head are the lab's; the token's position and the number whose arithmetic is open are choices of
   this page. A number is {stage, layer, pos, head, index}, as guppy.inspect.arithmetic.explain is asked for it; in the
   address "l" and "t" stand for the layer and the token that are looked at, so that it stays with them. */
(() => {
  "use strict";

  const lab = window.lab;
  const PAGE = "anatomy";
  const [TOKEN, NUMBER] = ["anatomy.token", "anatomy.number"];
  const anatomy = (lab.anatomy = { TOKEN, NUMBER });

  // -- where -----------------------------------------------------------------------------------------

  const reading = { key: "", n: null }; // how many tokens the prompt is for this run

  /* The tokens' number, or null until it is known: then the question is asked again. */
  function count() {
    const { run, prompt } = lab.state;
    const key = JSON.stringify([run, prompt]);
    if (reading.key !== key) {
      Object.assign(reading, { key, n: null });
      lab.tokens(run, prompt).then(
        ({ tokens }) => {
          if (reading.key !== key) return;
          reading.n = tokens.length;
          anatomy.refresh();
        },
        () => reading.key === key && Object.assign(reading, { key: "" }),
      );
    }
    return reading.n;
  }

  anatomy.layer = () => lab.state.layer ?? 0;
  anatomy.head = () => lab.state.head ?? 0;
  anatomy.position = () => lab.choices.number(TOKEN, count() ?? 0, (count() ?? 0) - 1);

  function where() {
    if (lab.state.page !== PAGE || lab.state.run === null || count() === null) return null;
    return { layer: anatomy.layer(), pos: anatomy.position(), head: anatomy.head() };
  }

  anatomy.setLayer = (layer) => {
    const run = lab.run();
    if (layer >= 0 && layer < run.n_layers) lab.set({ layer, head: anatomy.head() });
  };
  anatomy.setHead = (head) => lab.set({ layer: anatomy.layer(), head });

  // -- the number whose arithmetic is open -------------------------------------------------------------

  let trail = []; // numbers that were followed from the first one, the first left out

  function root() {
    const parts = (lab.choices.get(NUMBER) ?? "").split(".");
    const at = where();
    if (parts.length !== 5 || !at) return null;
    const [stage, layer, pos, head, index] = parts;
    const found = { layer: layer === "l" ? at.layer : +layer, pos: pos === "t" ? at.pos : +pos, head: +head, index: +index };
    return Object.values(found).every(Number.isInteger) ? { stage, ...found } : null;
  }

  /* The number that is explained, or null. */
  anatomy.number = () => trail.at(-1) ?? root();
  anatomy.root = root;
  anatomy.trail = () => (root() ? [root(), ...trail] : []);

  anatomy.open = (number) => {
    const at = where();
    const full = { layer: at.layer, pos: at.pos, head: at.head, ...number };
    trail = [];
    const layer = full.layer === at.layer ? "l" : full.layer;
    const pos = full.pos === at.pos ? "t" : full.pos;
    lab.choices.set(NUMBER, [full.stage, layer, pos, full.head, full.index].join("."));
    changed();
  };

  anatomy.follow = (number) => {
    trail = [...trail, number];
    changed();
  };

  /* Back to a number of the trail. */
  anatomy.back = (i) => {
    trail = trail.slice(0, i);
    changed();
  };

  /* The number beside the one that is open. */
  anatomy.neighbour = (by, length) => {
    const now = anatomy.number();
    const next = { ...now, index: (now.index + by + length) % length };
    if (!trail.length) return anatomy.open(next);
    trail = [...trail.slice(0, -1), next];
    changed();
  };

  /* Look at the number's own token, layer and head, with its arithmetic open. */
  anatomy.visit = ({ stage, layer, pos, head, index }) => {
    trail = [];
    lab.choices.set({ [TOKEN]: pos === count() - 1 ? null : pos, [NUMBER]: [stage, "l", "t", head, index].join(".") });
    lab.set({ layer, head });
    changed();
  };

  anatomy.close = () => {
    trail = [];
    lab.choices.set(NUMBER, null);
    changed();
  };

  const listeners = new Set();
  anatomy.onNumber = (fn) => listeners.add(fn);

  function changed() {
    anatomy.explained?.refresh();
    listeners.forEach((fn) => fn());
  }

  // -- what the model says -----------------------------------------------------------------------------

  /* The answers are asked for when the first component is there. */
  anatomy.start = () => {
    lab.on(["run", "prompt", "layer"], () => (trail = []));
    anatomy.q = lab.question("anatomy", { page: PAGE, scrub: true, options: where });
    anatomy.explained = lab.question("explain", { page: PAGE, scrub: true, options: () => (where() ? anatomy.number() : null) });
    const weights = () => (where() ? { layer: anatomy.layer(), head: anatomy.head() } : null);
    anatomy.matrices = lab.question("matrices", { page: PAGE, scrub: true, prompt: false, options: weights });
    lab.choices.on([NUMBER], changed);
  };

  anatomy.refresh = () => {
    anatomy.q.refresh();
    anatomy.matrices.refresh();
    changed();
  };

  const asked = new Map();

  /* Facts that do not change with the step: the text of every token, the lines of code. */
  function facts(what, key) {
    const { run, step } = lab.state;
    if (!asked.has(key)) {
      const answer = lab.getBytes(lab.url(`lab/inspect/${what}`, { run, step }));
      asked.set(key, answer.then(({ header }) => header.answers[0].facts[what]));
      asked.get(key).catch(() => asked.delete(key));
    }
    return asked.get(key);
  }

  anatomy.vocabulary = () => facts("vocabulary", `vocabulary of ${lab.state.run}`);
  anatomy.code = () => facts("code", "code");
})();
