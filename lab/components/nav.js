/* The sidebar: wordmark, pages, light and dark. Under 800 px it is a menu behind one button. */
lab.component("nav", (root) => {
  "use strict";

  const { titles, groups } = lab.config;
  const links = new Map();
  for (const page of lab.config.pages) {
    links.set(page, lab.el("a", { href: `?page=${page}`, onclick: (event) => open(event, page) }, titles[page]));
  }
  const mark = lab.el("span", { class: "mark", "aria-hidden": "true" });
  mark.innerHTML = lab.config.icon;
  const menu = lab.el("button", { type: "button", class: "menu", "aria-expanded": "false", "aria-controls": "lab-pages" });
  menu.append(lab.el("span", { class: "bars", "aria-hidden": "true" }), lab.el("span", { class: "current" }));
  const pages = lab.el("div", { id: "lab-pages", class: "pages" }, ...groups.map(group));
  const theme = lab.el("button", { type: "button", class: "theme", onclick: lab.toggleTheme });
  const word = lab.el("div", { class: "wordmark" }, mark, lab.el("span", {}, "Guppy Lab"));
  root.append(lab.el("nav", { "aria-label": "Pages" }, word, menu, pages, theme));

  function group([heading, names]) {
    const title = lab.el("p", { id: `lab-group-${names[0]}` }, heading);
    return lab.el("div", { role: "group", "aria-labelledby": title.id }, title, ...names.map((name) => links.get(name)));
  }

  function open(event, page) {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return; // a new tab is the browser's business
    event.preventDefault();
    fold();
    lab.set({ page });
    window.scrollTo(0, 0);
  }

  function fold() {
    menu.setAttribute("aria-expanded", "false");
    root.classList.remove("unfolded");
  }

  menu.addEventListener("click", () => {
    const unfolded = root.classList.toggle("unfolded");
    menu.setAttribute("aria-expanded", String(unfolded));
  });
  document.addEventListener("keydown", (event) => event.key === "Escape" && fold());
  document.addEventListener("pointerdown", (event) => root.contains(event.target) || fold());

  function show() {
    const { page } = lab.state;
    for (const [name, link] of links) {
      if (name === page) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
      const query = new URLSearchParams(location.search);
      query.set("page", name);
      link.href = `?${query}`;
    }
    menu.querySelector(".current").textContent = titles[page];
    document.body.dataset.page = page;
    document.title = `${titles[page]} · Guppy Lab`;
  }

  lab.watch(["page"], show);
  lab.onTheme(() => {
    theme.textContent = lab.isDark() ? "Light" : "Dark";
    theme.setAttribute("aria-label", lab.isDark() ? "Use light colours" : "Use dark colours");
  });
});
