/* lab.attention: every head's pattern at the current run, prompt and step, from data kept in the browser.

   The current step is fetched and shown first, then all others in the background, nearest first; after that the time
   bar moves without the server. What is kept is bounded; the least recently used prompts go first. */
(() => {
  "use strict";

  const lab = window.lab;
  const CAPACITY = 128 * 2 ** 20; // bytes kept
  const PACKET = 4 * 2 ** 20; // bytes asked for at once in the background
  const BATCH = 8; // steps asked for at once at most

  const bundles = new Map(); // least recently used first
  const listeners = new Set();
  let current = null;
  let urgent = null; // what fetches the step that is looked at
  let filler = null; // what fetches the others

  const attention = {
    shown: null, // {header, step, pattern(layer, head) -> Uint16Array of n * n}
    problem: null, // a sentence
    /* fn() when what is shown, or how much is there, has changed. */
    on: (fn) => listeners.add(fn),
    /* {have, of}: checkpoints in the browser, checkpoints of the run. */
    progress: () => ({ have: current?.steps.size ?? 0, of: lab.run()?.steps.length ?? 0 }),
  };
  lab.attention = attention;

  const tell = () => listeners.forEach((fn) => fn());

  // -- what is kept ----------------------------------------------------------------------------------

  function open(run, prompt) {
    const key = JSON.stringify([run, prompt]);
    const bundle = bundles.get(key) ?? { run, prompt, header: null, steps: new Map(), bytes: 0, batch: BATCH, unreadable: new Set() };
    bundles.delete(key);
    bundles.set(key, bundle);
    return bundle;
  }

  function keep(bundle, { header, data }) {
    const size = header.layers * header.heads * header.n * header.n;
    bundle.header = header;
    header.steps.forEach((step, i) => {
      if (bundle.steps.has(step)) return;
      bundle.steps.set(step, data.slice(i * size, (i + 1) * size));
      bundle.bytes += 2 * size;
    });
    forget();
  }

  function forget() {
    let total = [...bundles.values()].reduce((sum, bundle) => sum + bundle.bytes, 0);
    for (const [key, bundle] of bundles) {
      if (total <= CAPACITY) return;
      if (bundle === current) continue;
      bundles.delete(key);
      total -= bundle.bytes;
    }
    for (const [step, data] of current?.steps ?? []) {
      if (total <= CAPACITY) return;
      if (step === lab.state.step) continue;
      current.steps.delete(step);
      current.bytes -= data.byteLength;
      total -= data.byteLength;
    }
  }

  // -- what is shown ---------------------------------------------------------------------------------

  function show() {
    const { step } = lab.state;
    const data = current?.steps.get(step);
    if (!data) {
      attention.shown = null;
      return false;
    }
    const { header } = current;
    const size = header.n * header.n;
    const pattern = (layer, head) => data.subarray((layer * header.heads + head) * size).subarray(0, size);
    attention.shown = { header, step, pattern };
    attention.problem = null;
    return true;
  }

  function refresh() {
    const { page, run, prompt, step } = lab.state;
    if (page !== "attention") return;
    urgent?.abort();
    attention.problem = null;
    if (run === null || step === null) {
      current = attention.shown = null;
      return tell();
    }
    if (current?.run !== run || current?.prompt !== prompt) {
      filler?.abort();
      filler = null;
      current = open(run, prompt);
    }
    if (show()) fill();
    else fetchNow();
    tell();
  }

  async function fetchNow() {
    const bundle = current;
    const { step } = lab.state;
    urgent = new AbortController();
    try {
      keep(bundle, await ask(bundle, [step], urgent.signal));
    } catch (error) {
      if (error.name === "AbortError") return;
      attention.problem = error.message;
      return tell();
    }
    if (bundle !== current || step !== lab.state.step) return;
    show();
    tell();
    fill();
  }

  /* All other checkpoints, those nearest to the hand first. */
  async function fill() {
    if (filler) return;
    const bundle = current;
    const { signal } = (filler = new AbortController());
    for (let next = missing(bundle); next.length; next = missing(bundle)) {
      try {
        keep(bundle, await ask(bundle, next, signal));
      } catch (error) {
        if (error.name === "AbortError") return;
        // One broken checkpoint spoils its packet: go on one by one, without those that cannot be read.
        if (next.length > 1) bundle.batch = 1;
        else bundle.unreadable.add(next[0]);
        continue;
      }
      if (bundle === current && !attention.shown) show();
      tell();
    }
    filler = null;
  }

  function missing(bundle) {
    if (!bundle.header) return [];
    const { layers, heads, n } = bundle.header;
    const each = 2 * layers * heads * n * n;
    if (bundle.bytes + each > CAPACITY) return [];
    const steps = lab.run()?.steps ?? [];
    const here = steps.indexOf(lab.state.step);
    const distance = (step) => Math.abs(steps.indexOf(step) - here);
    const wanted = steps.filter((step) => !bundle.steps.has(step) && !bundle.unreadable.has(step));
    wanted.sort((a, b) => distance(a) - distance(b));
    return wanted.slice(0, Math.min(bundle.batch, Math.max(1, Math.floor(PACKET / each))));
  }

  const ask = ({ run, prompt }, steps, signal) =>
    lab.getPacked(lab.url("lab/attention", { run, prompt, steps: steps.join(",") }), signal);

  lab.watch(["page", "run", "prompt", "step"], refresh);
  lab.on(["runs"], () => current && attention.shown && fill());
})();
