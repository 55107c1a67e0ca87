/* What the Sampling page shares: the tokens that follow the prompt, the settings, the questions, the last draw. */
(() => {
  "use strict";

  const lab = window.lab;
  const PAGE = "sampling";
  const NAME = { temperature: `${PAGE}.temperature`, topK: `${PAGE}.top-k`, topP: `${PAGE}.top-p`, then: `${PAGE}.then` };
  const MOST = 200; // tokens after the prompt that the address may hold

  const { sampling } = lab;
  let questions = null;
  let last = null; // {number, drawn, token, of}: a draw, and what it was made of

  sampling.NAME = NAME;

  /* The ids that follow the prompt. */
  sampling.then = () => {
    const text = lab.choices.get(NAME.then) ?? "";
    return /^\d{1,7}(,\d{1,7})*$/.test(text) ? text.split(",").map(Number).slice(0, MOST) : [];
  };

  sampling.follow = (ids) => lab.choices.set(NAME.then, ids.length ? ids.slice(0, MOST).join(",") : null);

  const options = () => ({ then: sampling.then().join(",") || null });

  /* One of the page's questions, made when it is first wanted. */
  sampling.ask = (what) => {
    questions ??= new Map();
    if (!questions.has(what)) questions.set(what, lab.question(what, { page: PAGE, options, scrub: true }));
    return questions.get(what);
  };

  /* run · step · prompt · the tokens after it · logits · more */
  sampling.caption = (q, then = sampling.then(), more = []) => {
    const words = then.map((id) => `‘${lab.word(id)}’`).join(" ");
    return q.caption([words && `then ${words}`, "logits", ...more].filter(Boolean).join(" · "));
  };

  function number(name, low, high, otherwise) {
    const text = lab.choices.get(name);
    const value = text === null || text.trim() === "" ? NaN : Number(text);
    return value >= low && value <= high ? value : otherwise;
  }

  sampling.settings = () => ({
    temperature: number(NAME.temperature, 0, 2, 1),
    topK: number(NAME.topK, 1, 60, null),
    topP: number(NAME.topP, 0.01, 0.99, null),
  });

  let cached = { key: null, value: null };

  /* The stages of what is shown now, computed once for each answer and setting. */
  sampling.now = () => {
    const { shown } = sampling.ask("next-token");
    const settings = sampling.settings();
    const key = JSON.stringify(settings);
    if (cached.shown !== shown || cached.key !== key) {
      cached = { shown, key, value: sampling.stages(shown.arrays.logits.data, settings) };
    }
    return cached.value;
  };

  const context = () => {
    const { run, step, prompt } = lab.state;
    return JSON.stringify([run, step, prompt, sampling.settings(), sampling.then()]);
  };

  /* Draw a token and let it follow the text. */
  sampling.take = (random = Math.random()) => {
    const { drawn } = sampling.now();
    const token = sampling.draw(drawn, random);
    const then = [...sampling.then(), token];
    last = { number: random, drawn, token };
    if (then.length > MOST) return lab.notify(`No more than ${MOST} tokens can follow the prompt here; start over.`);
    sampling.follow(then);
    last.of = context();
    lab.emit(["sampling"]);
  };

  /* The last draw, as long as nothing has changed since. */
  sampling.last = () => (last?.of === context() ? last : null);

  lab.on(["prompt", "run"], () => sampling.follow([]));
})();
