/* The Train page's choice of what is learned: a persona that came with the lab, or the visitor's own. */
lab.component("character", (root, options) => {
  "use strict";

  const select = lab.el("select", { id: "train-character", onchange: () => lab.set({ character: select.value }) });
  const where = lab.el("button", { type: "button", class: "lab-link", onclick: () => lab.set({ page: "data", data: select.value }) }, "Look at it");
  root.append(
    lab.el("label", { for: "train-character" }, "Persona or data"),
    lab.el("div", { class: "select" }, select),
    lab.el("p", { class: "caption" }, where, " or write your own on the Data page."),
  );

  function group(label, entries) {
    return lab.el("optgroup", { label }, ...entries.map(({ id, name }) => lab.el("option", { value: id }, name)));
  }

  function draw() {
    const own = lab.own.list();
    const groups = [group("With the lab", options.personas.map((name) => ({ id: name, name })))];
    if (own.length) groups.push(group("Yours", own));
    select.replaceChildren(...groups);
    const { character } = lab.state;
    if (![...select.options].some(({ value }) => value === character)) {
      select.append(lab.el("option", { value: character }, character)); // chosen by a link: the lab knows whether it is there
    }
    select.value = character;
  }

  draw();
  lab.on(["own", "character"], draw);
});
