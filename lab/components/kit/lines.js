/* lab.lines(root, options): curves with axes, their names, reference lines, and their numbers under the hand.

   Beside those of a figure: data() -> {series: [{name, x, y, color, dash, width, opacity, points}], lines: [{x or y,
   label}], xTitle, yTitle, logX (log2(1 + x), as the time bar), logY, xRange, yRange, xTicks: [[x, label]]}; mark() -> x;
   pick(x) on a click; unit; height; show(y); showX(x). What is not finite breaks a curve. */
(() => {
  "use strict";

  const lab = window.lab;
  const [LEFT, RIGHT, TOP, BOTTOM] = [52, 14, 14, 36];
  const [LEGEND, MOST_NAMES] = [18, 12];
  const COLORS = ["accent", "run-b", "attention-1", "surgery", "reference", "danger"];
  const DASHES = [null, [6, 3], [2, 3]];
  const SMALL = { size: 11, color: "ink-2" };
  const finite = (value) => value !== null && value - value === 0;

  /* Round numbers from low to high, about `count` of them. */
  function ticks(low, high, count) {
    const rough = (high - low) / Math.max(1, count);
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].find((each) => each * power >= rough) * power;
    const first = Math.ceil(low / step - 1e-9);
    return Array.from({ length: Math.floor(high / step + 1e-9) - first + 1 }, (_, i) => (first + i) * step);
  }

  const plain = (value) => String(Number(value.toPrecision(6))).replace("-", "−");
  const worded = (value) => (Math.abs(value) >= 10000 || (value && Math.abs(value) < 1e-4) ? lab.signed(value) : plain(value));

  lab.lines = (root, options) => {
    const { unit = "", height = 260 } = options;
    const show = options.show ?? lab.signed;
    let place = null;

    // -- geometry ------------------------------------------------------------------------------------

    function measure(width) {
      const data = options.data();
      const series = data.series.map((each, i) => ({
        ...each,
        color: each.color ?? COLORS[i % COLORS.length],
        dash: each.dash ?? DASHES[Math.floor(i / COLORS.length) % DASHES.length],
      }));
      const names = legend(series.filter(({ name }) => name), width);
      const top = TOP + names.height;
      const along = data.logX ? (x) => Math.log2(1 + x) : (x) => x;
      const up = data.logY ? (y) => Math.log10(y) : (y) => y;
      const [x0, x1] = data.xRange ?? range(series.flatMap(({ x }) => [...x]).filter(finite));
      const [y0, y1] = data.yRange ?? yRange(series, data);
      const [left, right, bottom] = [LEFT, width - RIGHT, top + height - BOTTOM];
      const px = (x) => left + ((along(x) - along(x0)) / (along(x1) - along(x0) || 1)) * (right - left);
      const py = (y) => bottom - ((up(y) - up(y0)) / (up(y1) - up(y0) || 1)) * (bottom - top);
      return { ...data, series, names, left, right, top, bottom, x0, x1, y0, y1, px, py, width };
    }

    function range(values) {
      const low = values.reduce((a, b) => Math.min(a, b), Infinity);
      const high = values.reduce((a, b) => Math.max(a, b), -Infinity);
      return low <= high ? [low, high] : [0, 1];
    }

    function yRange(series, { lines = [], logY }) {
      const values = [...series.flatMap(({ y }) => [...y]), ...lines.map(({ y }) => y)].filter((y) => y !== undefined && finite(y));
      const [low, high] = range(logY ? values.filter((y) => y > 0) : values);
      if (logY) return [10 ** Math.floor(Math.log10(low)), 10 ** Math.ceil(Math.log10(high) + 1e-9)];
      const air = 0.06 * (high - low || Math.abs(high) || 1);
      return [low >= 0 && low < high / 2 ? 0 : low - air, high + air];
    }

    /* Names of curves in rows above the plot. */
    function legend(series, width) {
      const shown = series.slice(0, MOST_NAMES).map(({ name, color, dash }) => ({ name, color, dash }));
      if (series.length > MOST_NAMES) shown.push({ name: `and ${series.length - MOST_NAMES} more` });
      if (series.length < 2) return { shown: [], height: 0 };
      let [x, y] = [LEFT, 0];
      for (const each of shown) {
        const size = 26 + lab.ink.measure(each.name, SMALL) + 16;
        if (x > LEFT && x + size > width) [x, y] = [LEFT, y + LEGEND];
        Object.assign(each, { x, y });
        x += size;
      }
      return { shown, height: y + LEGEND + 4 };
    }

    // -- drawing -------------------------------------------------------------------------------------

    function draw(ink, width) {
      place = measure(width);
      const { series, names, left, right, top, bottom, px, py, lines = [], xTitle = "", yTitle = unit } = place;
      for (const { name, color, dash, x, y } of names.shown) {
        if (color) ink.line(x, y + 8, x + 20, y + 8, { stroke: color, dash, width: 2 });
        ink.text(x + (color ? 26 : 0), y + 8, name, SMALL);
      }
      drawTicks(ink);
      ink.line(left, bottom + 0.5, right, bottom + 0.5, { stroke: "edge" });
      ink.text((left + right) / 2, bottom + 28, xTitle, { ...SMALL, align: "center" });
      ink.text(8, (top + bottom) / 2, yTitle, { ...SMALL, align: "center", rotate: -90, max: bottom - top });
      const mark = options.mark?.() ?? null;
      if (mark !== null && mark >= place.x0 && mark <= place.x1) ink.line(px(mark), top, px(mark), bottom, { stroke: "ink", width: 1 });
      ink.clip(left - 4, top - 4, right - left + 8, bottom - top + 8, () => {
        for (const each of series) drawSeries(ink, each);
      });
      for (const { x, y, label } of lines) drawReference(ink, x, y, label);
      return top + height;

      function drawReference(ink, x, y, label) {
        const dash = [2, 3];
        if (x !== undefined) {
          ink.line(px(x), top, px(x), bottom, { stroke: "reference", dash });
          ink.text(px(x) + 4, top + 6, label, { ...SMALL, max: right - px(x) - 4 });
        } else if (y >= place.y0 && y <= place.y1) {
          ink.line(left, py(y), right, py(y), { stroke: "reference", dash });
          ink.text(right, py(y) - 7, label, { ...SMALL, align: "right", max: right - left });
        }
      }
    }

    function drawTicks(ink) {
      const { left, right, top, bottom, px, py, x0, x1, y0, y1, logX, logY, xTicks } = place;
      const rows = logY ? decades(y0, y1) : ticks(y0, y1, (bottom - top) / 44);
      for (const y of rows) {
        ink.line(left, Math.round(py(y)) + 0.5, right, Math.round(py(y)) + 0.5);
        ink.text(left - 6, py(y), worded(y), { ...SMALL, align: "right" });
      }
      const columns = xTicks ?? (logX ? doublings(x0, x1) : ticks(x0, x1, (right - left) / 70).map((x) => [x, plain(x)]));
      let free = -Infinity; // labels keep clear of each other
      for (const [x, text] of columns) {
        const half = lab.ink.measure(text, SMALL) / 2;
        ink.line(px(x), bottom, px(x), bottom + 4, { stroke: "edge" });
        if (px(x) - half < free) continue;
        ink.text(px(x), bottom + 12, text, { ...SMALL, align: "center" });
        free = px(x) + half + 8;
      }
    }

    function decades(low, high) {
      const [first, last] = [Math.ceil(Math.log10(low) - 1e-9), Math.floor(Math.log10(high) + 1e-9)];
      const step = Math.max(1, Math.ceil((last - first) / 6));
      return Array.from({ length: Math.floor((last - first) / step) + 1 }, (_, i) => 10 ** (first + i * step));
    }

    function doublings(low, high) {
      const all = [0, ...Array.from({ length: 31 }, (_, i) => 2 ** i)].filter((x) => x >= low && x <= high);
      return all.map((x) => [x, lab.count(x)]);
    }

    function drawSeries(ink, { x, y, color, dash, width = 1.75, opacity = 1, points }) {
      const { px, py, logY } = place;
      let run = [];
      const there = (i) => finite(y[i]) && (!logY || y[i] > 0);
      const flush = () => {
        if (run.length > 1) ink.path(run, { stroke: color, dash, width, opacity });
        else if (run.length) ink.circle(...run[0], 2.5, { fill: color, opacity });
        run = [];
      };
      for (let i = 0; i < x.length; i++) {
        if (there(i)) run.push([px(x[i]), py(y[i])]);
        else flush();
      }
      flush();
      if (points) for (let i = 0; i < x.length; i++) if (there(i)) ink.circle(px(x[i]), py(y[i]), 2.5, { fill: color, opacity });
    }

    // -- the hand ------------------------------------------------------------------------------------

    /* The x nearest to the hand that some curve has. */
    function hit(at) {
      if (at < place.left - 8 || at > place.right + 8) return null;
      let best = null;
      for (const { x } of place.series) {
        for (const each of x) {
          if (best === null || Math.abs(place.px(each) - at) < Math.abs(place.px(best) - at)) best = each;
        }
      }
      return best;
    }

    const here = (x) => place.series.map((each) => ({ ...each, value: each.y[each.x.indexOf(x)] })).filter(({ value }) => value !== undefined);

    function over(ink) {
      const x = fig.target;
      if (x === null) return;
      ink.line(place.px(x), place.top, place.px(x), place.bottom, { stroke: "accent" });
      for (const { value, color } of here(x)) {
        if (finite(value)) ink.circle(place.px(x), place.py(value), 3.5, { fill: color, stroke: "paper" });
      }
    }

    function readout(x) {
      if (x === null) return options.pick ? "Point at the curves to read them; a click goes there." : "Point at the curves to read them.";
      const values = here(x).slice(0, 8).map(({ name, value }) => `${name ? `${name} ` : ""}${finite(value) ? show(value) : "none"}`);
      return [`${place.xTitle ?? ""} ${options.showX ? options.showX(x) : lab.signedCount(x)}`.trim(), ...values].join(" · ") + (unit ? ` ${unit}` : "");
    }

    function move([right]) {
      const all = [...new Set(place.series.flatMap(({ x }) => [...x]))].sort((a, b) => a - b);
      const at = all.indexOf(fig.target);
      fig.aim(all[Math.min(all.length - 1, Math.max(0, at + right))] ?? null);
    }

    const csv = () => [
      ["series", place.xTitle ?? "x", place.yTitle ?? (unit || "y")],
      ...place.series.flatMap(({ name, x, y }) => Array.from(x, (each, i) => [name, each, y[i]])),
    ];

    const fig = lab.figure(root, { csv, ...options, readout: options.readout ?? readout, draw, over, hit, click: options.pick, move });
    return fig;
  };
})();
