/* What this browser's visitor wrote or uploaded: lab.own. The lab keeps the things, the browser which of them are its
   visitor's; `lab.state.character` is what the Train page will train on, a persona's name or one of these ids. */
(() => {
  "use strict";

  const lab = window.lab;
  const [STORED, DRAFT] = ["guppy-lab-own", "guppy-lab-draft"];
  const MOST = 20;

  function recall(key, fallback) {
    try {
      return JSON.parse(localStorage.getItem(key)) ?? fallback;
    } catch {
      return fallback; // storage is closed to frames of other sites, or holds something else
    }
  }

  function remember(key, value) {
    try {
      if (value === null) localStorage.removeItem(key);
      else localStorage.setItem(key, JSON.stringify(value));
    } catch {
      // It then lasts as long as the page.
    }
  }

  const known = (entry) => typeof entry?.id === "string" && typeof entry.name === "string";
  const stored = recall(STORED, []);
  let entries = Array.isArray(stored) ? stored.filter(known) : [];

  function keep(changed) {
    entries = changed.slice(0, MOST);
    remember(STORED, entries);
    lab.emit(["own"]);
  }

  lab.own = {
    /* [{id, name, kind}], the newest first; kind is "persona" or "rows". */
    list: () => entries,
    find: (id) => entries.find((entry) => entry.id === id) ?? null,
    add: ({ id, name, kind }) => keep([{ id, name, kind }, ...entries.filter((entry) => entry.id !== id)]),
    forget(id) {
      keep(entries.filter((entry) => entry.id !== id));
      if (lab.state.character === id) lab.set({ character: lab.config.character });
    },
    /* The text that is being written, null where nothing is. */
    draft: () => recall(DRAFT, null),
    setDraft: (text) => remember(DRAFT, text),
  };

  /* On to the Train page, with this chosen. */
  lab.train = (id) => {
    lab.set({ page: "train", character: id });
    window.scrollTo(0, 0);
    document.getElementById("train-start")?.focus({ preventScroll: true });
  };
})();
