/* lab.layers(): what the parts of the Layers page share: their questions, and which cell of the lens is looked at.

   A cell is a point of the residual stream (a row of the logit lens) and a position of the text. The one that is pinned
   stands in the address (layers.point, layers.position); the one under the hand goes before it. */
(() => {
  "use strict";

  const lab = window.lab;
  const PAGE = "layers";
  const POINT = /^blocks\.(\d+)\.hook_(resid_pre|resid_mid|resid_post|attn_out|mlp_out)$/;
  let view = null;

  /* {kind: "embed" | "attn" | "mlp", layer} of a hook point of the stream, or of what a component adds to it. */
  function parts(name) {
    const [, layer, at] = POINT.exec(name) ?? [];
    if (at === undefined) return { kind: name === "hook_pos_embed" ? "pos" : "embed", layer: null };
    if (at === "resid_pre") return { kind: "embed", layer: null };
    return { kind: at === "resid_mid" || at === "attn_out" ? "attn" : "mlp", layer: Number(layer) };
  }

  const PLACES = { attn: "attention", mlp: "MLP" };

  /* "after the attention of layer 2" */
  function pointInWords(name) {
    const { kind, layer } = parts(name);
    return kind === "embed" ? "after the embeddings" : `after the ${PLACES[kind]} of layer ${layer}`;
  }

  /* "the attention of layer 2" */
  function componentInWords(name) {
    const { kind, layer } = parts(name);
    if (layer !== null) return `the ${PLACES[kind]} of layer ${layer}`;
    return kind === "pos" ? "the position embedding" : "the token embedding";
  }

  /* Row labels: embed, L0 attn, L0 MLP, …, final; of a lens that reads whole layers: embed, L0, …, final. */
  function pointLabels(names) {
    const whole = !names.some((name) => parts(name).kind === "attn");
    return names.map((name, i) => {
      const { kind, layer } = parts(name);
      if (i === names.length - 1) return "final";
      if (kind === "embed") return "embed";
      return whole ? `L${layer}` : `L${layer} ${kind === "attn" ? "attn" : "MLP"}`;
    });
  }

  const componentLabel = (name) => {
    const { kind, layer } = parts(name);
    if (layer !== null) return `L${layer} ${kind === "attn" ? "attn" : "MLP"}`;
    return kind === "pos" ? "positions" : "tokens";
  };

  function make() {
    const listeners = new Set();
    let hovered = null; // {point, position} under the hand
    const pair = () => ({
      token: lab.choices.get("layers.token") || null,
      against: lab.choices.get("layers.against") || null,
      difference: lab.choices.get("layers.single") === "1" ? "false" : null,
    });
    const lens = lab.question("lens", { page: PAGE, scrub: true });
    const residual = lab.question("residual", { page: PAGE, scrub: true });
    const attribution = lab.question("attribution", { page: PAGE, scrub: true, options: pair });

    const count = () => (lens.shown ?? residual.shown ?? attribution.shown)?.tokens.length ?? 0;
    const pinnedPosition = () => lab.choices.number("layers.position", count());
    const pinnedPoint = () => lab.choices.number("layers.point", lens.shown?.facts.points.length ?? 0);

    const tell = () => listeners.forEach((fn) => fn());

    /* Another cell under the hand (null: none). */
    function hover(cell) {
      if (JSON.stringify(cell) === JSON.stringify(hovered)) return;
      hovered = cell;
      tell();
    }

    const digits = (i) => (i === null || i === undefined ? null : String(i));

    function pin(cell) {
      lab.choices.set({ "layers.point": digits(cell?.point), "layers.position": digits(cell?.position) });
    }

    lab.choices.on(["layers.position", "layers.point"], tell);
    lab.on(["run", "prompt"], () => hover(null));

    return {
      PAGE,
      lens,
      residual,
      attribution,
      hover,
      pin,
      /* fn() when another cell is looked at. */
      onCell: (fn) => listeners.add(fn),
      pinned: () => (pinnedPosition() === null ? null : { point: pinnedPoint(), position: pinnedPosition() }),
      /* The position that is looked at: under the hand, pinned, or the last. */
      position: () => Math.min(hovered?.position ?? pinnedPosition() ?? Infinity, count() - 1),
      /* The row of the logit lens: under the hand, pinned, or the last. */
      point: () => Math.min(hovered?.point ?? pinnedPoint() ?? Infinity, (lens.shown?.facts.points.length ?? 1) - 1),
    };
  }

  /* Made when the first part of the page asks for it, for by then the kit is there. */
  lab.layers = () => (view ??= make());
  Object.assign(lab.layers, { parts, pointInWords, componentInWords, pointLabels, componentLabel });

  /* The text of a token id that an answer names, for the screen. */
  lab.layers.word = (shown, id) => lab.tokenText(shown.facts.words[id] ?? `#${id}`);

  /* ‘·food’ (position 4) */
  lab.layers.place = (shown, position) => `‘${lab.tokenText(shown.tokens[position])}’ (position ${position})`;
})();
