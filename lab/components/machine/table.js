/* The table: every tensor in the order in which a first step allocates it, a part for each phase. */
lab.component("machine-table", (root) => {
  "use strict";

  const { machine } = lab;
  const { q } = machine.ask();
  const MOST = 200; // rows of a part before the others are asked for
  const PARTS = {
    weights: "Parameters",
    forward: "Kept by the forward pass for the backward pass",
    loss: "For a moment, while the loss is differentiated",
    backward: "Gradients, from the last to the first",
    steps: "Optimizer state, kept from step to step",
    "update of qkv": "For a moment, while the optimizer has qkv",
    "update of the MLP": "For a moment, while the optimizer has the MLP",
    cache: "Keys and values, cached",
    attention: "For a moment, while a layer attends",
    mlp: "For a moment, while a layer’s MLP runs",
    logits: "For a moment, when the logits are there",
  };
  const open = new Set(["weights"]);
  const host = lab.el("div", {});
  root.append(lab.el("h2", {}, "In order of allocation"), host);

  function show() {
    root.hidden = !q.shown;
    if (!q.shown) return;
    const tensors = machine.tensors(q.shown.facts, machine.shape(q.shown.facts));
    const parts = new Map();
    for (const tensor of tensors) parts.set(tensor.phase, [...(parts.get(tensor.phase) ?? []), tensor]);
    host.replaceChildren(...[...parts].map(([phase, rows]) => part(phase, rows)));
  }

  function part(phase, rows) {
    const sum = rows.reduce((all, { bytes }) => all + bytes, 0);
    const count = `${lab.count(rows.length)} ${rows.length === 1 ? "tensor" : "tensors"}`;
    const about = lab.el("span", { class: "muted" }, ` ${count}, ${machine.bytes(sum)}`);
    const element = lab.el("details", { class: "machine-part", open: open.has(phase) ? "" : null }, lab.el("summary", {}, PARTS[phase] ?? phase, about));
    const fill = () => element.open && element.children.length === 1 && element.append(table(rows));
    element.addEventListener("toggle", () => {
      if (element.open) open.add(phase);
      else open.delete(phase);
      fill();
    });
    fill();
    return element;
  }

  function table(rows) {
    const heads = ["tensor", "shape", "type", "bytes", "from byte"];
    const body = lab.el("tbody", {});
    const head = lab.el("thead", {}, lab.el("tr", {}, ...heads.map((name) => lab.el("th", { scope: "col" }, name))));
    const element = lab.el("div", { class: "machine-rows" }, lab.el("table", {}, head, body));
    let from = 0;
    const lines = rows.map(({ name, shape, dtype, bytes }) => {
      const size = shape.length ? shape.map(lab.count).join(" × ") : "one number";
      const cells = [name, size, dtype, lab.count(bytes), lab.count(from)];
      from += bytes;
      return cells;
    });
    const add = (some) => body.append(...some.map((cells) => lab.el("tr", {}, ...cells.map((cell) => lab.el("td", {}, cell)))));
    add(lines.slice(0, MOST));
    if (lines.length > MOST) {
      const more = lab.el("button", { type: "button", class: "plain kit-more" }, `Show all ${lab.count(lines.length)} rows`);
      more.addEventListener("click", () => {
        add(lines.slice(MOST));
        more.remove();
      });
      element.append(more);
    }
    return element;
  }

  q.on(show);
  lab.choices.on(machine.changes, show);
});
