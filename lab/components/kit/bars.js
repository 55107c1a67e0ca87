/* lab.bars(root, options): numbers as horizontal bars, each with its name; a long list shows its first part.

   Beside those of a figure: data() -> [{label, value, color, note, pinned}]; unit; signed (zero in the middle); max;
   most (bars of a long list); describe(bar, i); click(bar, i); show(value); mono (labels). */
(() => {
  "use strict";

  const lab = window.lab;
  const [ROW, BAR, AXIS] = [20, 12, 22]; // px: a bar with its air, the bar, the axis above
  const finite = (value) => value - value === 0;

  lab.bars = (root, options) => {
    const { unit = "", signed = false, most = 24, mono = false } = options;
    const show = options.show ?? lab.signed;
    const name = { size: 12, mono };
    let all = false;
    let bars = [];
    let place = null; // {left, zero, right}: where labels end, where bars begin, where the longest ends

    const shown = () => (all ? bars : bars.slice(0, most));

    function measure(width, max) {
      const named = Math.max(0, ...shown().map(({ label, pinned }) => lab.ink.measure(label, { ...name, weight: pinned ? 700 : 400 })));
      const left = Math.ceil(Math.min(named, width * 0.36)) + 10;
      const number = Math.ceil(Math.max(0, ...shown().map(({ value }) => lab.ink.measure(show(value), { size: 11 })))) + 8;
      const [from, to] = [left + (signed ? number : 0), width - number];
      const zero = signed ? (from + to) / 2 : from;
      return { left, zero, max, length: Math.max(10, to - zero), number };
    }

    function draw(ink, width) {
      bars = options.data();
      const max = (typeof options.max === "function" ? options.max() : options.max) ?? lab.extent(bars.map(({ value }) => value));
      place = measure(width, max);
      const { left, zero, length } = place;
      const height = AXIS + shown().length * ROW;
      const tick = { size: 11, color: "ink-2", baseline: "middle" };
      const highest = `${show(max)} ${unit}`.trim();
      if (ink.measure(highest, tick) + 12 < length) ink.text(zero, 8, "0", { ...tick, align: "center" });
      ink.text(zero + length, 8, highest, { ...tick, align: "right" });
      if (signed) ink.text(zero - length, 8, show(-max), tick);
      shown().forEach((bar, i) => {
        const y = AXIS + i * ROW;
        const size = finite(bar.value) && max ? (Math.min(1, Math.abs(bar.value) / max) * length) : 0;
        const negative = bar.value < 0;
        const fill = bar.color ?? (signed ? (negative ? "negative" : "positive") : "attention-1");
        ink.text(left - 10, y + ROW / 2, bar.label, { ...name, align: "right", max: left - 10, weight: bar.pinned ? 700 : 400 });
        ink.rect(negative ? zero - size : zero, y + (ROW - BAR) / 2, size, BAR, { fill });
        const end = negative ? zero - size - 4 : zero + size + 4;
        const text = finite(bar.value) ? show(bar.value) : "none";
        ink.text(end, y + ROW / 2, text, { size: 11, color: "ink-2", align: negative ? "right" : "left" });
      });
      ink.line(zero, AXIS - 4, zero, height, { stroke: "edge" });
      more.hidden = bars.length <= most;
      more.textContent = all ? `Show the first ${most}` : `Show all ${lab.count(bars.length)}`;
      return height + 2;
    }

    function over(ink, width) {
      const at = fig.target;
      if (at !== null && at < shown().length) ink.rect(0.5, AXIS + at * ROW + 0.5, width - 1, ROW - 1, { stroke: "accent" });
    }

    function hit(x, y) {
      const i = Math.floor((y - AXIS) / ROW);
      return i >= 0 && i < shown().length ? i : null;
    }

    function readout(at) {
      const bar = at === null ? null : bars[at];
      if (!bar) return options.click ? "Point at a bar to read it; a click goes there." : "Point at a bar to read it.";
      if (options.describe) return options.describe(bar, at);
      const number = finite(bar.value) ? `${show(bar.value)} ${unit}`.trim() : "none";
      return [`${bar.label}: ${number}`, bar.note].filter(Boolean).join(" · ");
    }

    const move = ([, down]) => fig.aim(Math.min(shown().length - 1, Math.max(0, (fig.target ?? -1) + down)));
    const click = options.click && ((i) => options.click(bars[i], i));
    const csv = () => [["name", unit || "value", "note"], ...bars.map(({ label, value, note }) => [label, value, note])];
    const more = lab.el("button", { type: "button", class: "plain kit-more", hidden: "", onclick: toggle });

    function toggle() {
      all = !all;
      fig.paint();
    }

    const fig = lab.figure(root, { csv, ...options, draw, over, hit, readout, click, move });
    fig.element.querySelector(".kit-plot").after(more);
    return fig;
  };
})();
