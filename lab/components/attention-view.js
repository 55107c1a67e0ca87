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

  /* A canvas on paper at twice the screen's size, with a margin and a caption: draw with `ink`, then save(name). */
  lab.picture = (width, height, caption) => {
    const [margin, line] = [16, 16];
    const canvas = document.createElement("canvas");
    const ink = canvas.getContext("2d");
    const font = `11px ${lab.css("--ui")}`;
    ink.font = font;
    const lines = wrap(ink, caption, Math.max(320, width));
    const full = Math.max(320, width) + 2 * margin;
    canvas.width = 2 * full;
    canvas.height = 2 * (height + 2 * margin + 8 + lines.length * line);
    ink.scale(2, 2);
    ink.fillStyle = lab.css("--paper");
    ink.fillRect(0, 0, full, canvas.height / 2);
    ink.font = font;
    ink.fillStyle = lab.css("--ink-2");
    lines.forEach((text, i) => ink.fillText(text, margin, margin + height + 8 + (i + 1) * line - 4));
    ink.translate(margin, margin);
    return { ink, save: (name) => canvas.toBlob((blob) => lab.save(blob, name), "image/png") };
  };

  function wrap(ink, text, width) {
    const lines = [""];
    for (const word of text.split(" ")) {
      const longer = lines.at(-1) ? `${lines.at(-1)} ${word}` : word;
      if (ink.measureText(longer).width <= width || !lines.at(-1)) lines[lines.length - 1] = longer;
      else lines.push(word);
    }
    return lines;
  }
})();
