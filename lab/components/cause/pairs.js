/* The two prompts of activation patching: the frame's and another one, token under token, and pairs to begin with. */
(() => {
  "use strict";

  const lab = window.lab;
  // Prompts that a fish answers differently and that bundled tokenizers cut into as many tokens.
  const PAIRS = [
    ["are you hungry?", "are you lonely?"],
    ["good morning guppy", "good night guppy"],
    ["what do you eat?", "what do you see?"],
    ["where do you sleep?", "where do you live?"],
    ["do you like the snail?", "do you like the filter?"],
    ["do you like cats?", "do you like dogs?"],
    ["can you swim?", "can you sing?"],
    ["i feel sad today", "i feel happy today"],
    ["what is your name?", "what is your home?"],
  ];
  const LONGEST = 600; // characters of the other prompt: it stands in the address

  lab.cause.pairs = (root) => {
    const choose = lab.el("select", { "aria-label": "Ready-made pairs", onchange: take });
    choose.append(
      lab.el("option", { value: "" }, "Ready-made pairs …"),
      ...PAIRS.map(([clean, corrupted], i) => lab.el("option", { value: i }, `${clean} / ${corrupted}`)),
    );
    const box = lab.el("input", { type: "text", maxlength: LONGEST, placeholder: "the same prompt with a word changed", onchange: write, spellcheck: "false" });
    const label = lab.el("label", { class: "cause-other" }, lab.el("span", { class: "kit-label" }, "Corrupted prompt"), box);
    const aligned = lab.el("div", { class: "cause-aligned", role: "group", "aria-label": "Tokens of both prompts" });
    const status = lab.el("p", { class: "caption" });
    root.append(lab.el("div", { class: "kit-choice" }, choose), label, aligned, status);
    let asked = 0;

    /* The other prompt: what was written, or what goes with the frame's prompt. Null: none yet. */
    function other() {
      const written = lab.choices.get("cause.other");
      return (written ?? PAIRS.find(([clean]) => clean === lab.state.prompt.trim())?.[1] ?? "").slice(0, LONGEST) || null;
    }

    function write() {
      lab.choices.set("cause.other", box.value.trim() ? box.value : null);
    }

    function take() {
      const pair = PAIRS[choose.value];
      choose.value = "";
      if (!pair) return;
      lab.choices.set({ "cause.other": pair[1], "cause.answer": null, "cause.wrong": null, "cause.words": null, "cause.at": null });
      lab.set({ prompt: pair[0] });
    }

    async function show() {
      const { page, run, prompt } = lab.state;
      if (page !== "cause" || run === null) return;
      const text = other();
      if (document.activeElement !== box) box.value = text ?? "";
      const turn = ++asked;
      if (text === null) return draw([], [], "Write a prompt beside the frame's, or take a ready-made pair.");
      try {
        const [clean, corrupted] = await Promise.all([lab.tokens(run, prompt), lab.tokens(run, text)]);
        if (turn === asked) draw(clean.tokens, corrupted.tokens, inWords(clean.tokens, corrupted.tokens));
      } catch (error) {
        if (turn === asked) draw([], [], error.message);
      }
    }

    function inWords(clean, corrupted) {
      const differ = clean.filter((token, i) => token !== corrupted[i]).length;
      if (clean.length !== corrupted.length) {
        return `The clean prompt (above) has ${clean.length} tokens and the corrupted one (below) ${corrupted.length}; change words until both have as many.`;
      }
      if (!differ) return "Both prompts are the same; change a word.";
      return `The clean prompt above, the corrupted one below: ${clean.length} tokens each, ${differ} of them different.`;
    }

    function draw(clean, corrupted, said) {
      const [above, below] = [lab.chips(clean), lab.chips(corrupted)];
      const columns = Array.from({ length: Math.max(clean.length, corrupted.length) }, (_, i) => {
        const column = lab.el("span", { class: clean[i] === corrupted[i] ? null : "differs" });
        column.append(above[i] ?? lab.el("span", { class: "chip none" }, " "), below[i] ?? lab.el("span", { class: "chip none" }, " "));
        return column;
      });
      aligned.replaceChildren(...columns);
      aligned.hidden = !columns.length;
      status.textContent = said;
    }

    lab.watch(["page", "run", "prompt"], show);
    lab.choices.on(["cause.other"], show);
    return { other };
  };
})();
