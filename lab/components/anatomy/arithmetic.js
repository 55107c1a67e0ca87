/* lab.anatomy.panel: the arithmetic behind the number that is open, with its operands as strips. Each operand that is a
   number of the same pass leads to its own arithmetic; the way back stands above. */
(() => {
  "use strict";

  const lab = window.lab;
  const { anatomy } = lab;
  const FIRST = 4; // terms that are written out
  const STAGE_NAMES = { resid_pre: "stream", resid_mid: "stream after attention", resid_post: "stream after the MLP" };

  const digits = (x) => anatomy.exact(x);
  /* As many digits as float32 has. */
  const full = (x) => (Number.isFinite(x) ? String(Number(x.toPrecision(7))).replace("-", "−") : digits(x));
  const at = (reference, term) => {
    const found = Array.isArray(reference) ? reference[term] : reference;
    return Object.fromEntries(Object.entries(found).map(([key, value]) => [key, value === "term" ? term : value]));
  };
  const leads = (reference) => Boolean(reference) && Object.keys(reference).length > 0;

  /* A number in few words: "q · layer 2 · ‘food’ · head 1 · 7". */
  function name(number, s) {
    const { stage, layer, pos, head, index } = number;
    const token = s?.tokens[pos];
    const parts = [STAGE_NAMES[stage] ?? stage];
    const layerless = ["embed", "pos_embed", "logits", "probabilities"].includes(stage) || stage.startsWith("ln_final");
    if (!layerless) parts.push(`layer ${layer}`);
    if (token !== undefined) parts.push(`‘${lab.tokenText(token)}’`);
    if (["q", "k", "v", "z", "result", "scores", "masked", "pattern"].includes(stage)) parts.push(`head ${head}`);
    if (["scores", "masked", "pattern"].includes(stage)) parts.push(`to ‘${lab.tokenText(s?.tokens[index] ?? "")}’`);
    else if (["logits", "probabilities"].includes(stage)) parts.push(`‘${lab.tokenText(anatomy.words?.[index] ?? String(index))}’`);
    else if (!/_(mean|variance|scale)$/.test(stage)) parts.push(`[${index}]`);
    return parts.join(" · ");
  }

  anatomy.panel = () => {
    const element = lab.el("section", { class: "arithmetic", "aria-label": "The arithmetic of one number" });
    const trail = lab.el("div", { class: "trail" });
    const title = lab.el("h3", {});
    const value = lab.el("output", {});
    const button = (text, label, fn) => lab.el("button", { type: "button", class: "plain", "aria-label": label, title: label, onclick: fn }, text);
    const tools = lab.el("div", { class: "tools" });
    tools.append(
      button("‹", "The number before", () => anatomy.neighbour(-1, e().facts.length)),
      button("›", "The next number", () => anatomy.neighbour(1, e().facts.length)),
      button("×", "Close", anatomy.close),
    );
    const formula = lab.el("p", { class: "formula mono" });
    const strips = lab.el("div", { class: "strips" });
    const written = lab.el("p", { class: "written mono" });
    const note = lab.el("p", { class: "caption" });
    element.append(trail, lab.el("div", { class: "top" }, lab.el("div", {}, title, value), tools), formula, strips, written, note);
    const e = () => anatomy.explained.shown;
    const view = anatomy.view(strips, { draw, label: "Operands: arrow keys move, Enter follows a number", open: anatomy.follow });

    // -- operands as strips ----------------------------------------------------------------------------

    const part = (vector, label, op, from, max) => ({
      values: vector,
      max: max ?? lab.extent(vector),
      label,
      op,
      low: 8,
      name: (i) => `${label}[${i}]`,
      element: (i) => (leads(from) ? at(from, i) : anatomy.number()),
    });

    const weights = (facts) => facts.right_name.includes(".weight");

    function draw(board) {
      if (!e()) return;
      const { facts, arrays } = e();
      const left = arrays.left?.data;
      if (!left || left.length < 2) return;
      if (facts.form === "function") return board.vector(part(left, `${facts.left_name}, all`, "", facts.left_from));
      if (facts.form === "sum" && left.length <= 8) return;
      board.vector(part(left, facts.left_name, "", facts.left_from));
      const right = arrays.right?.data;
      if (!right) return;
      board.vector(part(right, weights(facts) ? "weights" : facts.right_name, "×", facts.right_from));
      board.vector({ ...part(left.map((x, i) => x * right[i]), "products", "=", null), element: (i) => (leads(facts.left_from) ? at(facts.left_from, i) : anatomy.number()) });
    }

    // -- written out -----------------------------------------------------------------------------------

    /* A number; one that can be followed is a button. */
    function figure(x, reference) {
      if (!leads(reference)) return lab.el("span", {}, digits(x));
      return lab.el("button", { type: "button", class: "operand", title: name(reference, anatomy.q.shown), onclick: () => anatomy.follow(reference) }, digits(x));
    }

    function terms() {
      const { facts, arrays } = e();
      const left = arrays.left.data;
      const right = arrays.right?.data;
      const product = (i) => left[i] * (right ? right[i] : 1);
      const order = [...left.keys()];
      const few = left.length <= FIRST + 2;
      if (!few) order.sort((a, b) => Math.abs(product(b)) - Math.abs(product(a)));
      const first = few ? order : order.slice(0, FIRST);
      const said = [];
      first.forEach((i, place) => {
        if (place) said.push(" + ");
        const negative = right && left[i] < 0 ? ["(", ")"] : ["", ""];
        said.push(negative[0], figure(left[i], leads(facts.left_from) ? at(facts.left_from, i) : null), negative[1]);
        if (right) said.push(" × ", figure(right[i], leads(facts.right_from) ? at(facts.right_from, i) : null));
      });
      if (!few) said.push(` + … and ${lab.count(left.length - first.length)} more`);
      const sum = left.reduce((total, _, i) => total + product(i), 0);
      if (facts.bias !== undefined) said.push(facts.bias < 0 ? " − " : " + ", lab.el("span", { title: facts.bias_name }, digits(Math.abs(facts.bias))));
      const whole = sum + (facts.bias ?? 0);
      if (facts.factor !== 1) said.unshift("("), said.push(") × ", digits(facts.factor));
      said.push(" = ", lab.el("strong", {}, full(facts.factor * whole)));
      const parts = [];
      if (!few) parts.push("The largest terms come first.");
      if (right && weights(facts)) parts.push(`The weights are ${facts.right_name}.`);
      if (facts.bias !== undefined) parts.push(`${lab.count(left.length)} ${right ? "products" : "terms"} make ${full(sum)}; ${facts.bias_name} adds ${full(facts.bias)}.`);
      return [said, parts.join(" ")];
    }

    function scalars() {
      const { facts } = e();
      const said = [];
      Object.entries(facts.scalars).forEach(([label, x], i) => {
        if (i) said.push(",  ");
        said.push(`${label} = `, figure(x, facts.scalars_from[label]));
      });
      if (facts.form === "function") said.push("   gives ", lab.el("strong", {}, full(facts.computed)));
      return [said, ""];
    }

    // -- the whole -------------------------------------------------------------------------------------

    function paint() {
      const { explained, q } = anatomy;
      element.hidden = !anatomy.number();
      element.classList.toggle("waiting", !explained.shown || explained.busy);
      if (!anatomy.number()) return;
      const steps = anatomy.trail();
      trail.replaceChildren(
        ...steps.slice(0, -1).flatMap((number, i) => [
          lab.el("button", { type: "button", class: "operand", onclick: () => anatomy.back(i) }, name(number, q.shown)),
          " ← ",
        ]),
      );
      trail.hidden = steps.length < 2;
      title.textContent = name(steps.at(-1), q.shown);
      if (explained.problem) note.textContent = explained.problem;
      if (!explained.shown) return;
      const { facts, step } = explained.shown;
      value.textContent = `${facts.hook || "computed on the way"} = ${full(facts.value)}`;
      formula.textContent = facts.formula;
      const [said, words] = facts.form === "products" || facts.form === "sum" ? terms() : scalars();
      written.replaceChildren(...said);
      const apart = Math.abs(facts.value - facts.computed);
      const exact = facts.replaced
        ? `A surgery puts ${full(facts.value)} in the place of what the arithmetic gives.`
        : Number.isFinite(apart) && apart > 0
          ? `Added up in 64 bits it is ${apart.toExponential(0)} from what the model computed in 32.`
          : "";
      note.textContent = [words, exact].filter(Boolean).join(" ");
      note.classList.toggle("replaced", facts.replaced);
      strips.hidden = !(explained.shown.arrays.left?.data.length > 1 && !(facts.form === "sum" && facts.left_name.includes(" + ")));
      view.paint();
      element.dataset.value = facts.value;
      element.dataset.computed = facts.computed;
      element.dataset.painted = JSON.stringify([facts.stage, facts.layer, facts.pos, facts.head, facts.index, step]);
    }

    anatomy.explained.on(paint);
    anatomy.onNumber(paint);
    lab.onTheme(() => anatomy.explained.shown && paint());
    return { element, paint };
  };
})();
