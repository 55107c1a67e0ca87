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

  const ACTIVATIONS = {
    relu: "The number if it is above zero, else zero.",
    gelu: "The number times the share of a normal distribution that lies below it.",
    gelu_new: "The number times, nearly, the share of a normal distribution that lies below it.",
  };

  /* What is done, for whoever does not read formulas. */
  function inWords(facts, length, act) {
    const { form, stage, factor, bias, right_name } = facts;
    if (form === "copy") return Object.keys(facts.scalars_from).length ? "The same number, passed on." : "Looked up in a table that was learned.";
    if (/variance$/.test(stage)) return `How far each number lies from the mean, squared; added up and divided by ${length}.`;
    if (/mean$/.test(stage)) return `All ${length} numbers added up and divided by ${length}.`;
    if (/scale$/.test(stage)) return "The square root of the variance, and of a little more so that it is never 0.";
    if (/normalized$/.test(stage)) return "The mean is taken away, and what is left divided by the scale.";
    if (stage === "masked") return "The score, unless its token comes after the one that asks.";
    if (stage === "mlp_post") return ACTIVATIONS[act];
    if (form === "function") return "The exponential of the number, divided by the sum of all exponentials; the largest is taken away first, which changes nothing but keeps them small.";
    const end = `${bias === undefined ? "" : ", and a bias"}${factor === 1 ? "" : `, then divided by ${lab.number(1 / factor)}`}.`;
    if (form === "sum") return `The numbers are added up${end}`;
    const partner = right_name.includes(".weight") ? "its weight" : "its partner";
    return length === 1 ? `The number times ${partner}${end}` : `Each number times ${partner}, all ${lab.count(length)} products added up${end}`;
  }

  /* visit(number): show the walk of the number's own token and layer. */
  anatomy.panel = (visit) => {
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
    const go = lab.el("button", { type: "button", class: "plain", onclick: () => visit(anatomy.number()) }, "Go to it");
    tools.prepend(go);
    const words = lab.el("p", {});
    const formula = lab.el("p", { class: "formula mono" });
    const strips = lab.el("div", { class: "strips" });
    const written = lab.el("p", { class: "written mono" });
    const note = lab.el("p", { class: "caption" });
    element.append(trail, lab.el("div", { class: "top" }, lab.el("div", {}, title, value), tools), words, formula, strips, written, note);
    const e = () => anatomy.explained.shown;
    const view = anatomy.view(strips, { draw, label: "Operands: arrow keys move, Enter follows a number", open: anatomy.follow });

    // -- operands as strips ----------------------------------------------------------------------------

    const part = (vector, label, op, from) => ({
      values: vector,
      max: anatomy.extent(vector.filter(Number.isFinite)),
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

    /* The formula with its numbers in it. */
    function scalars() {
      const { facts } = e();
      const { stage, scalars: x, scalars_from: from } = facts;
      const put = (label) => figure(x[label], from[label]);
      const result = [" = ", lab.el("strong", {}, full(facts.computed))];
      if (facts.form === "copy") {
        const [[label, value]] = Object.entries(x);
        return [[`${label} = `, figure(value, from[label])], ""];
      }
      if (/_normalized$/.test(stage)) return [["(", put("x"), " − ", put("mean"), ") / ", put("scale"), ...result], ""];
      if (/_scale$/.test(stage)) return [["√(", put("variance"), " + ", put("eps"), ")", ...result], ""];
      if (stage === "mlp_post") return [["pre = ", put("pre"), ",  post", ...result], ""];
      if (stage === "masked") {
        const later = x.key > x.query;
        const where = `key ${x.key} comes ${later ? "after" : x.key === x.query ? "with" : "before"} query ${x.query}; the score is `;
        return [[where, put("score"), ",  masked", ...result], ""];
      }
      const own = facts.left_name;
      const note = `The largest is ${full(x.largest)}; the sum is that of exp(each − largest).`;
      return [["exp(", put(own), " − ", digits(x.largest), ") / ", digits(x.sum), ...result], note];
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
      const { layer, pos } = q.shown?.facts ?? {};
      go.hidden = steps.length < 2 && steps[0].layer === layer && steps[0].pos === pos;
      if (explained.problem) note.textContent = explained.problem;
      if (!explained.shown) return;
      const { facts, step } = explained.shown;
      value.textContent = `${facts.hook} = ${full(facts.value)}`.trim();
      formula.textContent = facts.formula;
      words.textContent = inWords(facts, explained.shown.arrays.left?.data.length ?? 1, q.shown?.facts.act_fn);
      const [said, more] = facts.form === "products" || facts.form === "sum" ? terms() : scalars();
      written.replaceChildren(...said);
      const apart = Math.abs(facts.value - facts.computed);
      const exact = facts.replaced
        ? `A surgery puts ${full(facts.value)} in the place of what the arithmetic gives.`
        : Number.isFinite(apart) && apart > 0
          ? `Added up in 64 bits it is ${apart.toExponential(0)} from what the model computed in 32.`
          : "";
      note.textContent = [more, exact].filter(Boolean).join(" ");
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
