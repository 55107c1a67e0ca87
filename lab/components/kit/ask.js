/* lab.question(): what a model answers to a question at the current run, prompt and step, kept in the browser.

   The step that is looked at is fetched and shown first; with `scrub` all others follow in the background, nearest
   first, and the time bar then moves without the server. What is kept is bounded over all questions; the answers used
   least recently go first.

   lab.question(what, {page, options, scrub, prompt, whole}): page is where it is shown, elsewhere nothing is asked;
   options() gives the question's options, or null for "do not ask now"; prompt is false where none is needed, or a
   function. whole: the answer is of all of a run's checkpoints; it is asked at the last and stays while the step moves.
   q.shown is null or {header, step, facts, tokens, options, arrays: {name: {data, shape}}, at(name, ...index)}. While
   only the step changes it stays the answer of the step before and q.busy is true; anything else makes it null at once.
   q.problem is a sentence or null. Whoever draws reads layers, tokens and options from q.shown, for they belong
   together, and listens with q.on(fn). */
(() => {
  "use strict";

  const lab = window.lab;
  const CAPACITY = 192 * 2 ** 20; // bytes kept
  const PACKET = 4 * 2 ** 20; // bytes asked for at once in the background
  const BATCH = 8; // steps asked for at once at most
  const PACKET_MS = 300; // how long one packet may hold up others in the server
  const PATIENCE = 120; // ms between two questions while a hand moves

  // -- what is kept ----------------------------------------------------------------------------------

  const shelf = new Map(); // least recently used first: key -> {key, query, header, steps, bytes, batch, unreadable}

  function open(key, query) {
    const known = shelf.get(key);
    const bundle = known ?? { key, query, header: null, steps: new Map(), bytes: 0, batch: 1, unreadable: new Set() };
    shelf.delete(key);
    shelf.set(key, bundle);
    return bundle;
  }

  function keep(bundle, { header, buffer, start }) {
    bundle.header = header;
    for (const { step, facts, arrays } of header.answers) {
      if (bundle.steps.has(step)) continue;
      const answer = unpack(header, step, facts, arrays, buffer, start);
      bundle.steps.set(step, answer);
      bundle.bytes += answer.bytes;
    }
    forget(bundle);
  }

  function forget(current) {
    let total = [...shelf.values()].reduce((sum, bundle) => sum + bundle.bytes, 0);
    for (const [key, bundle] of shelf) {
      if (total <= CAPACITY) return;
      if (bundle === current) continue;
      shelf.delete(key);
      total -= bundle.bytes;
    }
    for (const [step, { bytes }] of current.steps) {
      if (total <= CAPACITY) return;
      if (step === lab.state.step) continue;
      current.steps.delete(step);
      current.bytes -= bytes;
      total -= bytes;
    }
  }

  // -- what was sent ---------------------------------------------------------------------------------

  const KINDS = { f4: Float32Array, i4: Int32Array, u1: Uint8Array, u2: Uint16Array, u4: Uint32Array };
  const length = (shape) => shape.reduce((product, n) => product * n, 1);

  function unpack(header, step, facts, described, buffer, start) {
    const arrays = {};
    let bytes = 1000; // about what the facts take
    for (const { name, dtype, shape, offset } of described) {
      const data = numbers(dtype, buffer, start + offset, length(shape));
      arrays[name] = { data, shape };
      bytes += data.byteLength;
    }
    const at = (name, ...index) => {
      const { data, shape } = arrays[name];
      return data[index.reduce((flat, i, axis) => flat * shape[axis] + i, 0)];
    };
    return { header, step, facts, tokens: header.tokens, options: header.options, arrays, at, bytes };
  }

  /* A copy, so that one step does not keep the whole packet alive. */
  function numbers(dtype, buffer, offset, count) {
    if (dtype === "f2") return Float32Array.from(new Uint16Array(buffer, offset, count), half);
    return new KINDS[dtype](buffer, offset, count).slice();
  }

  function half(bits) {
    const sign = bits & 0x8000 ? -1 : 1;
    const [exponent, fraction] = [(bits >> 10) & 31, bits & 1023];
    if (exponent === 31) return fraction ? NaN : sign * Infinity;
    return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -14 * (fraction / 1024));
  }

  // -- one packet at a time in the background, whoever asks for it -------------------------------------

  let line = Promise.resolve();

  function inLine(work) {
    const done = line.then(work);
    line = done.catch(() => {});
    return done;
  }

  // -- questions -------------------------------------------------------------------------------------

  lab.question = (what, { page, options = () => ({}), scrub = false, prompt = () => lab.state.prompt, whole = false }) => {
    const listeners = new Set();
    let ready = false;
    let current = null; // the bundle that is looked at
    let urgent = null; // what fetches the step that is looked at
    let filler = null; // what fetches the others
    let asked = 0; // when the server was last asked for the step that is looked at
    let waiting = 0;
    let seen = ""; // run, prompt, options and step of the last look

    const q = { what, scrub, shown: null, problem: null, busy: false };

    const tell = () => listeners.forEach((fn) => fn());
    const stepNow = () => (whole ? (lab.run()?.steps.at(-1) ?? null) : lab.state.step);

    /* fn() when anything of the answer has changed, and now if there is something to tell; returns unsubscribe. */
    q.on = (fn) => {
      listeners.add(fn);
      if (ready) fn();
      return () => listeners.delete(fn);
    };

    /* {have, of}: checkpoints in the browser, checkpoints of the run. */
    q.progress = () => ({ have: current?.steps.size ?? 0, of: lab.run()?.steps.length ?? 0 });

    /* The answer at another step, if it is in the browser. */
    q.step = (step) => current?.steps.get(step) ?? null;

    /* What the server is to be asked, the step left out; null: nothing. */
    function query() {
      const { run } = lab.state;
      const text = prompt ? prompt() : "";
      const chosen = options();
      if (run === null || text === null || chosen === null) return null;
      const given = Object.entries(chosen).filter(([, value]) => value !== null && value !== undefined);
      return { run, ...(prompt ? { prompt: text } : {}), ...Object.fromEntries(given) };
    }

    const request = (bundle, more, signal) => lab.getBytes(lab.url(`lab/inspect/${what}`, { ...bundle.query, ...more }), signal);

    q.url = (more) => lab.url(`lab/inspect/${what}`, { ...current.query, step: q.shown.step, ...more });

    /* Ask again if what is asked has changed. */
    q.refresh = () => {
      if (!ready || lab.state.page !== page) return;
      const asking = stepNow() === null ? null : query();
      const key = asking && JSON.stringify([what, asking]);
      const look = `${key} ${stepNow()}`;
      if (look === seen) return void (q.shown && !q.busy && fill());
      seen = look;
      urgent?.abort();
      clearTimeout(waiting);
      q.problem = null;
      q.busy = false;
      if (current?.key !== key) {
        filler?.abort();
        filler = null;
        q.shown = null;
        current = key && open(key, asking);
      }
      if (current && show()) fill();
      else if (current) {
        q.busy = true;
        const since = performance.now() - asked;
        if (since > PATIENCE) fetchNow();
        else waiting = setTimeout(fetchNow, PATIENCE - since);
      }
      tell();
    };

    function show() {
      const answer = current.steps.get(stepNow());
      if (!answer) return false;
      shelf.delete(current.key);
      shelf.set(current.key, current);
      q.shown = answer;
      q.problem = null;
      q.busy = false;
      return true;
    }

    async function fetchNow() {
      const bundle = current;
      const step = stepNow();
      asked = performance.now();
      urgent = new AbortController();
      const { signal } = urgent;
      try {
        keep(bundle, await request(bundle, { step }, signal));
      } catch (error) {
        if (signal.aborted) return;
        q.problem = error.message;
        q.shown = null;
        q.busy = false;
        seen = ""; // the next look asks again
        return tell();
      }
      if (signal.aborted || bundle !== current || !show()) return;
      tell();
      fill();
    }

    /* All other checkpoints, those nearest to the hand first. */
    async function fill() {
      if (!scrub || filler) return;
      const bundle = current;
      const { signal } = (filler = new AbortController());
      while (!signal.aborted && lab.state.page === page && missing(bundle).length) {
        await inLine(() => (signal.aborted ? null : fetchSome(bundle, missing(bundle), signal)));
        if (signal.aborted) return;
        if (bundle === current && q.busy && current.steps.has(lab.state.step)) {
          urgent?.abort();
          clearTimeout(waiting);
          show();
        }
        tell();
      }
      if (!signal.aborted) filler = null;
    }

    async function fetchSome(bundle, steps, signal) {
      if (!steps.length) return;
      const begun = performance.now();
      try {
        keep(bundle, await request(bundle, { steps: steps.join(",") }, signal));
      } catch {
        // One broken checkpoint spoils its packet: go on one by one, without those that cannot be read.
        if (signal.aborted) return;
        if (steps.length > 1) bundle.batch = 0;
        else bundle.unreadable.add(steps[0]);
        return;
      }
      if (bundle.batch) bundle.batch = Math.floor((PACKET_MS * steps.length) / (performance.now() - begun)) || 1;
    }

    function missing(bundle) {
      if (!bundle.steps.size) return [];
      const each = bundle.bytes / bundle.steps.size;
      if (bundle.bytes + each > CAPACITY) return [];
      const steps = lab.run()?.steps ?? [];
      const here = steps.indexOf(lab.state.step);
      const distance = (step) => Math.abs(steps.indexOf(step) - here);
      const wanted = steps.filter((step) => !bundle.steps.has(step) && !bundle.unreadable.has(step));
      wanted.sort((a, b) => distance(a) - distance(b));
      return wanted.slice(0, Math.max(1, Math.min(BATCH, bundle.batch, Math.floor(PACKET / each))));
    }

    // -- in words ------------------------------------------------------------------------------------

    /* run · step · prompt · hook names · surgery · exactness */
    q.caption = (extra = "") => {
      if (!q.shown) return "";
      const { header, step, facts } = q.shown;
      const text = header.prompt?.length > 60 ? `${header.prompt.slice(0, 59)}…` : header.prompt;
      const said = text === null ? "" : `“${lab.tokenText(text).replaceAll("·", " ")}”`;
      const when = whole ? "all checkpoints" : `step ${lab.count(step)}`;
      const parts = [header.run, when, said, extra, facts.hooks ?? header.hooks];
      return [...parts, header.surgery_text, facts.exactness ?? header.exactness].filter(Boolean).join(" · ");
    };

    q.filename = (extra = "") => {
      const { header, step } = q.shown;
      return [header.run, whole ? "" : `step-${step}`, what, extra].filter(Boolean).join("-");
    };

    lab.onReady(() => {
      ready = true;
      q.refresh();
    });
    lab.on([...Object.keys(lab.state), "choices", "runs"], q.refresh);
    return q;
  };
})();
