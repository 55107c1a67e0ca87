/* lab.machine: what a model of any shape costs, from the lists that the library gives for the run's own shape.

   Every tensor and every matrix product comes as a product of sizes in words ("3*d_model"), so another shape is the same
   list read with other numbers. Layers beyond the run's own repeat them in order. */
(() => {
  "use strict";

  const lab = window.lab;
  const BYTES = { float32: 4, bfloat16: 2, float16: 2, int64: 8, bool: 1 };
  const SIZES = ["n_layers", "d_model", "n_heads", "d_mlp", "context", "batch", "vocab_size"];

  /* The sizes that a person sets, and those that follow. The learned positions are as many as the context. */
  const complete = (size) => ({
    ...size,
    n_ctx: size.context,
    pairs: size.context ** 2,
    seen_pairs: (size.context * (size.context + 1)) / 2,
    d_head: size.d_model / size.n_heads,
    narrow: Math.min(size.d_model, size.d_mlp),
  });

  const number = (dim, size) => dim.split("*").reduce((all, word) => all * (size[word] ?? Number(word)), 1);
  const product = (words, size) => words.reduce((all, word) => all * (size[word] ?? Number(word)), 1);

  /* Alike rows of a list as one: {...of(row), words, once, layers: how many in each layer}. */
  function gather(facts, dims, of) {
    const terms = new Map();
    facts.layer.forEach((layer, i) => {
      const row = of(i);
      const words = dims(i).flatMap((dim) => dim.split("*"));
      const key = JSON.stringify([row, words]);
      if (!terms.has(key)) terms.set(key, { ...row, words, once: 0, layers: Array(facts.setting.n_layers).fill(0) });
      const term = terms.get(key);
      if (layer === null) term.once++;
      else term.layers[layer]++;
    });
    return [...terms.values()];
  }

  const times = ({ once, layers }, depth) => {
    const of = (count) => layers.slice(0, count).reduce((sum, n) => sum + n, 0);
    return once + Math.floor(depth / layers.length) * of(layers.length) + of(depth % layers.length);
  };

  const gathered = new WeakMap();

  function terms(facts, make) {
    if (!gathered.has(facts)) gathered.set(facts, make());
    return gathered.get(facts);
  }

  /* {groups: bytes by group, peak, fullest: when that is, phases: bytes by phase} of a shape, as guppy.inspect.memory
     counts them. */
  function memory(facts, size) {
    const all = complete(size);
    const of = (i) => ({ group: facts.group[i], phase: facts.phase[i], width: BYTES[facts.dtype[i]] });
    const [groups, phases] = [{}, {}];
    for (const term of terms(facts, () => gather(facts, (i) => facts.dims[i], of))) {
      const bytes = times(term, all.n_layers) * term.width * product(term.words, all);
      groups[term.group] = (groups[term.group] ?? 0) + bytes;
      phases[term.phase] = (phases[term.phase] ?? 0) + bytes;
    }
    const sums = Object.entries(facts.moments).map(([name, there]) => [name, there.reduce((sum, p) => sum + (phases[p] ?? 0), 0)]);
    const [fullest, peak] = sums.reduce((best, each) => (each[1] > best[1] ? each : best));
    return { groups, phases, peak, fullest };
  }

  /* {forward, backward, needed: both without what a mask hides, parts: by component} of a shape, in operations. */
  function operations(facts, size) {
    const all = complete(size);
    const of = (i) => ({ component: facts.component[i], back: facts.backward_products[i], seen: facts.seen[i] });
    const found = { forward: 0, backward: 0, needed: 0, parts: {} };
    for (const term of terms(facts, () => gather(facts, (i) => facts.dims[i], of))) {
      const count = 2 * times(term, all.n_layers);
      const forward = count * product(term.words, all);
      const needed = count * term.seen.reduce((p, dim) => p * number(dim, all), 1);
      found.forward += forward;
      found.backward += term.back * forward;
      found.needed += (1 + term.back) * needed;
      const part = (found.parts[term.component] ??= { forward: 0, backward: 0 });
      part.forward += needed;
      part.backward += term.back * needed;
    }
    return found;
  }

  /* Every tensor of a shape in order of allocation: [{name, group, phase, layer, dtype, shape, bytes}]. */
  function tensors(facts, size) {
    const all = complete(size);
    return unrolled(facts.layer, facts.setting.n_layers, all.n_layers).map(([i, layer]) => {
      const shape = facts.dims[i].map((dim) => number(dim, all));
      const name = layer === null ? facts.name[i] : facts.name[i].replace(/^blocks\.\d+/, `blocks.${layer}`);
      const bytes = shape.reduce((p, n) => p * n, BYTES[facts.dtype[i]]);
      return { name, group: facts.group[i], phase: facts.phase[i], layer, dtype: facts.dtype[i], shape, bytes };
    });
  }

  /* [row, layer] for `depth` layers where a list has `known` of them, forwards or, as gradients come, backwards. */
  function unrolled(layers, known, depth) {
    const rows = [];
    for (let i = 0; i < layers.length; ) {
      if (layers[i] === null) {
        rows.push([i++, null]);
        continue;
      }
      const blocks = Array.from({ length: known }, () => []);
      const first = layers[i];
      let last = first;
      for (; i < layers.length && layers[i] !== null; i++) blocks[(last = layers[i])].push(i);
      const order = Array.from({ length: depth }, (_, layer) => layer);
      if (last < first) order.reverse();
      for (const layer of order) for (const row of blocks[layer % known]) rows.push([row, layer]);
    }
    return rows;
  }

  // -- the shape that is looked at -------------------------------------------------------------------

  /* The run's own shape as the library says it: {n_layers, d_model, …}. */
  const own = (facts) => Object.fromEntries(SIZES.map((name) => [name, facts.setting[name]]));

  /* The run's own shape with what the sliders changed; an impossible one is the run's own. */
  function shape(facts) {
    const size = own(facts);
    for (const name of SIZES) size[name] = lab.choices.number(`machine.${name}`, 2 ** 20, size[name]) || size[name];
    return size.d_model % size.n_heads ? own(facts) : size;
  }

  function reshape(facts, changes) {
    const mine = own(facts);
    const entries = Object.entries(changes).map(([name, value]) => [`machine.${name}`, value === mine[name] ? null : value]);
    lab.choices.set(Object.fromEntries(entries));
  }

  const forget = () => lab.choices.set(Object.fromEntries([...SIZES, "zoom"].map((name) => [`machine.${name}`, null])));
  lab.on(["run"], (_, changed) => changed.includes("run") && began && forget());
  let began = false;
  lab.onReady(() => (began = true));

  // -- in words --------------------------------------------------------------------------------------

  const scaled = (value, unit, steps) => {
    const at = value < 1000 ? 0 : Math.min(steps.length - 1, Math.floor(Math.log10(value) / 3));
    return at || !Number.isInteger(value) ? `${lab.number(value / 1000 ** at)} ${steps[at]}${unit}` : `${value} ${unit}`;
  };

  lab.machine = {
    SIZES,
    memory,
    operations,
    tensors,
    own,
    shape,
    reshape,
    forget,
    /* 1.23 MB */
    bytes: (count) => scaled(count, "B", ["", "k", "M", "G", "T", "P"]),
    /* 1.23 GFLOP: floating-point operations */
    flop: (count, unit = "FLOP") => scaled(count, unit, ["", "k", "M", "G", "T", "P", "E", "Z"]),
    /* 1.23 million */
    many: (count) => (count < 1e6 ? lab.number(count) : count < 1e9 ? `${lab.number(count / 1e6)} million` : `${lab.number(count / 1e9)} billion`),
    changes: ["machine.mode", ...SIZES.map((name) => `machine.${name}`)],
    /* What the page's parts ask, once for all of them. */
    ask() {
      if (this.q) return this;
      const mode = () => lab.choices.get("machine.mode", ["training", "inference"]);
      const setting = { page: "machine", prompt: false };
      this.q = lab.question("memory", { ...setting, options: () => ({ mode: mode() }) });
      this.ops = lab.question("flops", setting);
      return this;
    },
  };
})();
