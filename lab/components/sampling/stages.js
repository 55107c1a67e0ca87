/* lab.sampling: what temperature, top-k and top-p leave of the logits, stage by stage, as guppy.next_token_distribution
   does it; a test holds the two equal. Here, so that a slider asks nobody. */
(() => {
  "use strict";

  const lab = window.lab;

  /* Ids by logit, largest first; among equals the lowest id. */
  const ordered = (logits) => Uint32Array.from(logits, (_, id) => id).sort((a, b) => logits[b] - logits[a] || a - b);

  function softmax(logits) {
    const most = logits.reduce((a, b) => Math.max(a, b), -Infinity);
    const p = Float64Array.from(logits, (logit) => Math.exp(logit - most));
    const total = p.reduce((a, b) => a + b, 0);
    return p.map((each) => each / total);
  }

  /* {order, probability, tempered, kept (1 or 0 for each id), afterTopK, afterTopP (how many are left), drawn}. topK and
     topP null: off. */
  function stages(logits, { temperature, topK = null, topP = null }) {
    const [order, probability] = [ordered(logits), softmax(logits)];
    const none = () => new Float64Array(logits.length);
    if (temperature === 0) {
      const only = none().fill(1, order[0], order[0] + 1);
      return { order, probability, tempered: only, kept: Uint8Array.from(only), afterTopK: 1, afterTopP: 1, drawn: only };
    }
    const scaled = Float32Array.from(logits, (logit) => logit / temperature);
    const tempered = softmax(scaled);
    const first = ordered(scaled).subarray(0, topK ?? logits.length);
    const within = first.reduce((sum, id) => sum + tempered[id], 0);
    let [before, total] = [0, 0];
    const kept = new Uint8Array(logits.length);
    let afterTopP = 0;
    for (const id of first) {
      if (topP !== null && topP < 1 && before >= topP) break;
      const share = tempered[id] / within;
      before += share;
      total += share;
      kept[id] = 1;
      afterTopP++;
    }
    const drawn = none();
    for (const id of first.subarray(0, afterTopP)) drawn[id] = tempered[id] / within / total;
    return { order, probability, tempered, kept, afterTopK: first.length, afterTopP, drawn };
  }

  /* The first id at which the probabilities, summed up in the order of ids, pass a number between 0 and 1. */
  function draw(p, number) {
    const target = number * p.reduce((a, b) => a + b, 0);
    let sum = 0;
    let last = 0;
    for (let id = 0; id < p.length; id++) {
      if (!p[id]) continue;
      sum += p[id];
      last = id;
      if (sum > target) break;
    }
    return last;
  }

  const bits = (p) => -p.reduce((sum, each) => (each ? sum + each * Math.log2(each) : sum), 0);

  lab.sampling = { stages, draw, bits };
})();
