/* lab.strip(root, options): tokens as chips, each in the colour of its value; hover reads one, a click keeps it.

   options: tokens(), values() (or none), scale, max, unit, show(value), describe(i, value), pinned() -> i or null,
   pin(i or null), hover(i or null), label. It is painted by its owner: paint() for other values, point() for a pin. */
(() => {
  "use strict";

  const lab = window.lab;
  const finite = (value) => value - value === 0;

  lab.strip = (root, options) => {
    const { unit = "", scale = "probability" } = options;
    const show = options.show ?? lab.signed;
    const chips = lab.el("div", { class: "kit-chips", role: "group", "aria-label": options.label ?? "Tokens" });
    const scaleBar = lab.el("canvas", { "aria-hidden": "true" });
    const readout = lab.el("p", { class: "kit-readout", "aria-live": "polite" });
    const element = lab.el("div", { class: "kit-strip" }, chips, lab.el("div", { class: "kit-strip-foot" }, scaleBar, readout));
    root.append(element);
    let tokens = null;
    let hover = null;

    const values = () => options.values?.() ?? null;
    const said = (value) => (typeof value === "function" ? value() : value);
    const top = (numbers) => said(options.max) ?? (scale === "probability" ? 1 : lab.extent(numbers));

    function paint() {
      const next = options.tokens();
      if (next !== tokens) {
        tokens = next;
        hover = null;
        chips.replaceChildren(...lab.chips(tokens));
        if (options.pin) for (const chip of chips.children) Object.assign(chip, { tabIndex: 0, role: "button" });
      }
      const numbers = values();
      const max = numbers && top(numbers);
      [...chips.children].forEach((chip, i) => shade(chip, numbers?.[i], max));
      drawScale(numbers, max);
      point();
    }

    function shade(chip, value, max) {
      const tint = value !== undefined && finite(value) ? lab.ink.valueColor(scale, value, max) : null;
      chip.style.background = tint ? lab.ink.color(tint) : "";
      chip.style.color = tint ? `var(--${lab.ink.contrast(tint)})` : "";
    }

    function drawScale(numbers, max) {
      scaleBar.hidden = !numbers;
      if (!numbers) return;
      const [width, height] = [300, scale === "signed" ? 28 : 18];
      scaleBar.style.cssText = `width:${width}px;height:${height}px`;
      lab.drawScale(lab.ink.onCanvas(scaleBar, width, height), 0, 4, { scale, max, unit, show });
    }

    function point() {
      const pinned = options.pinned?.() ?? null;
      const at = hover ?? pinned;
      [...chips.children].forEach((chip, i) => {
        chip.classList.toggle("here", i === at);
        if (options.pin) chip.setAttribute("aria-pressed", String(i === pinned));
      });
      readout.textContent = at === null || !tokens || at >= tokens.length ? "" : describe(at, values()?.[at]);
    }

    function describe(i, value) {
      if (options.describe) return options.describe(i, value);
      const number = value === undefined ? "" : `: ${finite(value) ? `${show(value)} ${unit}`.trim() : "none"}`;
      return `‘${lab.tokenText(tokens[i])}’ (position ${i})${number}`;
    }

    const under = (event) => {
      const chip = event.target.closest(".chip");
      return chip ? Number(chip.dataset.position) : null;
    };

    function look(i) {
      if (i === hover) return;
      hover = i;
      options.hover?.(hover);
      point();
    }

    function pin(i) {
      if (i === null || !options.pin) return;
      options.pin(options.pinned?.() === i ? null : i);
      point();
    }

    chips.addEventListener("pointerover", (event) => event.pointerType === "mouse" && look(under(event)));
    chips.addEventListener("pointerleave", () => look(null));
    chips.addEventListener("click", (event) => pin(under(event)));
    chips.addEventListener("keydown", (event) => {
      if (!["Enter", " "].includes(event.key)) return;
      event.preventDefault();
      pin(under(event));
    });
    lab.onTheme(() => tokens && paint());
    return { paint, point, element };
  };
})();
