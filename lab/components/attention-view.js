/* What wall and head share: which head is large, captions, pictures to keep. */
(() => {
  "use strict";

  const lab = window.lab;
  const { attention } = lab;
  const listeners = new Set();
  let hovered = null;

  /* [layer, head] under the hand, or pinned, or the first; of rollout, which has no heads, the column. */
  attention.selected = () => {
    const { layer, head } = lab.state;
    const [row, column] = hovered ?? (layer === null ? [0, 0] : [layer, head]);
    return attention.chosen() === "rollout" && column > 1 ? [row, 0] : [row, column];
  };

  /* Show a head as long as the hand is on it; null: no longer. */
  attention.preview = (at) => {
    hovered = at;
    listeners.forEach((fn) => fn());
  };

  /* fn() when another head is large. */
  attention.onSelect = (fn) => listeners.add(fn);
  lab.on(["layer", "head", "run"], () => attention.preview(null));

  attention.seesFuture = () => attention.picture()?.header.surgery.includes("no-causal-mask") ?? false;

  /* run · step · prompt · hook name · exactness */
  attention.caption = (hook) => {
    const { header, step } = attention.shown;
    const prompt = header.prompt.length > 60 ? `${header.prompt.slice(0, 59)}…` : header.prompt;
    const parts = [header.run, `step ${lab.count(step)}`, `“${lab.tokenText(prompt).replaceAll("·", " ")}”`, hook];
    if (header.surgery.length) parts.push(header.surgery_text);
    return [...parts, "exact to 1/65\u202f535"].join(" · ");
  };

  attention.filename = () => {
    const { header, step, name } = attention.picture();
    return [header.run, `step-${step}`, ...(name === "pattern" ? [] : [name])].join("-");
  };

  // -- files -----------------------------------------------------------------------------------------

  lab.save = (blob, name) => {
    const url = URL.createObjectURL(blob);
    lab.el("a", { href: url, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
  };

  /* The numbers of all heads. */
  attention.saveNpz = () => {
    const { name, header, step } = attention.picture();
    const what = name === "pattern" ? "attention" : name;
    const url = lab.url(`lab/inspect/${what}`, { run: header.run, prompt: header.prompt, step, format: "npz" });
    return lab.saveAnswer(url, `${attention.filename()}.npz`);
  };
})();
