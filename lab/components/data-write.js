/* lab.writePane(root, options): a persona as text on the left, what it says on the right, while it is written. */
(() => {
  "use strict";

  const lab = window.lab;
  const DEBOUNCE = 200;

  lab.writePane = (root, { starter, longest }) => {
    const el = lab.el;
    const box = el("textarea", {
      id: "data-text",
      "aria-label": "The persona, in YAML",
      "aria-describedby": "data-verdict",
      spellcheck: "false",
      autocomplete: "off",
      autocapitalize: "off",
      wrap: "off",
    });
    const gutter = el("pre", { class: "lab-gutter", "aria-hidden": "true" });
    const verdict = el("p", { id: "data-verdict", class: "lab-verdict", role: "status", "aria-live": "polite" });
    const samples = el("div", { class: "lab-sample-list", id: "data-preview" });
    const train = el("button", { type: "button", class: "plain primary", id: "data-train", onclick: () => keep() }, "Train this character");
    const again = el("button", { type: "button", class: "plain", id: "data-again", onclick: () => preview(seed + 1) }, "Another eight");
    const file = el("input", { type: "file", accept: ".yaml,.yml", hidden: "", onchange: () => open(file.files[0]) });
    const button = (text, onclick) => el("button", { type: "button", class: "plain", onclick }, text);
    root.append(
      el("h2", {}, "Write your own"),
      el(
        "p",
        { class: "lab-data-lead" },
        "A persona is a grammar: lists of things it may say, that refer to each other. Tens of thousands of conversations are drawn from it.",
      ),
      el(
        "div",
        { class: "lab-write" },
        el(
          "div",
          {},
          el("div", { class: "lab-editor" }, gutter, box),
          el(
            "div",
            { class: "lab-data-buttons" },
            train,
            button("Open a file", () => file.click()),
            button("Save as a file", () => lab.curves.save("persona.yaml", new Blob([box.value], { type: "text/yaml" }))),
            button("Begin anew", () => write(starter)),
            file,
          ),
        ),
        el("div", { class: "lab-previewed" }, el("div", { class: "lab-data-head" }, el("h3", {}, "What it would say"), again), verdict, samples),
      ),
    );

    let seed = 0;
    let waiting = 0;
    let asked = new AbortController();
    let lines = 0;
    let fault = null; // the line that has a mistake

    // -- the text ------------------------------------------------------------------------------------

    function number() {
      const count = box.value.split("\n").length;
      if (count !== lines) {
        lines = count;
        gutter.replaceChildren(...Array.from({ length: count }, (_, i) => el("span", {}, `${i + 1}`)));
      }
      for (const marked of gutter.querySelectorAll(".fault")) marked.classList.remove("fault");
      if (fault !== null) gutter.children[fault - 1]?.classList.add("fault");
      gutter.scrollTop = box.scrollTop;
    }

    function write(text) {
      box.value = text;
      box.scrollTop = 0;
      changed(0);
    }

    function changed(wait) {
      fault = null;
      number();
      clearTimeout(waiting);
      asked.abort();
      waiting = setTimeout(() => {
        lab.own.setDraft(box.value === starter ? null : box.value);
        preview(seed);
      }, wait);
    }

    /* Selects a line and brings it into view. */
    function jump(line) {
      const before = box.value.split("\n").slice(0, line - 1).join("\n").length + (line > 1 ? 1 : 0);
      const end = box.value.indexOf("\n", before);
      box.focus();
      box.setSelectionRange(before, end < 0 ? box.value.length : end);
      box.scrollTop = (line - 1) * gutter.firstChild.offsetHeight - box.clientHeight / 2;
      box.scrollLeft = 0;
    }

    async function open(chosen) {
      if (!chosen) return;
      if (chosen.size > longest) say(`${chosen.name} is longer than ${longest / 1000} kB; a persona may have up to that.`, null);
      else write(await chosen.text());
      file.value = "";
    }

    // -- what it would say -----------------------------------------------------------------------------

    function say(text, line, good = false) {
      const where = el("button", { type: "button", class: "lab-link", onclick: () => jump(line) }, `Line ${line}`);
      verdict.replaceChildren(...(line ? [where, ": "] : []), text);
      verdict.classList.toggle("lab-trouble", !good);
      fault = good ? null : line;
      samples.classList.toggle("stale", !good);
      train.disabled = again.disabled = !good;
      number();
      root.dataset.verdict = good ? "good" : "bad";
    }

    async function preview(wanted) {
      seed = wanted;
      asked.abort();
      asked = new AbortController();
      const { signal } = asked;
      const text = box.value;
      const bytes = new TextEncoder().encode(text).length;
      if (bytes > longest) return say(`This has ${lab.count(Math.ceil(bytes / 1000))} kB; a persona may have up to ${longest / 1000} kB.`, null);
      try {
        const told = await lab.post("lab/data/preview", { text, seed }, signal);
        const { name, topics, scenes } = told.about;
        say(`${name}: ${topics.length} ${topics.length === 1 ? "topic" : "topics"}, ${scenes} ${scenes === 1 ? "scene" : "scenes"}. Drawn with seed ${seed}.`, null, true);
        samples.replaceChildren(...lab.conversations(told.samples));
      } catch (error) {
        if (error.name !== "AbortError") say(error.message, error.told?.line ?? null);
      }
    }

    async function keep() {
      train.disabled = true;
      try {
        const entry = await lab.post("lab/data/keep", { text: box.value });
        lab.own.add(entry);
        lab.train(entry.id);
      } catch (error) {
        say(error.message, error.told?.line ?? null);
      }
      train.disabled = root.dataset.verdict !== "good";
    }

    box.addEventListener("input", () => changed(DEBOUNCE));
    box.addEventListener("scroll", () => (gutter.scrollTop = box.scrollTop));
    box.value = lab.own.draft() ?? starter;
    number();

    /* A persona that was kept, as the text to go on with. */
    lab.editPersona = async (id) => {
      try {
        const { text } = await lab.getJSON(lab.url("lab/data/own", { id }));
        lab.set({ data: "write" });
        write(text);
      } catch (error) {
        lab.notify(error.message);
      }
    };

    let seen = false;
    return {
      /* The place has come into view. */
      show() {
        number();
        if (!seen) preview(seed);
        seen = true;
      },
    };
  };
})();
