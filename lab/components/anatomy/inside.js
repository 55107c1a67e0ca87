/* The stages inside attention: query, key and value, scores, mask, softmax, values, output. */
(() => {
  "use strict";

  const lab = window.lab;
  const { anatomy } = lab;
  const { vector, row, has, token, extent, element, dModel } = anatomy;
  const MOST = 24; // keys that are drawn; of more, those most looked at
  const LEAST = 0.0001; // positive numbers below it are not written out
  const [ROW, FAN, NUMBER] = [17, 84, 62]; // px: a key's row, room for what connects it to the query, for its number

  const moments = (s) => [2 * s.facts.layer];
  const group = "Attention";
  const heads = (s) => s.facts.n_heads;
  const dHead = (s) => s.arrays.q.shape[1];
  const off = (s) => has(s, "attention") && "no attention in this layer: what it finds is replaced by zeros";
  const headOff = (s) => off(s) || (s.facts.heads_off.includes(s.facts.head) && "this head is switched off: its result is zeros");

  /* The positions that are drawn, in order: all, or those most looked at with the token's own. */
  function shown(s) {
    const { n, head, pos } = s.facts;
    const all = Array.from({ length: n }, (_, i) => i);
    if (n <= MOST) return all;
    const p = row(s, "pattern", head);
    const best = [...all].sort((a, b) => p[b] - p[a]).slice(0, MOST - 2);
    return [...new Set([...best, pos, Math.min(pos + 1, n - 1)])].sort((a, b) => a - b);
  }

  const fewer = (s) => {
    const { length } = shown(s);
    return length < s.facts.n ? ` Drawn are ${length} of the ${s.facts.n} tokens: those that it looks at most, and its own.` : "";
  };

  const label = (s, i) => lab.tokenText(s.tokens[i]);
  const left = (board) => (board.narrow ? 74 : board.left);
  const labelled = (board) => (board.narrow ? 66 : board.left - 8); // where a key's token ends
  const factor = (s) => (has(s, "scale") ? "" : ` and divide by √${dHead(s)}`);

  /* The keys as columns. */
  function turned(s) {
    const { data, shape } = s.arrays.keys;
    return Float32Array.from({ length: data.length }, (_, i) => data[(i % shape[0]) * shape[1] + Math.floor(i / shape[0])]);
  }

  // -- query, key, value -------------------------------------------------------------------------------

  const qkv = {
    id: "qkv",
    title: "Query, key, value",
    group,
    code: ["q", "k", "v"],
    off,
    say: (s) =>
      `Three matrices make a query (what this token looks for), a key (what others can find it by) and a value (what it has to give); each of the ${heads(s)} heads has ${dHead(s)} numbers of each.`,
    moments,
    draw: (board, s) => {
      const { head } = s.facts;
      board.heads(heads(s), dHead(s), head, anatomy.setHead, s.facts.heads_off);
      for (const [name, words] of [["q", "query"], ["k", "key"], ["v", "value"]]) {
        const values = vector(s, name);
        board.vector({
          label: words,
          values,
          max: extent(values),
          blocks: heads(s),
          chosen: head,
          element: (i) => element(s, name, { head: Math.floor(i / dHead(s)) })(i % dHead(s)),
          name: (i) => `${words} of head ${Math.floor(i / dHead(s))} [${i % dHead(s)}]`,
        });
      }
    },
    matrix: (s) => [
      ["ln1", 1, dModel(s), vector(s, "ln1")],
      ...["Q", "K", "V"].map((name) => [`W_${name}`, dModel(s), dHead(s), `w_${name.toLowerCase()}`]),
      ["query", 1, dHead(s), row(s, "q", s.facts.head)],
    ],
  };

  // -- scores ------------------------------------------------------------------------------------------

  const scores = {
    id: "scores",
    title: "Scores",
    group,
    code: ["scores"],
    off,
    say: (s) =>
      `Head ${s.facts.head} holds the query of ${token(s)} against the key of every token: multiply number by number, add up${factor(s)}. A large score is a good match.${fewer(s)}`,
    moments,
    draw: (board, s) => {
      const { head } = s.facts;
      const query = row(s, "q", head);
      board.vector({ label: "query", values: query, max: extent(query), element: element(s, "q"), name: (i) => `query[${i}]` });
      const all = row(s, "scores", head);
      keyRows(board, s, "keys", "k", {
        from: left(board),
        tail: (key) => ({ value: all[key], max: extent(all), element: element(s, "scores")(key), name: `score of ${label(s, key)}` }),
        title: has(s, "scale") ? "q·k" : `q·k/√${dHead(s)}`,
      });
    },
    matrix: (s) => [["query", 1, dHead(s), row(s, "q", s.facts.head)], ["keysᵀ", dHead(s), s.facts.n, turned(s)], ["scores", 1, s.facts.n, row(s, "scores", s.facts.head)]],
  };

  /* A row for each key: its token, its vector, and a number. */
  function keyRows(board, s, name, stage, { from, tail, title }) {
    const { ink } = board;
    const max = extent(s.arrays[name].data);
    ink.text(from, board.y + 6, board.narrow ? name : `${name}, one row for each token`, { size: 11, color: "ink-2" });
    ink.text(board.width, board.y + 6, title, { size: 11, color: "ink-2", align: "right" });
    board.y += 16;
    for (const key of shown(s)) {
      const y = board.y;
      const mine = key === s.facts.pos;
      ink.text(labelled(board), y + ROW / 2, label(s, key), { size: 11, mono: true, align: "right", color: mine ? "ink" : "ink-2", weight: mine ? 700 : 400, max: 62 });
      const values = row(s, name, key);
      const place = { x: from, y, room: board.width - from - NUMBER, h: ROW - 3 };
      board.strip({ ...place, values, max, element: element(s, stage, { pos: key }), name: (i) => `${stage} of ${label(s, key)} [${i}]` });
      const said = tail(key);
      const [x, w] = [board.width - NUMBER + 5, NUMBER - 6];
      const rgb = lab.ink.valueColor(said.scale ?? "signed", said.value, said.max);
      ink.rect(x, y, w, ROW - 3, { fill: rgb });
      ink.rect(x - 0.5, y - 0.5, w + 1, ROW - 2, { stroke: "hairline" });
      const text = said.value > 0 && said.value < LEAST ? `<\u2009${LEAST}` : lab.signed(said.value);
      ink.text(x + w - 5, y + (ROW - 3) / 2 + 0.5, text, { size: 11, align: "right", color: lab.ink.contrast(rgb) });
      board.number({ x, y, w, h: ROW - 3, element: said.element, tell: `${said.name} = ${anatomy.exact(said.value)}` });
      board.y = y + ROW;
      said.after?.(y + (ROW - 3) / 2);
    }
    board.y += 8;
  }

  // -- mask and softmax ----------------------------------------------------------------------------------

  const pick = (s, values) => Float32Array.from(shown(s), (key) => values[key]);

  const mask = {
    id: "mask",
    title: "Mask",
    group,
    code: ["masked"],
    off: (s) => off(s) || (has(s, "causal_mask") && "no causal mask: later tokens are seen"),
    say: (s) =>
      has(s, "causal_mask")
        ? "This model has no mask: a token sees what comes after it, and nothing is hidden here."
        : `A token may not look at what comes after it, or the model would read the answer instead of predicting it: those scores become minus infinity.${
            s.facts.pos === s.facts.n - 1 ? ` Nothing comes after ${token(s)}, the last token, so nothing is hidden here.` : ""
          }`,
    moments,
    draw: (board, s) => {
      const keys = shown(s);
      const all = row(s, "scores", s.facts.head);
      const max = extent(all);
      const cells = (words, op, name, values) =>
        board.cells({ label: words, op, values: pick(s, values), max, element: (i) => element(s, name)(keys[i]), name: (i) => `${words} of ${label(s, keys[i])}` });
      cells("score", "", "scores", all);
      cells("masked", "→", "masked", row(s, "masked", s.facts.head));
      board.tokens(keys.map((key) => label(s, key)), keys.length, { bold: keys.indexOf(s.facts.pos) });
    },
  };

  const softmax = {
    id: "softmax",
    title: "Softmax",
    group,
    code: ["pattern"],
    off,
    say: (s) => {
      const p = row(s, "pattern", s.facts.head);
      const best = p.indexOf(Math.max(...p));
      return `Exponentials make every score positive, and dividing by their sum makes them probabilities that add up to 1. Head ${s.facts.head} gives most, ${lab.number(100 * p[best])}%, to ‘${label(s, best)}’.`;
    },
    moments,
    draw: (board, s) => {
      const keys = shown(s);
      const p = pick(s, row(s, "pattern", s.facts.head));
      const w = Math.min(48, board.area / keys.length);
      const high = 64;
      const top = board.y + 14;
      board.caption({ label: board.narrow ? "" : "probability", tail: "" }, high + 14);
      const y = board.narrow ? top + 16 : top;
      p.forEach((value, i) => {
        const x = board.left + i * w;
        const h = high * value;
        board.ink.rect(x + 1, y + high - h, Math.max(1, w - 2), h, { fill: "attention-1", opacity: 0.85 });
        const text = w > 34 ? lab.number(value) : value.toPrecision(2);
        if (value && w > board.ink.measure(text, { size: 10 })) board.ink.text(x + w / 2, y + high - h - 7, text, { size: 10, align: "center", color: "ink-2" });
        board.number({ x, y: y - 14, w, h: high + 14, element: element(s, "pattern")(keys[i]), tell: `probability of ${label(s, keys[i])} = ${anatomy.exact(value)}` });
      });
      board.ink.line(board.left, y + high, board.left + w * keys.length, y + high, { stroke: "edge" });
      board.y = y + high + 6;
      board.tokens(keys.map((key) => label(s, key)), keys.length, { bold: keys.indexOf(s.facts.pos) });
    },
  };

  // -- values ------------------------------------------------------------------------------------------

  const values = {
    id: "values",
    title: "Values",
    group,
    code: ["z"],
    off: headOff,
    say: (s) => `The head takes the value of every token as strongly as it looks there, the thicker the line the more, and adds them up: that is what head ${s.facts.head} found for ${token(s)}.${fewer(s)}`,
    moments,
    draw: (board, s) => {
      const { head } = s.facts;
      const p = row(s, "pattern", head);
      const fan = board.narrow ? 40 : FAN;
      const from = left(board) + fan;
      const rows = [];
      keyRows(board, s, "values", "v", {
        from,
        title: "probability",
        tail: (key) => ({
          value: p[key],
          max: 1,
          scale: "probability",
          element: element(s, "pattern")(key),
          name: `probability of ${label(s, key)}`,
          after: (y) => rows.push([y, p[key]]),
        }),
      });
      board.y += 6;
      const middle = board.y + 8;
      const start = left(board) + 2;
      for (const [y, weight] of rows) {
        const bend = fan * 0.55;
        const path = `M${start} ${middle}C${start + bend} ${middle} ${from - 6 - bend} ${y} ${from - 4} ${y}`;
        board.ink.path(path, { stroke: "attention-1", width: Math.max(0.4, 13 * weight), opacity: 0.25 + 0.6 * weight });
      }
      board.ink.circle(start, middle, 4, { fill: "accent" });
      board.ink.text(labelled(board), middle, label(s, s.facts.pos), { size: 11, mono: true, align: "right", weight: 700, max: 62 });
      const z = row(s, "z", head);
      board.ink.text(from - 14, middle, "=", { size: 14, color: "ink-2" });
      const place = { x: from, y: board.y, room: board.width - from - NUMBER, h: 16 };
      board.strip({ ...place, values: z, max: extent(z), element: element(s, "z"), name: (i) => `z of head ${head} [${i}]` });
      board.ink.text(board.width, middle, `±${lab.number(extent(z))}`, { size: 11, color: "ink-2", align: "right" });
      board.y += 26;
    },
    matrix: (s) => [["pattern", 1, s.facts.n, row(s, "pattern", s.facts.head)], ["values", s.facts.n, dHead(s), vector(s, "values")], ["z", 1, dHead(s), row(s, "z", s.facts.head)]],
  };

  // -- output ------------------------------------------------------------------------------------------

  const output = {
    id: "output",
    title: "Output",
    group,
    code: ["result", "attn_out"],
    off,
    say: (s) => `A last matrix brings what each head found back to the width of the stream. The ${heads(s)} results and a bias are added up: this is what attention has to say.`,
    moments,
    draw: (board, s) => {
      const d = s.arrays.result.shape[1];
      const z = vector(s, "z");
      board.heads(heads(s), dHead(s), s.facts.head, anatomy.setHead, s.facts.heads_off);
      board.vector({
        label: "z, all heads",
        values: z,
        max: extent(z),
        blocks: heads(s),
        chosen: s.facts.head,
        element: (i) => element(s, "z", { head: Math.floor(i / dHead(s)) })(i % dHead(s)),
        name: (i) => `z of head ${Math.floor(i / dHead(s))} [${i % dHead(s)}]`,
      });
      const max = extent(vector(s, "result"), vector(s, "attn_out"));
      for (let head = 0; head < heads(s); head++) {
        const values = row(s, "result", head);
        const gone = s.facts.heads_off.includes(head);
        board.vector({
          op: head ? "+" : "",
          label: gone ? `head ${head}, off` : `head ${head}`,
          values,
          max,
          low: d > 200 ? 5 : 6,
          faded: gone,
          tail: head ? "" : undefined,
          element: element(s, "result", { head }),
          name: (i) => `result of head ${head} [${i}]`,
        });
      }
      board.vector({ op: "+", label: "bias", values: vector(s, "attn_bias"), max, low: d > 200 ? 5 : 6, tail: "", element: element(s, "attn_out"), name: (i) => `b_O[${i}]` });
      board.vector({ op: "=", label: "attention", values: vector(s, "attn_out"), max, tail: "", element: element(s, "attn_out"), name: (i) => `attn_out[${i}]`, faded: has(s, "attention") });
    },
    matrix: (s) => [["z", 1, dModel(s), vector(s, "z")], ["W_O", dModel(s), dModel(s), "w_o"], ["attention", 1, dModel(s), vector(s, "attn_out")]],
  };

  Object.assign(anatomy.parts, { qkv, scores, mask, softmax, values, output });
})();
