/* The Data page: a list on the left (the characters, the visitor's own, writing, uploading), what is chosen on the
   right. The choice is `lab.state.data` and stands in the address: a persona's name, an id, "write" or "bring". */
lab.component("data", (root, options) => {
  "use strict";

  const WAYS = { write: "Write your own", bring: "Bring your own" };
  const links = lab.el("div", { class: "lab-data-list", role: "navigation", "aria-label": "Data" });
  const places = {
    character: lab.el("section", { class: "lab-data-place" }),
    rows: lab.el("section", { class: "lab-data-place" }),
    write: lab.el("section", { class: "lab-data-place" }),
    bring: lab.el("section", { class: "lab-data-place" }),
  };
  root.append(links, lab.el("div", { class: "lab-data-main" }, ...Object.values(places)));

  const character = lab.characterPane(places.character);
  const rows = lab.rowsPane(places.rows);
  const write = lab.writePane(places.write, options);
  lab.bringPane(places.bring, options);

  const chosen = () => lab.state.data ?? options.personas[0];

  // -- the list ----------------------------------------------------------------------------------------

  let descriptions = {};

  function link(id, name, title) {
    const current = id === chosen() ? "true" : null;
    return lab.el("button", { type: "button", title, "aria-current": current, "data-id": id, onclick: () => lab.set({ data: id }) }, name);
  }

  function drawList() {
    const own = lab.own.list();
    const group = (title, ...entries) => (entries.length ? [lab.el("h3", {}, title), ...entries] : []);
    links.replaceChildren(
      ...group("Characters", ...options.personas.map((name) => link(name, name, descriptions[name]))),
      ...group("Yours", ...own.map(({ id, name }) => link(id, name, null))),
      ...group("New", ...Object.entries(WAYS).map(([id, name]) => link(id, name, null))),
    );
  }

  async function describe() {
    try {
      const { characters } = await lab.getJSON(lab.url("lab/data/characters"));
      descriptions = Object.fromEntries(characters.map(({ id, description }) => [id, description]));
      drawList();
    } catch {
      // The names are there all the same.
    }
  }

  // -- the place ---------------------------------------------------------------------------------------

  let shown = null;
  let described = false;

  function show() {
    if (lab.state.page !== "data") return;
    if (!described) {
      described = true;
      describe();
    }
    drawList();
    const id = chosen();
    if (id === shown) return;
    shown = id;
    const kind = id in WAYS ? id : lab.own.find(id)?.kind === "rows" ? "rows" : "character";
    for (const [name, place] of Object.entries(places)) place.hidden = name !== kind;
    root.dataset.place = kind;
    if (kind === "character") character.show(id);
    else if (kind === "rows") rows.show(id);
    else if (kind === "write") write.show();
  }

  lab.watch(["page", "data"], show);
  lab.on(["own"], () => {
    drawList();
    if (lab.state.page === "data" && shown?.startsWith("own-") && !lab.own.find(shown)) lab.set({ data: options.personas[0] });
  });
});
