/* Tokens as chips: lab.tokens() asks how a run reads a prompt, lab.chips() draws it. */
(() => {
  "use strict";

  const lab = window.lab;
  const KEPT = 64;
  const known = new Map();

  /* {tokens, ids, cut} of a prompt as this run reads it. */
  lab.tokens = (run, prompt) => {
    const key = JSON.stringify([run, prompt]);
    if (!known.has(key)) {
      const asked = lab.getJSON(lab.url("lab/tokens", { run, prompt }));
      asked.catch(() => known.delete(key));
      known.set(key, asked);
      if (known.size > KEPT) known.delete(known.keys().next().value);
    }
    return known.get(key);
  };

  const isSpecial = (token) => /^<\|\w+\|>$/.test(token);

  /* The chips' elements, in order; special tokens (the chat's own marks) are drawn quieter. */
  lab.chips = (tokens) =>
    tokens.map((token, position) =>
      lab.el(
        "span",
        { class: isSpecial(token) ? "chip special" : "chip", "data-position": position },
        lab.tokenText(token),
      ),
    );
})();
