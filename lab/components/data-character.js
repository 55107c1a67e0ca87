/* lab.characterPane(root): one character: who it is, what it says, how much there is of it, what is held out. */
(() => {
  "use strict";

  const lab = window.lab;
  const COUNTED_AGAIN = 1500; // milliseconds until a corpus that is being counted is asked for again

  lab.characterPane = (root) => {
    const el = lab.el;
    const name = el("h2", {});
    const description = el("p", { class: "lab-data-lead" });
    const voice = el("p", { class: "caption" });
    const train = el("button", { type: "button", class: "plain primary", onclick: () => lab.train(id) }, "Train this character");
    const edit = el("button", { type: "button", class: "plain", hidden: "" }, "Edit");
    const forget = el("button", { type: "button", class: "plain", hidden: "", onclick: () => lab.own.forget(id) }, "Forget");
    const topics = el("div", { class: "lab-topics", role: "group", "aria-label": "Topics" });
    const drawn = el("p", { class: "caption" });
    const another = el("button", { type: "button", class: "plain", id: "data-another", onclick: () => ask(seed + 1) }, "Another dozen");
    const samples = el("div", { class: "lab-sample-grid", id: "data-samples" });
    const counted = el("p", { class: "caption", role: "status" });
    const numbers = el("dl", { class: "lab-facts", id: "data-numbers" });
    const ladder = el("div", { class: "lab-ladder", id: "data-ladder" });
    const leaky = el("input", { type: "checkbox", id: "data-leaky", onchange: () => drawSplits() });
    const splits = el("div", { id: "data-splits" });
    root.append(
      el("div", { class: "lab-data-head" }, name, el("div", { class: "lab-data-buttons" }, train, edit, forget)),
      description,
      voice,
      el("div", { class: "lab-data-head" }, el("h3", {}, "What it says"), el("div", { class: "lab-data-buttons" }, another)),
      topics,
      drawn,
      samples,
      el("h3", {}, "How much there is of it"),
      counted,
      numbers,
      el("h3", {}, "What there is to learn"),
      el("p", { class: "caption" }, "Mean surprise at a held-out token, in nats. A model passes these on its way down."),
      ladder,
      el("h3", {}, "What it is tested on"),
      el(
        "p",
        { class: "caption" },
        "Held-out conversations share no prompt and no reply with training, in any turn. Composed ones combine rules as no other split does, though each rule is in training: whoever only remembers pairs does worse there.",
      ),
      el("label", { class: "lab-check" }, leaky, "Beside it, the same persona split at random"),
      splits,
    );

    let id = null;
    let seed = 0;
    let topic = null;
    let about = null;
    let asked = new AbortController();
    let known = {}; // counts by split: false and true for leaky
    let chips = []; // {value, element}

    function trouble(place, error) {
      if (error.name !== "AbortError") place.replaceChildren(el("p", { class: "lab-trouble" }, error.message));
    }

    // -- who it is and what it says --------------------------------------------------------------------

    async function ask(wanted) {
      seed = wanted;
      const { signal } = asked;
      const asking = { id, topic, seed };
      try {
        const query = { name: id, seed, ...(topic !== null && { topic }) };
        const told = await lab.getJSON(lab.url("lab/data/character", query), signal);
        if (asking.id !== id || asking.topic !== topic || asking.seed !== seed) return;
        if (!about) {
          about = told.about;
          drawAbout();
        }
        samples.replaceChildren(...lab.conversations(told.samples));
        drawn.textContent = `Drawn from the grammar just now, with seed ${seed}${topic === null ? "" : `, beginning with ${topic}`}.`;
        root.dataset.drawn = `${id} ${topic ?? ""} ${seed}`;
      } catch (error) {
        trouble(samples, error);
      }
    }

    function drawAbout() {
      name.textContent = about.name;
      description.textContent = about.description;
      const [, two = 0, three = 0] = about.turns;
      const several = two + three > 0 ? ` ${lab.percent(two + three)} of its conversations have ${three > 0 ? "two or three" : "two"} turns.` : "";
      const words = about.obsession.length ? ` Comes back to ${about.obsession.slice(0, 10).join(", ")}.` : "";
      voice.textContent = `${about.voice ? `Voice: ${about.voice}.` : ""}${words} ${lab.count(about.topics.length)} topics, ${lab.count(about.scenes)} scenes, ${lab.count(about.follow_ups)} follow-ups.${several}`;
      const chip = (label, value, share) => {
        const attributes = { type: "button", class: "lab-topic", "aria-pressed": String(value === topic), onclick: () => choose(value) };
        return { value, element: el("button", attributes, label, el("small", {}, share === null ? "" : lab.percent(share))) };
      };
      chips = [chip("all", null, null), ...about.topics.map((each) => chip(each.name, each.name, each.share))];
      topics.replaceChildren(...chips.map(({ element }) => element));
    }

    function choose(value) {
      topic = value;
      for (const chip of chips) chip.element.setAttribute("aria-pressed", String(chip.value === topic));
      ask(seed);
    }

    // -- how much there is of it -------------------------------------------------------------------------

    async function count(split) {
      const { signal } = asked;
      const query = { name: id, ...(split && { leaky: 1 }) };
      for (;;) {
        const told = await lab.getJSON(lab.url("lab/data/counts", query), signal);
        if (!told.pending) return told.counts;
        await new Promise((resolve) => setTimeout(resolve, COUNTED_AGAIN));
      }
    }

    async function drawCounts() {
      counted.textContent = "Drawing 60\u202f000 conversations and counting them: some ten seconds, once.";
      const before = id;
      try {
        const told = await count(false);
        if (before !== id) return;
        known[false] = told;
        counted.textContent = `Counted over ${lab.count(told.splits.all.rows)} conversations, those that a run learns from unless told otherwise (seed ${told.corpus.seed}).`;
        numbers.replaceChildren(...lab.counted(told));
        ladder.replaceChildren(...lab.ladder(told.reference));
        drawSplits();
      } catch (error) {
        if (before !== id || error.name === "AbortError") return;
        counted.textContent = "";
        trouble(numbers, error);
      }
    }

    async function drawSplits() {
      if (!known[false]) return;
      const before = id;
      const both = leaky.checked;
      if (both && !known[true]) {
        splits.replaceChildren(lab.splitTable([["without leaks", known[false]]]), el("p", { class: "caption" }, "Splitting at random and counting again…"));
        try {
          const told = await count(true);
          if (before !== id) return;
          known[true] = told;
        } catch (error) {
          if (before === id) trouble(splits, error);
          return;
        }
        if (!leaky.checked) return;
      }
      const sides = [["without leaks", known[false]], ...(both ? [["at random", known[true]]] : [])];
      splits.replaceChildren(lab.splitTable(sides), ...(both ? [lab.leak(known[true])] : []));
    }

    function clear() {
      for (const place of [description, voice, drawn, counted]) place.textContent = "";
      for (const place of [topics, samples, numbers, ladder, splits]) place.replaceChildren();
    }

    return {
      /* Look at the character of that name or id. */
      async show(wanted) {
        if (wanted === id) return;
        asked.abort();
        asked = new AbortController();
        [id, topic, about, known] = [wanted, null, null, {}];
        clear();
        name.textContent = lab.own.find(id)?.name ?? id;
        edit.hidden = forget.hidden = lab.own.find(id) === null;
        edit.onclick = () => lab.editPersona(wanted);
        await ask(0);
        if (id === wanted && about) drawCounts();
      },
    };
  };
})();
