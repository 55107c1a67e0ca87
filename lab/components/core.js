/* window.lab: the state that every page shares, its mirror in the address, and the way to the server.

   lab.state {page, run, b, step, prompt, layer, head, query, key, data, character} says what is looked at, b being the
   run beside it ("": none, null: the natural one), data what the Data page shows, character whom the next run is to
   become; lab.set() changes it and tells the listeners of lab.on(). lab.choices are small choices of one page, such as
   which of two views. Scripts that extend `lab` follow by name; lab.start() runs after the last of them. */
(() => {
  "use strict";

  const config = window.labConfig;
  const PROMPT_LIMIT = 6000; // characters sent to the server: more tokens than any context here, within an URL's size
  const ADDRESS_LIMIT = 1500; // longest prompt kept in the address
  const COORDINATES = ["layer", "head", "query", "key"];

  const state = { page: config.page, run: null, b: null, step: null, prompt: config.prompt };
  Object.assign(state, { data: null, character: config.character });
  for (const key of COORDINATES) state[key] = null;

  const lab = { state, config, runs: [], PROMPT_LIMIT };
  window.lab = lab;

  // -- what changed, and who wants to know ---------------------------------------------------------

  const listeners = new Set();

  /* fn(state, changedKeys) after a change of one of `keys`; "runs" is the run list. Returns unsubscribe. */
  lab.on = (keys, fn) => {
    const entry = { keys: new Set(keys), fn };
    listeners.add(entry);
    return () => listeners.delete(entry);
  };

  lab.emit = (changed) => {
    for (const { keys, fn } of [...listeners]) {
      if (!changed.some((key) => keys.has(key))) continue;
      try {
        fn(state, changed);
      } catch (error) {
        console.error(error);
      }
    }
  };

  /* Merge changes; a step that the run does not have becomes its nearest checkpoint. */
  lab.set = (changes) => apply(changes, { remember: true });

  function apply(changes, { remember }) {
    const next = { ...state, ...changes };
    const run = lab.runs.find((each) => each.id === next.run);
    if (next.run !== state.run) {
      if (!run && next.run !== null) return lab.notify(`There is no run “${next.run}” here.`);
      if (changes.step === undefined) next.step = carriedStep();
      if (!(next.layer < run?.n_layers && next.head < run?.n_heads)) next.layer = next.head = null;
    }
    next.step = nearest(run?.steps, next.step);
    next.prompt = clip(next.prompt);
    const moved = next.prompt !== state.prompt || next.layer === null;
    if (moved && changes.query === undefined) next.query = next.key = null;
    const changed = Object.keys(next).filter((key) => next[key] !== state[key]);
    if (!changed.length) return;
    Object.assign(state, next);
    lab.emit(changed);
    if (remember) saveAddress(changed.includes("page") || changed.includes("run"));
  }

  /* The last characters that fit: a model reads the end of a long text. Half a surrogate pair is no text. */
  function clip(text) {
    const kept = text.length > PROMPT_LIMIT ? text.slice(-PROMPT_LIMIT) : text;
    return kept.isWellFormed?.() === false ? kept.toWellFormed() : kept;
  }

  function nearest(steps, step) {
    if (!steps?.length) return null;
    if (step === null || step === undefined) return steps.at(-1);
    const distance = (each) => Math.abs(Math.log2(1 + each) - Math.log2(1 + step));
    return steps.reduce((best, each) => (distance(each) < distance(best) ? each : best));
  }

  /* Another run is opened at the step that was looked at; whoever looked at the last one sees the last one. */
  function carriedStep() {
    const before = lab.run();
    return !before || state.step === null || state.step === before.steps.at(-1) ? null : state.step;
  }

  // -- choices of one page ---------------------------------------------------------------------------

  const CHOICE = "v."; // what their names start with in the address
  const choices = new Map();

  /* Strings by names such as "layers.view", the page first: in the address as v.layers.view while that page is shown.
     What is set is remembered; who reads says what is valid, for an address may hold anything. */
  lab.choices = {
    /* The value; one of `allowed` if that is given, its first when it is another. */
    get: (name, allowed = null) => {
      const value = choices.get(name) ?? null;
      return !allowed || allowed.includes(value) ? value : allowed[0];
    },
    /* The value as a whole number from 0 to below `below`. */
    number: (name, below, otherwise = null) => {
      const value = choices.get(name) ?? "";
      return /^\d{1,9}$/.test(value) && Number(value) < below ? Number(value) : otherwise;
    },
    /* set(name, value) or set({name: value, …}); null: as if it never was. */
    set: (name, value) => {
      const changed = typeof name === "string" ? { [name]: value } : name;
      if (choose(Object.entries(changed))) saveAddress(false);
    },
    /* fn() after a change of one of these names; returns unsubscribe. */
    on: (names, fn) => lab.on(names.map((name) => CHOICE + name), fn),
  };

  function choose(entries) {
    const changed = [];
    for (const [name, value] of entries) {
      const next = value === null || value === undefined ? null : String(value);
      if (next === (choices.get(name) ?? null)) continue;
      if (next === null) choices.delete(name);
      else choices.set(name, next);
      changed.push(CHOICE + name);
    }
    if (changed.length) lab.emit(["choices", ...changed]);
    return changed.length > 0;
  }

  const isOf = (page, name) => name.startsWith(`${page}.`);

  // -- the address ---------------------------------------------------------------------------------

  let saving = 0;
  let pushing = false;

  function saveAddress(push) {
    pushing ||= push;
    clearTimeout(saving);
    saving = setTimeout(writeAddress, push ? 0 : 250);
  }

  function writeAddress() {
    const url = new URL(location.href);
    const pair = (a, b) => (a === null || b === null ? null : `${a}.${b}`);
    const values = {
      page: state.page,
      run: state.run,
      b: state.b,
      step: state.step,
      prompt: state.prompt.length > ADDRESS_LIMIT ? null : state.prompt,
      head: pair(state.layer, state.head),
      cell: pair(state.query, state.key),
      data: state.page === "data" ? state.data : null,
    };
    for (const [key, value] of Object.entries(values)) {
      if (value === null) url.searchParams.delete(key);
      else url.searchParams.set(key, value);
    }
    for (const key of [...url.searchParams.keys()]) if (key.startsWith(CHOICE)) url.searchParams.delete(key);
    for (const [name, value] of choices) if (isOf(state.page, name)) url.searchParams.set(CHOICE + name, value);
    if (url.href !== location.href) history[pushing ? "pushState" : "replaceState"](null, "", url);
    pushing = false;
    // A Space shows the app in a frame; its page copies the address from there.
    if (location.hostname.endsWith(".hf.space") && window.parent !== window) {
      window.parent.postMessage({ queryString: url.search.slice(1) }, "https://huggingface.co");
    }
  }

  /* What the address asks for, made valid; a sentence for each thing that is not there. */
  function readAddress() {
    const query = new URLSearchParams(location.search);
    const wanted = { page: query.get("page"), run: query.get("run"), step: query.get("step") };
    const found = { page: config.pages.includes(wanted.page) ? wanted.page : config.page };
    if (wanted.page && found.page !== wanted.page) lab.notify(`There is no page “${wanted.page}”; this is ${found.page}.`);
    const run = lab.runs.find((each) => each.id === wanted.run) ?? defaultRun();
    found.run = run?.id ?? null;
    if (wanted.run && run?.id !== wanted.run) {
      lab.notify(`There is no run “${wanted.run}” here${run ? `; showing ${run.name}` : ""}.`);
    }
    const b = query.get("b");
    found.b = b === "" || lab.runs.some((each) => each.id === b) ? b : null;
    const step = /^\d{1,12}$/.test(wanted.step ?? "") ? Number(wanted.step) : null;
    found.step = nearest(run?.steps, step);
    if (wanted.step && found.step !== step && run?.id === (wanted.run ?? run?.id)) {
      lab.notify(`${run?.name ?? "The run"} has no checkpoint at step ${wanted.step}; showing step ${found.step}.`);
    }
    found.prompt = query.get("prompt") ?? (state.run === null ? config.prompt : state.prompt);
    found.data = query.get("data") ?? state.data;
    const [layer, head] = coordinates(query.get("head"));
    const there = run && layer !== null && layer < run.n_layers && head < run.n_heads;
    [found.layer, found.head] = there ? [layer, head] : [null, null];
    [found.query, found.key] = there ? coordinates(query.get("cell")) : [null, null];
    return found;
  }

  /* The choices of the page that the address names; what it leaves out is as it was at first. */
  function readChoices(page) {
    const named = [...new URLSearchParams(location.search)].filter(([key]) => key.startsWith(CHOICE + page + "."));
    const found = new Map(named.map(([key, value]) => [key.slice(CHOICE.length), value.slice(0, ADDRESS_LIMIT)]));
    for (const name of choices.keys()) if (isOf(page, name) && !found.has(name)) found.set(name, null);
    return [...found];
  }

  function coordinates(text) {
    const match = /^(\d{1,4})\.(\d{1,4})$/.exec(text ?? "");
    return match ? [Number(match[1]), Number(match[2])] : [null, null];
  }

  function defaultRun() {
    const whole = lab.runs.filter((run) => !run.error && run.steps.length);
    return whole.find((run) => run.bundled && run.id === "fry") ?? whole.find((run) => run.bundled) ?? whole[0] ?? null;
  }

  window.addEventListener("popstate", () => {
    const found = readAddress();
    choose(readChoices(found.page));
    apply(found, { remember: false });
  });

  // -- runs ----------------------------------------------------------------------------------------

  lab.run = () => lab.runs.find((each) => each.id === state.run) ?? null;

  lab.refreshRuns = async () => {
    const { runs } = await lab.getJSON("lab/runs");
    renew(() => (lab.runs = runs));
  };

  /* What a live run has become. */
  lab.updateRun = (id, changes) => {
    const run = lab.runs.find((each) => each.id === id);
    if (run) renew(() => Object.assign(run, changes));
  };

  /* Change the list and keep the state valid: whoever was at a run's last checkpoint is taken along to its new one, a
     checkpoint that is gone becomes its nearest, a run that is gone the default one. */
  function renew(change) {
    const following = state.step === (lab.run()?.steps.at(-1) ?? null);
    change();
    const run = lab.run();
    if (ready) lab.set(!run ? { run: defaultRun()?.id ?? null } : following ? { step: run.steps.at(-1) ?? null } : {});
    lab.emit(["runs"]);
  }

  /* Select a run that Python has just made. */
  lab.adopt = async (id) => {
    if (!id) return;
    await lab.refreshRuns();
    lab.set({ run: id });
  };

  lab.snapshot = () => {
    const { page, run, step, prompt, character } = state;
    return { page, run, step, prompt, character };
  };

  // -- the server ----------------------------------------------------------------------------------

  lab.url = (path, query = {}) => {
    const url = new URL(path.replace(/^\//, ""), document.baseURI);
    for (const [key, value] of Object.entries(query)) url.searchParams.set(key, value);
    return url;
  };

  async function get(url, options) {
    const response = await fetch(url instanceof URL ? url : lab.url(url), options).catch((error) => {
      throw error.name === "AbortError" ? error : new Error("The lab does not answer; see whether it still runs.");
    });
    if (response.ok) return response;
    const told = await response.json().catch(() => ({}));
    throw Object.assign(new Error(told.error ?? `The lab could not answer this (${response.status}).`), { told });
  }

  /* Parsed JSON; throws Error(the server's sentence), which holds in `told` what else the server said of it. */
  lab.getJSON = async (url, signal) => (await get(url, { signal })).json();

  /* The same of something sent: a file as it is, anything else as JSON. */
  lab.post = async (url, content, signal) => {
    const file = content instanceof Blob;
    const headers = { "Content-Type": file ? "application/octet-stream" : "application/json" };
    return (await get(url, { method: "POST", headers, body: file ? content : JSON.stringify(content), signal })).json();
  };

  /* {header, buffer, start}: a JSON header, and bytes from `start` on. */
  lab.getBytes = async (url, signal) => {
    const buffer = await (await get(url, { signal })).arrayBuffer();
    const length = new DataView(buffer).getUint32(0, true);
    const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
    return { header, buffer, start: 4 + length };
  };

  /* {header, data}: the bytes as little-endian unsigned 16-bit numbers. */
  lab.getPacked = async (url, signal) => {
    const { header, buffer, start } = await lab.getBytes(url, signal);
    return { header, data: new Uint16Array(buffer, start) };
  };

  /* The bytes of a file that the lab writes. */
  lab.getBlob = async (url, signal) => (await get(url, { signal })).blob();

  // -- words on the screen ---------------------------------------------------------------------------

  /* A short-lived sentence; kind is "error" (default) or "note". */
  lab.notify = (message, kind = "error") => {
    let shelf = document.getElementById("lab-toasts");
    if (!shelf) {
      shelf = lab.el("div", { id: "lab-toasts", role: "status", "aria-live": "polite" });
      document.body.append(shelf);
    }
    if ([...shelf.children].some((toast) => toast.firstChild.textContent === message)) return;
    const close = lab.el("button", { type: "button", "aria-label": "Dismiss", onclick: () => toast.remove() }, "×");
    const toast = lab.el("div", { class: `lab-toast ${kind}` }, lab.el("span", {}, message), close);
    shelf.append(toast);
    setTimeout(() => toast.remove(), 8000);
  };

  /* An element; attributes whose names start with "on" are listeners; children are text unless they are nodes. */
  lab.el = (tag, attributes = {}, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
      else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value);
    }
    element.append(...children);
    return element;
  };

  // -- components ------------------------------------------------------------------------------------

  const components = new Map();
  const mounted = new WeakSet();
  window.labMounts ||= [];

  /* How `view(name)` comes to life: fn(element, options), once for each element. */
  lab.component = (name, fn) => components.set(name, fn);

  lab.mountAll = () => {
    for (const [name, host, options] of window.labMounts.splice(0)) {
      const root = host.querySelector(`.lab-${name}`);
      if (!root || mounted.has(root)) continue;
      mounted.add(root);
      try {
        components.get(name)(root, options);
      } catch (error) {
        console.error(`${name}:`, error);
      }
    }
  };

  // -- start -----------------------------------------------------------------------------------------

  const waiting = [];
  let ready = false;

  /* fn() once the run list is there and the state is valid; at once if that is so already. */
  lab.onReady = (fn) => (ready ? fn() : waiting.push(fn));

  /* lab.on, and once as soon as there is something to show. */
  lab.watch = (keys, fn) => {
    lab.onReady(() => fn(state, keys));
    return lab.on(keys, fn);
  };

  lab.start = async () => {
    lab.mountAll();
    try {
      await lab.refreshRuns();
    } catch (error) {
      return lab.notify(error.message);
    }
    Object.assign(state, readAddress());
    state.prompt = clip(state.prompt);
    choose(readChoices(state.page));
    ready = true;
    for (const fn of waiting.splice(0)) fn();
    saveAddress(false);
  };
})();
