/* lab.bringPane(root, options): a file of one's own, checked before anything is trained; lab.rowsPane(root): one that
   was brought before. */
(() => {
  "use strict";

  const lab = window.lab;
  const KINDS = { conversations: "conversations", texts: "texts", text: "one text" };
  const UNITS = { conversations: "rows", texts: "rows", text: "text" };

  const megabytes = (bytes) => (bytes < 1e6 ? `${lab.number(bytes / 1e3)} kB` : `${lab.number(bytes / 1e6)} MB`);

  // -- what was found in a file --------------------------------------------------------------------------

  /* The report on a file: {id, name, bytes, tokens, checked}. */
  function reportOf({ id, name, bytes, tokens, checked }, speeds) {
    const el = lab.el;
    const { report } = checked;
    const faults = checked.faults.map(({ error, line }) => el("li", {}, `${name}${line ? `, ${line}` : ""}: ${error}.`));
    const length = report.tokens.per_row;
    const { train, heldout, all } = report.splits;
    const units = UNITS[checked.kind];
    const { shared } = checked;
    const leaks =
      checked.kind === "conversations" && shared.prompts + shared.replies > 0
        ? ` ${lab.percent(shared.prompts)} of its prompts and ${lab.percent(shared.replies)} of its replies stand in it more than once: split at random, they would leak.`
        : "";
    const lost = checked.lost
      ? el("p", { class: "lab-message" }, `${lab.count(checked.lost)} rows are left out, because they share a prompt or a reply with both sides.`)
      : "";
    return [
      el(
        "div",
        { class: "lab-data-head" },
        el("h3", {}, `${name} can be learned from`),
        el("button", { type: "button", class: "plain primary", id: "data-train-file", onclick: () => lab.train(id) }, "Train on this"),
      ),
      el(
        "dl",
        { class: "lab-facts" },
        lab.tally("holds", KINDS[checked.kind]),
        ...(checked.kind === "text" ? [] : [lab.tally(units, lab.count(all.rows + checked.lost))]),
        lab.tally("size", megabytes(bytes), `${lab.count(checked.characters)} characters`),
        lab.tally("tokens", lab.count(all.tokens), `${lab.number(report.tokens.characters_per_token)} characters each`),
        lab.tally("vocabulary", lab.count(report.tokens.vocab_size), tokens === "char" ? "characters" : "pieces of words"),
        ...(checked.kind === "text"
          ? []
          : [
              lab.tally("tokens a row", lab.number(length.mean), `median ${length.p50}, 99% up to ${length.p99}, longest ${lab.count(length.max)}`),
              lab.tally(`over ${report.tokens.context} tokens`, lab.count(report.tokens.rows_over_context), "They are learned in pieces."),
              lab.tally("repeated rows", lab.count(checked.repeated)),
              lab.tally("different replies", lab.count(all.replies)),
            ]),
      ),
      el("p", { class: "caption" }, estimates(train.tokens, speeds)),
      faults.length ? el("ul", { class: "lab-faults", "aria-label": "Worth a look" }, ...faults) : el("p", { class: "lab-message" }, "Nothing odd was found in it."),
      el("h3", {}, "A look inside"),
      el("div", { class: "lab-sample-grid" }, ...lab.conversations(checked.samples)),
      el("h3", {}, "What there is to learn"),
      el("div", { class: "lab-ladder" }, ...lab.ladder(report.reference)),
      el("h3", {}, "What it is tested on"),
      el("p", { class: "caption" }, checked.kind === "text" ? "The last tenth of the text is held out." : `Held-out rows share no prompt and no reply with training.${leaks}`),
      lost,
      ...(checked.kind === "text" ? [] : [lab.splitTable([["", report]])]),
      el("p", { class: "caption" }, `${lab.count(train.tokens)} tokens to learn from, ${lab.count(heldout.tokens)} to be tested on.`),
    ];
  }

  /* How long one reading takes, by the speed that runs here had. */
  function estimates(tokens, speeds) {
    const each = Object.entries(speeds).map(
      ([size, { tokens_per_second: speed, run }]) => `${lab.duration(Math.max(1, tokens / speed))} for ${size} (at the ${lab.count(Math.round(speed))} tokens a second of ${run})`,
    );
    return each.length ? `To read all of it once takes about ${each.join(", ")}.` : "";
  }

  async function speeds() {
    return (await lab.getJSON(lab.url("lab/data/speed")).catch(() => ({ sizes: {} }))).sizes;
  }

  // -- one that was brought before -----------------------------------------------------------------------

  lab.rowsPane = (root) => {
    const el = lab.el;
    return {
      async show(id) {
        root.replaceChildren(el("h2", {}, lab.own.find(id)?.name ?? id));
        const forget = el("button", { type: "button", class: "plain", onclick: () => lab.own.forget(id) }, "Forget this file");
        try {
          const told = await lab.getJSON(lab.url("lab/data/own", { id }));
          root.append(...reportOf(told, await speeds()), forget);
        } catch (error) {
          root.append(el("p", { class: "lab-trouble" }, error.message), forget);
        }
      },
    };
  };

  // -- bringing one --------------------------------------------------------------------------------------

  lab.bringPane = (root, { suffixes, largest }) => {
    const el = lab.el;
    const file = el("input", { type: "file", id: "data-file", accept: suffixes.map((suffix) => `.${suffix.split(".").at(-1)}`).join(","), onchange: () => bring(file.files[0]) });
    const tokens = el(
      "select",
      { id: "data-tokens", "aria-label": "Tokens" },
      el("option", { value: "bpe" }, "pieces of words"),
      el("option", { value: "char" }, "characters"),
    );
    const drop = el("label", { class: "lab-drop", for: "data-file" }, el("b", {}, "Choose a file"), " or drop it here", file);
    const found = el("div", { id: "data-found", role: "status", "aria-live": "polite" });
    root.append(
      el("h2", {}, "Bring your own"),
      el(
        "p",
        { class: "lab-data-lead" },
        "Conversations as .jsonl, .csv or .parquet, with input and output (and perhaps category), with messages of user and assistant, or with text; or any plain text as .txt. Up to ",
        `${largest >> 20} MB. It stays on this lab's disk until others need the room.`,
      ),
      el("div", { class: "lab-bring" }, drop, el("label", { class: "lab-tokens" }, "Tokens are ", el("span", { class: "select" }, tokens))),
      found,
    );

    let asked = new AbortController();

    async function bring(chosen) {
      if (!chosen) return;
      asked.abort();
      asked = new AbortController();
      const { signal } = asked;
      root.dataset.found = "";
      const trouble = (text) => {
        found.replaceChildren(el("p", { class: "lab-trouble", id: "data-trouble" }, text));
        root.dataset.found = "bad";
      };
      if (chosen.size > largest) return trouble(`${chosen.name} has ${megabytes(chosen.size)}; give a part of it, of up to ${largest >> 20} MB.`);
      found.replaceChildren(el("p", { class: "lab-message" }, `Reading ${chosen.name} (${megabytes(chosen.size)}) and counting; that takes some seconds.`));
      try {
        const path = lab.url("lab/data/bring", { name: chosen.name, tokens: tokens.value });
        const told = await lab.post(path, chosen, signal);
        lab.own.add(told);
        found.replaceChildren(...reportOf(told, await speeds()));
        root.dataset.found = "good";
      } catch (error) {
        const { file: name, line } = error.told ?? {};
        if (error.name !== "AbortError") trouble(`${name ?? chosen.name}${line ? `, ${line}` : ""}: ${error.message}`);
      }
      file.value = ""; // so that the same file, mended, is a change
    }

    for (const kind of ["dragover", "dragenter"]) {
      drop.addEventListener(kind, (event) => {
        event.preventDefault();
        drop.classList.add("over");
      });
    }
    for (const kind of ["dragleave", "drop"]) drop.addEventListener(kind, () => drop.classList.remove("over"));
    drop.addEventListener("drop", (event) => {
      event.preventDefault();
      bring(event.dataTransfer.files[0]);
    });
  };
})();
