/* lab.choice(), lab.toggle(), lab.slider(): what a page lets one choose, kept in the address through lab.choices. */
(() => {
  "use strict";

  const lab = window.lab;
  const MOST_BUTTONS = 5;

  const said = (value) => (typeof value === "function" ? value() : value);

  /* One of several: a row of buttons, or a menu where there are many. The first is the default. */
  lab.choice = (root, options) => {
    const { name, label, title } = options;
    const element = lab.el("div", { class: "kit-choice", role: "group", "aria-label": label, title });
    const words = lab.el("span", { class: "kit-label" }, label);
    element.append(words);
    root.append(element);
    let control = null;
    let built = "";

    const keys = () => said(options.values).map(([key]) => String(key));
    const value = () => (keys().length ? lab.choices.get(name, keys()) : null);
    const choose = (key) => lab.choices.set(name, key === keys()[0] ? null : key);

    function refresh() {
      const values = said(options.values).map(([key, text]) => [String(key), text]);
      const signature = JSON.stringify(values);
      if (signature !== built) {
        built = signature;
        control?.remove();
        const many = options.select || values.length > MOST_BUTTONS;
        control = many ? menu(values) : buttons(values);
        element.append(control);
      }
      mark();
    }

    function menu(values) {
      const entries = values.map(([key, text]) => lab.el("option", { value: key }, text));
      const select = lab.el("select", { "aria-label": label, onchange: (event) => choose(event.target.value) }, ...entries);
      return lab.el("div", { class: "kit-select" }, select);
    }

    function buttons(values) {
      const each = ([key, text]) => lab.el("button", { type: "button", "data-value": key, onclick: () => choose(key) }, text);
      return lab.el("div", { class: "kit-segments" }, ...values.map(each));
    }

    function mark() {
      const now = value();
      const select = control.querySelector("select");
      if (select) select.value = now;
      else for (const button of control.children) button.setAttribute("aria-pressed", String(button.dataset.value === now));
    }

    lab.choices.on([name], mark);
    refresh();
    return {
      element,
      refresh,
      get value() {
        return value();
      },
    };
  };

  /* On or off. */
  lab.toggle = (root, { name, label, title }) => {
    const set = (event) => lab.choices.set(name, event.target.checked ? "1" : null);
    const box = lab.el("input", { type: "checkbox", onchange: set });
    const element = lab.el("label", { class: "kit-toggle", title }, box, label);
    root.append(element);
    const value = () => lab.choices.get(name) === "1";
    const mark = () => (box.checked = value());
    lab.choices.on([name], mark);
    mark();
    return {
      element,
      get value() {
        return value();
      },
    };
  };

  /* A number between two ends. */
  lab.slider = (root, { name, label, min, max, step, initial, format = lab.number }) => {
    const set = () => lab.choices.set(name, Number(range.value) === initial ? null : range.value);
    const range = lab.el("input", { type: "range", min, max, step, "aria-label": label, oninput: set });
    const reading = lab.el("output", {});
    const element = lab.el("label", { class: "kit-slider" }, lab.el("span", { class: "kit-label" }, label), range, reading);
    root.append(element);

    function value() {
      const text = lab.choices.get(name);
      const number = text === null || text.trim() === "" ? NaN : Number(text);
      return number >= min && number <= max ? number : initial;
    }

    function mark() {
      range.value = value();
      const share = (100 * (value() - min)) / (max - min);
      range.style.setProperty("--range_progress", `${share}%`);
      reading.textContent = format(value());
      range.setAttribute("aria-valuetext", reading.textContent);
    }

    lab.choices.on([name], mark);
    mark();
    return {
      element,
      get value() {
        return value();
      },
    };
  };
})();
