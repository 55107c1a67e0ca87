/* The last stages: logits, probabilities, and the draw. */
(() => {
  "use strict";

  const lab = window.lab;
  const { anatomy } = lab;
  const { vector, token, extent, element, dModel } = anatomy;
  const MOST = 8192; // logits that are drawn as a strip
  const group = "Leave";

  const listed = (s) => [...s.arrays.listed.data].map((id, i) => ({ id, text: lab.tokenText(s.facts.listed_tokens[i]), rank: s.arrays.ranks.data[i] }));
  const isNext = (s, id) => id === s.facts.next_id;
  const word = (s, id) => lab.tokenText(anatomy.words?.[id] ?? `token ${id}`);
  const followed = (s) => {
    if (s.facts.next_id === undefined) return "";
    const { text, rank } = listed(s).find(({ id }) => isNext(s, id));
    const place = rank ? `, which is number ${lab.count(rank + 1)} of the list,` : ", which is the first of the list,";
    return ` In the text ‘${text}’ follows${place} with ${lab.number(100 * vector(s, "probabilities")[s.facts.next_id])}%.`;
  };

  function list(board, s, stage, rows, text, more = {}) {
    const values = vector(s, stage);
    const max = Math.max(...rows.map(({ id }) => Math.abs(values[id])));
    for (const { id, text: label } of rows) {
      const value = values[id];
      board.bar({
        label,
        value,
        max,
        text: text(value),
        strong: isNext(s, id),
        element: element(s, stage)(id),
        tell: `${stage === "logits" ? "logit" : "probability"} of ${label} = ${anatomy.exact(value)}`,
        ...more,
        color: more.hues ? (value < 0 ? "negative" : "positive") : "attention-1",
      });
    }
    board.y += 6;
  }

  const logits = {
    id: "logits",
    title: "Logits",
    group,
    code: ["logits"],
    say: (s) =>
      `The vector is held against the embedding of every one of the ${lab.count(s.facts.d_vocab)} tokens, the same numbers as at the very beginning. A large product: this token would fit as the next one.${followed(s)}`,
    moments: () => [],
    thin: true,
    draw: (board, s) => {
      const values = vector(s, "logits");
      const rows = listed(s);
      list(board, s, "logits", rows, lab.signed, { signed: rows.some(({ id }) => values[id] < 0), hues: true });
      if (values.length > MOST) return;
      board.y += 4;
      board.vector({ label: "all tokens", values, max: extent(values), low: 7, element: element(s, "logits"), name: (i) => `logit of ${word(s, i)}` });
    },
    matrix: (s) => [["W_E", s.facts.d_vocab, dModel(s), "w_e"], ["output", dModel(s), 1, vector(s, "ln_final")], ["logits", s.facts.d_vocab, 1, vector(s, "logits")]],
  };

  const percent = (p) => (p && p < 1e-5 ? "< 0.001%" : `${lab.number(100 * p)}%`);

  const probabilities = {
    id: "probabilities",
    title: "Probabilities",
    group,
    code: ["probabilities"],
    say: (s) => `Softmax again, over all tokens: what the model expects after ${token(s)}. Everything above was for this.`,
    moments: () => [],
    thin: true,
    draw: (board, s) => {
      list(board, s, "probabilities", listed(s), percent);
      const p = vector(s, "probabilities");
      const rest = 1 - listed(s).reduce((sum, { id }) => sum + p[id], 0);
      const others = `the other ${lab.count(p.length - listed(s).length)} tokens together: ${percent(Math.max(0, rest))}`;
      board.ink.text(board.width, board.y + 4, others, { size: 11, color: "ink-2", align: "right" });
      board.y += 14;
    },
  };

  // -- the draw ----------------------------------------------------------------------------------------

  const drawn = { key: "", last: null, ids: [] }; // what was drawn for the answer that is shown

  function current(s) {
    const key = JSON.stringify([s.header.run, s.header.prompt, s.step, s.facts.pos]);
    if (drawn.key !== key) Object.assign(drawn, { key, last: null, ids: [] });
    return drawn;
  }

  /* The first token, by number, at which the probabilities so far pass u. */
  function draw(s) {
    const p = vector(s, "probabilities");
    const whole = p.reduce((sum, x) => sum + x, 0);
    const u = Math.random();
    let sum = 0;
    let id = p.findIndex((x) => (sum += x) > u * whole);
    if (id < 0) id = p.length - 1;
    const state = current(s);
    Object.assign(state, { last: { u, id } });
    state.ids = [...state.ids, id].slice(-40);
  }

  const sample = {
    id: "sample",
    title: "Sample",
    group,
    code: ["sample"],
    say: (s) =>
      `Every token gets a stretch of the line as long as its probability. A number drawn evenly between 0 and 1 falls into one of them: that token is said, and the walk begins again with it.${
        current(s).last ? ` Drawn: ${lab.number(current(s).last.u)}, so ‘${word(s, current(s).last.id)}’.` : ""
      }`,
    moments: () => [],
    draw: (board, s) => {
      const { ink, width } = board;
      const p = vector(s, "probabilities");
      const { last, ids } = current(s);
      const [y, h] = [board.y + 20, 28];
      let sum = 0;
      p.forEach((value, id) => {
        const [x, w] = [width * sum, width * value];
        sum += value;
        if (w < 0.25) return;
        ink.rect(x, y, w > 3 ? w - 1 : w, h, { fill: "attention-1", opacity: last?.id === id ? 1 : 0.5 });
        if (w < 30) return;
        const text = word(s, id);
        ink.text(x + w / 2, y - 9, text, { size: 11, mono: true, align: "center", max: w - 4 });
      });
      ink.rect(0.5, y - 0.5, width - 1, h + 1, { stroke: "hairline" });
      for (const at of [0, 0.25, 0.5, 0.75, 1]) {
        const align = at === 0 ? "left" : at === 1 ? "right" : "center";
        ink.text(width * at, y + h + 10, String(at), { size: 11, color: "ink-2", align });
      }
      if (last) {
        ink.line(width * last.u, y - 3, width * last.u, y + h + 4, { stroke: "accent", width: 2 });
        ink.circle(width * last.u, y - 4, 3.5, { fill: "accent" });
      }
      board.y = y + h + 24;
      if (!ids.length) return;
      const said = new Map();
      for (const id of ids) said.set(id, (said.get(id) ?? 0) + 1);
      const words = [...said].sort((a, b) => b[1] - a[1]).map(([id, times]) => (times > 1 ? `${word(s, id)} × ${times}` : word(s, id)));
      ink.text(0, board.y + 6, `drawn so far: ${words.join(", ")}`, { size: 12, mono: true, max: width });
      board.y += 18;
    },
    /* The token that leaves: the one drawn last, or the likeliest. */
    token: (s) => current(s).last?.id ?? s.arrays.listed.data[0],
    action: { name: "Draw a token", do: draw },
  };

  Object.assign(anatomy.parts, { logits, probabilities, sample });
})();
