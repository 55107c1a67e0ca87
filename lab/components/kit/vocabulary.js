/* lab.vocabulary(): the text of every token of the frame's run, by id; asked once for a run, for it is the same at every
   step. null until it is there; lab.on(["vocabulary"], fn) tells when. */
(() => {
  "use strict";

  const lab = window.lab;
  const known = new Map(); // run -> texts; null while they are on their way

  lab.vocabulary = () => {
    const run = lab.run();
    if (!run?.steps.length) return null;
    if (!known.has(run.id)) ask(run);
    return known.get(run.id);
  };

  async function ask({ id, steps }) {
    known.set(id, null);
    try {
      const { answers } = await lab.getJSON(lab.url("lab/inspect/vocabulary", { run: id, step: steps.at(-1), format: "json" }));
      known.set(id, answers[0].facts.vocabulary);
      lab.emit(["vocabulary"]);
    } catch (error) {
      known.delete(id);
      lab.notify(error.message);
    }
  }

  /* A token as a label: its text as chips show it, or its number as long as the text is not there. */
  lab.word = (id) => {
    const words = lab.vocabulary();
    return words ? lab.tokenText(words[id] ?? "") || "⟨unused⟩" : `#${id}`;
  };
})();
