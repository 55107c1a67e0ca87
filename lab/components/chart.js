/* lab.chart(host, options): lines over training steps on a canvas, with a crosshair that reads them.

   options: y (the axis in words), yMax (fixed top of the axis; otherwise the data's), show(y) (a value in words; otherwise
   three digits), detail(y) (more words for it), onPick(step) (a click or Enter on the chart), label (what a screen reader
   says), gutter(narrow) (the least room for names of lines, where several charts should be equally wide).
   chart.update({series, lines, mark, until}): series [{name, color, dash, x, y}] with color a custom property's name and x, y
   growing arrays, or [{…, base, fill}] for what lies between base and y, as opaque as fill says; lines [{name, short, y}]
   horizontal references, with a short name for narrow screens; mark the step that the time bar
   shows; until a step that the axis reaches even if no series does.
   chart.logX is a property; chart.png(title) and chart.csv() give what is drawn. */
(() => {
  "use strict";

  const lab = window.lab;
  const PAD = { left: 46, right: 14, top: 12, bottom: 34 };
  const ROOMY = 560; // from this width on there is room for whole names of lines
  const [GAP, LINE] = [10, 14]; // between a line and its name; between names
  const FONT = "11px system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif";
  const SOLID = [];

  class Chart {
    constructor(host, options) {
      this.host = host;
      this.options = { show: lab.number, ...options };
      this.series = [];
      this.lines = [];
      this.mark = null;
      this.until = 0;
      this.hover = null; // a step
      this.log = false;
      this.canvas = lab.el("canvas", { class: "lab-chart-canvas", tabindex: 0, role: "img", "aria-label": options.label });
      this.readout = lab.el("div", { class: "lab-chart-readout", role: "status", hidden: "" });
      host.classList.add("lab-chart");
      host.append(this.canvas, this.readout);
      new ResizeObserver(() => this.resize()).observe(host);
      lab.onTheme(() => this.draw());
      this.listen();
    }

    // -- what is drawn ---------------------------------------------------------------------------------

    update(changes) {
      Object.assign(this, changes);
      this.draw();
    }

    get logX() {
      return this.log;
    }

    set logX(log) {
      this.log = log;
      this.draw();
    }

    /* Every point as a row; the reader of the file need not know how it was drawn. */
    csv() {
      const quote = (text) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
      const rows = this.series.flatMap((series) => series.x.map((step, i) => [quote(series.name), step, valueOf(series, i) ?? ""].join(",")));
      const lines = this.lines.map(({ name, y }) => [quote(name), "", y].join(","));
      return ["series,step,value", ...rows, ...lines].join("\n") + "\n";
    }

    /* The chart as a PNG blob: on paper, with a title and the names of its lines. */
    png(title) {
      const scale = 2;
      const [width, height] = [this.width, this.height + 48];
      const canvas = lab.el("canvas", { width: width * scale, height: height * scale });
      const context = canvas.getContext("2d");
      context.scale(scale, scale);
      context.fillStyle = lab.css("--paper");
      context.fillRect(0, 0, width, height);
      context.font = FONT;
      context.textBaseline = "middle";
      context.fillStyle = lab.css("--ink");
      context.fillText(title, PAD.left, 14);
      let x = PAD.left;
      for (const { name, color, dash, fill } of this.series) {
        context.globalAlpha = fill ?? 1;
        stroke(context, lab.css(color), dash ?? SOLID, fill ? 10 : 1.75, [[x, 34], [x + 20, 34]]);
        context.globalAlpha = 1;
        context.fillStyle = lab.css("--ink-2");
        context.fillText(name, x + 26, 34);
        x += 44 + context.measureText(name).width;
      }
      context.translate(0, 48);
      this.paint(context);
      return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
    }

    // -- geometry --------------------------------------------------------------------------------------

    resize() {
      const { width, height } = this.host.getBoundingClientRect();
      if (!width || !height) return;
      const ratio = window.devicePixelRatio || 1;
      [this.width, this.height] = [width, height];
      this.canvas.width = Math.round(width * ratio);
      this.canvas.height = Math.round(height * ratio);
      this.draw();
    }

    /* Step 0 has a place on the logarithmic axis too: log(1 + step), as on the time bar. */
    along(step) {
      return this.log ? Math.log2(1 + step) : step;
    }

    /* Names of lines stand beside the plot, where no curve is. */
    measure(context) {
      const steps = this.series.map(({ x }) => x.at(-1) ?? 0);
      const tops = this.series.flatMap(({ y }) => y.filter(Number.isFinite));
      this.last = Math.max(1, this.until, ...steps);
      this.top = this.options.yMax ?? 1.06 * tops.concat(this.lines.map(({ y }) => y)).reduce((a, b) => Math.max(a, b), 0.1);
      const named = ({ name, short, y }) => ({ y, text: `${this.width < ROOMY && short ? short : name} ${this.options.show(y)}` });
      this.names = this.lines.map(named).sort((a, b) => b.y - a.y);
      const widest = Math.max(...this.names.map(({ text }) => context.measureText(text).width));
      const least = this.options.gutter?.(this.width < ROOMY) ?? 0;
      this.right = this.names.length ? Math.max(least, GAP + Math.ceil(widest) + 2) : PAD.right;
      const [w, h] = [this.width - PAD.left - this.right, this.height - PAD.top - PAD.bottom];
      this.px = (step) => PAD.left + (w * this.along(step)) / this.along(this.last);
      this.py = (y) => PAD.top + h * (1 - y / this.top);
    }

    stepAt(px) {
      const share = Math.min(1, Math.max(0, (px - PAD.left) / (this.width - PAD.left - this.right)));
      const place = share * this.along(this.last);
      return this.log ? 2 ** place - 1 : place;
    }

    // -- painting --------------------------------------------------------------------------------------

    draw() {
      if (!this.width || this.drawing) return;
      this.drawing = requestAnimationFrame(() => {
        this.drawing = 0;
        const context = this.canvas.getContext("2d");
        const ratio = this.canvas.width / this.width;
        context.setTransform(ratio, 0, 0, ratio, 0, 0);
        context.clearRect(0, 0, this.width, this.height);
        this.paint(context);
        this.tell();
        this.canvas.dataset.points = this.series.reduce((n, { x }) => n + x.length, 0);
      });
    }

    paint(context) {
      context.font = FONT;
      this.measure(context);
      this.paintAxes(context);
      for (const series of this.series) if (series.base) this.paintArea(context, series);
      this.paintLines(context);
      if (this.mark !== null && this.series.length) this.paintUpright(context, this.mark, lab.css("--edge"), [2, 3]);
      if (this.hover !== null) this.paintUpright(context, this.hover, lab.css("--ink-2"), SOLID);
      for (const { x, y, base, color, dash } of this.series) {
        if (base) continue;
        const points = x.map((step, i) => [this.px(step), y[i] === null ? NaN : this.py(Math.min(y[i], 1.5 * this.top))]);
        stroke(context, lab.css(color), dash ?? SOLID, 1.5, points);
      }
    }

    paintAxes(context) {
      const [grid, ink] = [lab.css("--hairline"), lab.css("--ink-2")];
      const [right, bottom] = [this.width - this.right, this.height - PAD.bottom];
      context.fillStyle = ink;
      context.textAlign = "right";
      context.textBaseline = "middle";
      for (const y of ticks(this.top, 5)) {
        stroke(context, grid, SOLID, 1, [[PAD.left, crisp(this.py(y))], [right, crisp(this.py(y))]]);
        context.fillText(bare(this.options.show(y)), PAD.left - 8, this.py(y));
      }
      context.textBaseline = "top";
      context.textAlign = "center";
      const places = this.log ? powers(this.last, Math.floor(this.width / 56)) : ticks(this.last, Math.max(2, Math.floor(this.width / 110)));
      for (const step of places) {
        stroke(context, grid, SOLID, 1, [[crisp(this.px(step)), bottom], [crisp(this.px(step)), bottom + 4]]);
        context.fillText(lab.count(step), Math.min(this.px(step), right - 6), bottom + 7);
      }
      context.textAlign = "left";
      context.textBaseline = "bottom";
      context.fillText(`step${this.log ? " (log)" : ""}`, PAD.left, this.height);
      context.textAlign = "right";
      context.fillText(this.options.y, right, this.height);
    }

    /* Reference lines and their names, which are moved apart where they would meet. */
    paintLines(context) {
      const right = this.width - this.right;
      const at = this.names.map(({ y }) => crisp(this.py(y)));
      const beside = apart(at, this.height - PAD.bottom);
      context.textAlign = "left";
      context.textBaseline = "middle";
      context.fillStyle = lab.css("--reference");
      this.names.forEach(({ text }, i) => {
        stroke(context, lab.css("--reference"), SOLID, 1, [[PAD.left, at[i]], [right, at[i]], [right + GAP - 3, beside[i]]]);
        context.fillText(text, right + GAP, beside[i]);
      });
      this.canvas.dataset.lines = JSON.stringify(this.names.map(({ text }, i) => [text, beside[i]]));
    }

    /* What lies between two curves; at a single step a bar. */
    paintArea(context, { x, y, base, color, fill }) {
      const wide = x.length === 1 ? 4 : 0;
      const edge = (heights) => heights.flatMap((height, i) => [-wide, wide].map((by) => [this.px(x[i]) + by, this.py(height)]));
      context.globalAlpha = fill;
      context.fillStyle = lab.css(color);
      context.beginPath();
      for (const [px, py] of [...edge(y), ...edge(base).reverse()]) context.lineTo(px, py);
      context.fill();
      context.globalAlpha = 1;
    }

    paintUpright(context, step, color, dash) {
      const x = crisp(this.px(Math.min(step, this.last)));
      stroke(context, color, dash, 1, [[x, PAD.top], [x, this.height - PAD.bottom]]);
    }

    // -- the hand --------------------------------------------------------------------------------------

    listen() {
      const { canvas } = this;
      canvas.addEventListener("pointermove", (event) => this.point(this.nearest(this.stepAt(event.offsetX))));
      canvas.addEventListener("pointerleave", () => this.point(null));
      canvas.addEventListener("blur", () => this.point(null));
      canvas.addEventListener("click", () => this.pick());
      canvas.addEventListener("keydown", (event) => this.key(event));
    }

    key(event) {
      const steps = this.steps();
      const at = steps.indexOf(this.hover ?? this.nearest(this.mark ?? Infinity));
      const moves = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: steps.length - 1 };
      if (event.key === "Enter") this.pick();
      else if (event.key === "Escape") this.point(null);
      else if (event.key in moves) this.point(steps[Math.min(steps.length - 1, Math.max(0, moves[event.key]))] ?? null);
      else return;
      event.preventDefault();
      event.stopPropagation(); // the time bar listens to arrows everywhere else
    }

    pick() {
      if (this.hover !== null) this.options.onPick?.(this.hover);
    }

    point(step) {
      if (this.hover === step) return;
      this.hover = step;
      this.draw();
    }

    steps() {
      return [...new Set(this.series.flatMap(({ x }) => x))].sort((a, b) => a - b);
    }

    nearest(step) {
      let [best, gap] = [null, Infinity];
      for (const { x } of this.series) {
        for (const each of x) {
          const distance = Math.abs(this.along(each) - this.along(Math.min(step, this.last)));
          if (distance < gap) [best, gap] = [each, distance];
        }
      }
      return best;
    }

    /* What stands at the crosshair, in words and beside it. */
    tell() {
      this.readout.hidden = this.hover === null;
      if (this.hover === null) return;
      const rows = this.series.map((series) => this.row(series)).filter(Boolean);
      this.readout.replaceChildren(lab.el("div", { class: "lab-chart-step" }, `step ${lab.count(this.hover)}`), ...rows);
      const x = this.px(this.hover);
      const left = x > this.width / 2;
      this.readout.style.left = left ? "" : `${x + 10}px`;
      this.readout.style.right = left ? `${this.width - x + 10}px` : "";
    }

    /* The series' value at the crosshair; where it has none there, its last one before, with its step. */
    row(series) {
      const { name, color, dash, fill, x, y } = series;
      let at = x.length - 1;
      while (at >= 0 && x[at] > this.hover) at--;
      if (at < 0 || y[at] === null) return null;
      const when = x[at] === this.hover ? "" : ` at ${lab.count(x[at])}`;
      const value = valueOf(series, at);
      const detail = this.options.detail ? ` ${this.options.detail(value)}` : "";
      return lab.el(
        "div",
        { class: "lab-chart-row" },
        lab.swatch(color, dash, fill),
        lab.el("span", {}, name + when),
        lab.el("b", {}, this.options.show(value)),
        lab.el("small", {}, detail),
      );
    }
  }

  function stroke(context, color, dash, width, points) {
    context.strokeStyle = color;
    context.lineWidth = width;
    context.lineJoin = "round";
    context.setLineDash(dash);
    context.beginPath();
    let down = false;
    for (const [x, y] of points) {
      if (!Number.isFinite(y)) down = false;
      else if (down) context.lineTo(x, y);
      else context.moveTo(x, y), (down = true);
    }
    if (points.length === 1) context.arc(points[0][0], points[0][1], 1.5, 0, 7);
    context.stroke();
    context.setLineDash(SOLID);
  }

  /* What a series says at a point: how high it is, or how thick. */
  const valueOf = ({ y, base }, i) => (base && y[i] != null ? y[i] - base[i] : y[i]);

  /* Places from the top down, moved apart where they would meet, and up from the bottom. */
  function apart(places, bottom) {
    const found = [];
    for (const place of places) found.push(Math.max(place, (found.at(-1) ?? -Infinity) + LINE));
    let limit = bottom;
    for (let i = found.length - 1; i >= 0; i--) limit = (found[i] = Math.min(found[i], limit)) - LINE;
    return found;
  }

  const bare = (text) => (text.includes(".") ? text.replace(/\.?0+$/, "") : text);

  const crisp = (x) => Math.round(x) + 0.5;

  /* About `count` round numbers from 0 to `top`. */
  function ticks(top, count) {
    const rough = top / count;
    const magnitude = 10 ** Math.floor(Math.log10(rough));
    const unit = [1, 2, 5, 10].map((n) => n * magnitude).find((n) => n >= rough);
    return Array.from({ length: Math.floor(top / unit + 1e-9) + 1 }, (_, i) => Number((i * unit).toPrecision(12)));
  }

  /* 0, 1, 2, 4, … up to `last`, thinned to at most `count`. */
  function powers(last, count) {
    const all = [0];
    for (let step = 1; step <= last; step *= 2) all.push(step);
    const every = Math.ceil(all.length / Math.max(2, count));
    return all.filter((_, i) => i % every === 0);
  }

  lab.chart = (host, options) => new Chart(host, options);

  /* A short piece of a line, as it is drawn, or a patch of an area. */
  lab.swatch = (color, dash, fill) => {
    const kind = fill ? "area" : !dash?.length ? "" : dash[0] > 3 ? "dashed" : "dotted";
    const style = `--swatch: var(${color}); opacity: ${fill ?? 1}`;
    return lab.el("i", { class: `lab-swatch ${kind}`, style, "aria-hidden": "true" });
  };
})();
