/* What the Weights page shares: which token, head and matrix are looked at, and the questions that are asked of them. */
(() => {
  "use strict";

  const lab = window.lab;
  const PAGE = "weights";
  const questions = new Map();
  const NAME = { token: `${PAGE}.token`, matrix: `${PAGE}.matrix`, method: `${PAGE}.map`, all: `${PAGE}.all` };

  const weights = { NAME };
  lab.weights = weights;

  /* A token to begin with: a word that this fish says a lot, or the first that is longer than a byte. */
  function firstToken() {
    const words = lab.vocabulary() ?? [];
    const found = words.indexOf(" food");
    return found >= 0 ? found : Math.max(0, words.findIndex((word) => /^ \p{L}{3,}$/u.test(word)));
  }

  /* The id of the token that is looked at; null until the vocabulary is there. */
  weights.token = () => {
    const words = lab.vocabulary();
    return words ? lab.choices.number(NAME.token, words.length, firstToken()) : null;
  };

  weights.choose = (id) => lab.choices.set(NAME.token, id);

  /* [layer, head]: the one that every page shares, or the first. */
  weights.head = () => (lab.state.layer === null ? [0, 0] : [lab.state.layer, lab.state.head]);

  const head = () => {
    const [layer, index] = weights.head();
    return { layer, head: index };
  };
  const token = () => (weights.token() === null ? null : { token: `#${weights.token()}` });
  const method = () => lab.choices.get(NAME.method, ["pca", "tsne", "umap"]);

  const COUNT = 12; // of each list
  const tokens = () => (lab.choices.get(NAME.all) === "1" ? { tokens: "all" } : {});

  const OPTIONS = {
    copying: tokens,
    circuits: () => ({ ...head(), pairs: COUNT, ...tokens() }),
    "positional-qk": head,
    "token-circuits": () => token() && { ...head(), ...token(), ...tokens() },
    neighbours: () => token() && { ...token(), ...tokens() },
    embedding: tokens,
    "embedding-drawn": () => (method() === "pca" ? null : { method: method(), ...tokens() }),
  };

  /* One of the page's questions, made when it is first wanted. "embedding-drawn" is the map that takes long. */
  weights.ask = (what) => {
    if (!questions.has(what)) {
      const slow = what === "embedding-drawn";
      const q = lab.question(slow ? "embedding" : what, {
        page: PAGE,
        prompt: false,
        scrub: !slow,
        options: OPTIONS[what] ?? (() => ({})),
      });
      lab.on(["vocabulary"], q.refresh);
      questions.set(what, q);
    }
    return questions.get(what);
  };

  weights.method = method;

  /* Pairs of ids and values as bars; text(ids of a pair) is the label. */
  weights.pairs = (shown, ids, values, text) => {
    const { data, shape } = shown.arrays[ids];
    const [count, wide] = [shape[0], shape[1] ?? 1];
    return Array.from({ length: count }, (_, i) => ({
      ids: Array.from({ length: wide }, (_, j) => data[i * wide + j]),
      value: shown.arrays[values].data[i],
      label: text(...Array.from({ length: wide }, (_, j) => lab.tokenText(shown.facts.words[data[i * wide + j]]))),
    }));
  };
})();
