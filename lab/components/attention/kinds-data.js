/* attention.kinds(): what kind each head is at every checkpoint, asked once and shared by badges, table and curves. */
(() => {
  "use strict";

  const lab = window.lab;
  const { attention } = lab;
  const SHORT = {
    "previous token": "prev",
    "duplicate token": "copy",
    induction: "ind",
    "recent tokens": "near",
    "first token": "first",
    "current token": "self",
    "next token": "next",
    punctuation: ".,?",
    even: "even",
    "user's words": "user",
    "user's noun": "noun",
  };
  let question = null;
  let started = false; // patterns first: they are what the page opens with

  attention.kinds = () => {
    question ??= lab.question("heads", {
      page: "attention",
      prompt: false,
      options: () => ((started ||= Boolean(attention.shown)) ? {} : null),
      scrub: true,
    });
    return question;
  };

  attention.on(() => !started && attention.shown && question?.refresh());

  /* What a kind is called where there is little room. */
  attention.shortKind = (kind) => SHORT[kind] ?? kind;

  /* {kind, score, confidence, rows} of a head at the step that is shown, kind "" if it is of none; null: not known yet. */
  attention.kindOf = (layer, head) => {
    const shown = question?.shown;
    if (!shown) return null;
    const { kinds, labels, on, rows } = shown.facts;
    const kind = labels[layer][head];
    const i = kinds.indexOf(kind);
    if (i < 0) return { kind: "" };
    return { kind, score: shown.at("score", i, layer, head), confidence: shown.at("confidence", i, layer, head), rows: rows[on[i]] };
  };

  /* “induction: 0.83 of its attention, over the threshold in 7 of 8 texts” */
  attention.kindInWords = (layer, head) => {
    const found = attention.kindOf(layer, head);
    if (!found) return "";
    if (!found.kind) return "of no kind that is looked for";
    const { kind, score, confidence, rows } = found;
    return `${kind}: ${lab.number(score)}, passed in ${Math.round(confidence * rows)} of ${rows} texts`;
  };
})();
