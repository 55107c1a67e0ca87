/* lab.ink: one way to draw, on a canvas or into the text of an SVG file.

   lab.ink.onCanvas(canvas, width, height, ratio) and lab.ink.asSvg(width, height) give the same methods; positions and
   sizes are in CSS pixels. A colour is the name of a custom property ("ink", "accent"), [r, g, b], or any CSS colour.
     rect(x, y, w, h, {fill, stroke, width, radius, opacity})     line(x1, y1, x2, y2, {stroke, width, dash, opacity})
     path([[x, y], …] or an SVG path, {stroke, width, dash, fill, close, opacity})     circle(x, y, r, {fill, stroke, …})
     text(x, y, text, {size, align, baseline, color, mono, weight, rotate, max, opacity})     image(x, y, w, h, imageData)
     clip(x, y, w, h, draw)     translate(x, y, draw)     measure(text, {size, mono, weight})     fit(text, max, {…})
   lab.ink.valueColor(scale, value, max) and lab.ink.contrast(rgb) choose colours of cells. */
(() => {
  "use strict";

  const lab = window.lab;
  const BASELINES = { middle: "central", top: "hanging", bottom: "auto", alphabetic: "auto" };
  const ANCHORS = { left: "start", center: "middle", right: "end" };

  // -- colours and type ------------------------------------------------------------------------------

  const known = new Map();

  /* Reading a style takes long, so each property is read once in each theme. */
  function css(name) {
    if (!known.has(name)) known.set(name, lab.css(`--${name}`));
    return known.get(name);
  }

  lab.onTheme(() => known.clear());

  function color(value) {
    if (Array.isArray(value)) return `rgb(${value.join(",")})`;
    return css(value) || value;
  }

  const font = ({ size = 12, mono = false, weight = 400 } = {}) => `${weight} ${size}px ${css(mono ? "mono" : "ui")}`;

  const ruler = document.createElement("canvas").getContext("2d");
  const widths = new Map();

  function measure(text, style) {
    const key = `${font(style)}\n${text}`;
    if (!widths.has(key)) {
      if (widths.size > 5000) widths.clear();
      ruler.font = font(style);
      widths.set(key, ruler.measureText(text).width);
    }
    return widths.get(key);
  }

  /* As much of the text as fits, and an ellipsis if that is not all. */
  function fit(text, max, style) {
    if (measure(text, style) <= max) return text;
    const characters = [...text];
    let [low, high] = [0, characters.length];
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (measure(`${characters.slice(0, middle).join("")}…`, style) <= max) low = middle;
      else high = middle - 1;
    }
    return low ? `${characters.slice(0, low).join("")}…` : "";
  }

  // -- on a canvas -----------------------------------------------------------------------------------

  class CanvasInk {
    constructor(context, width, height) {
      Object.assign(this, { context, width, height });
    }

    finish({ fill, stroke, width = 1, dash, opacity = 1 }, shape) {
      const { context } = this;
      context.globalAlpha = opacity;
      if (fill) {
        context.fillStyle = color(fill);
        shape ? context.fill(shape) : context.fill();
      }
      if (stroke) {
        context.strokeStyle = color(stroke);
        context.lineWidth = width;
        context.setLineDash(dash ?? []);
        shape ? context.stroke(shape) : context.stroke();
      }
      context.globalAlpha = 1;
    }

    rect(x, y, w, h, style) {
      const { context } = this;
      context.beginPath();
      if (style.radius) context.roundRect(x, y, w, h, style.radius);
      else context.rect(x, y, w, h);
      this.finish(style);
    }

    line(x1, y1, x2, y2, style = {}) {
      const { context } = this;
      context.beginPath();
      context.moveTo(x1, y1);
      context.lineTo(x2, y2);
      this.finish({ stroke: "hairline", ...style });
    }

    path(points, style) {
      const { context } = this;
      context.lineJoin = "round";
      if (typeof points === "string") return this.finish(style, new Path2D(points));
      context.beginPath();
      for (const [x, y] of points) context.lineTo(x, y);
      if (style.close) context.closePath();
      this.finish(style);
    }

    circle(x, y, r, style) {
      const { context } = this;
      context.beginPath();
      context.arc(x, y, r, 0, 2 * Math.PI);
      this.finish(style);
    }

    text(x, y, text, style = {}) {
      const { context } = this;
      const { align = "left", baseline = "middle", color: tint = "ink", rotate = 0, max, opacity = 1 } = style;
      context.font = font(style);
      context.textAlign = align;
      context.textBaseline = baseline;
      context.fillStyle = color(tint);
      context.globalAlpha = opacity;
      const shown = max === undefined ? text : fit(text, max, style);
      if (rotate) {
        context.save();
        context.translate(x, y);
        context.rotate((rotate * Math.PI) / 180);
        context.fillText(shown, 0, 0);
        context.restore();
      } else context.fillText(shown, x, y);
      context.globalAlpha = 1;
    }

    image(x, y, w, h, data) {
      const { context } = this;
      context.imageSmoothingEnabled = false;
      context.drawImage(asCanvas(data), x, y, w, h);
    }

    clip(x, y, w, h, draw) {
      const { context } = this;
      context.save();
      context.beginPath();
      context.rect(x, y, w, h);
      context.clip();
      draw();
      context.restore();
    }

    translate(x, y, draw) {
      const { context } = this;
      context.save();
      context.translate(x, y);
      draw();
      context.restore();
    }
  }

  function asCanvas(data) {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [data.width, data.height];
    canvas.getContext("2d").putImageData(data, 0, 0);
    return canvas;
  }

  // -- as SVG ----------------------------------------------------------------------------------------

  const escape = (text) =>
    text
      .replace(/[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/gu, "\ufffd")
      .replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`);
  const short = (x) => Number(x.toFixed(2));

  class SvgInk {
    constructor(width, height) {
      Object.assign(this, { width, height, parts: [], clips: 0 });
    }

    /* The whole file. */
    toString() {
      const size = `width="${short(this.width)}" height="${short(this.height)}" viewBox="0 0 ${short(this.width)} ${short(this.height)}"`;
      return `<svg xmlns="http://www.w3.org/2000/svg" ${size}>\n${this.parts.join("\n")}\n</svg>\n`;
    }

    put(tag, attributes, text) {
      const written = Object.entries(attributes)
        .filter(([, value]) => value !== undefined && value !== null)
        .map(([name, value]) => ` ${name}="${typeof value === "number" ? short(value) : escape(String(value))}"`)
        .join("");
      this.parts.push(text === undefined ? `<${tag}${written}/>` : `<${tag}${written}>${escape(text)}</${tag}>`);
    }

    style({ fill, stroke, width = 1, dash, opacity }) {
      return {
        fill: fill ? color(fill) : "none",
        stroke: stroke && color(stroke),
        "stroke-width": stroke && width,
        "stroke-dasharray": stroke && dash?.join(" "),
        opacity,
      };
    }

    rect(x, y, w, h, style) {
      this.put("rect", { x, y, width: Math.max(0, w), height: Math.max(0, h), rx: style.radius, ...this.style(style) });
    }

    line(x1, y1, x2, y2, style = {}) {
      this.put("line", { x1, y1, x2, y2, ...this.style({ stroke: "hairline", ...style }) });
    }

    path(points, style) {
      const joined = (all) => all.map(([x, y], i) => `${i ? "L" : "M"}${short(x)} ${short(y)}`).join("");
      const d = typeof points === "string" ? points : joined(points) + (style.close ? "Z" : "");
      this.put("path", { d, "stroke-linejoin": "round", ...this.style(style) });
    }

    circle(cx, cy, r, style) {
      this.put("circle", { cx, cy, r, ...this.style(style) });
    }

    text(x, y, text, style = {}) {
      const { size = 12, align = "left", baseline = "middle", color: tint = "ink", mono, weight, rotate, max, opacity } = style;
      const attributes = {
        x,
        y,
        fill: color(tint),
        "font-family": css(mono ? "mono" : "ui").replaceAll('"', "'"),
        "font-size": size,
        "font-weight": weight,
        "text-anchor": ANCHORS[align],
        "dominant-baseline": BASELINES[baseline],
        transform: rotate ? `rotate(${rotate} ${short(x)} ${short(y)})` : undefined,
        "xml:space": "preserve",
        opacity,
      };
      this.put("text", attributes, max === undefined ? text : fit(text, max, style));
    }

    image(x, y, width, height, data) {
      const href = asCanvas(data).toDataURL("image/png");
      this.put("image", { x, y, width, height, href, preserveAspectRatio: "none", style: "image-rendering:pixelated" });
    }

    clip(x, y, w, h, draw) {
      const id = `clip-${++this.clips}`;
      this.parts.push(`<clipPath id="${id}"><rect x="${short(x)}" y="${short(y)}" width="${short(w)}" height="${short(h)}"/></clipPath>`);
      this.parts.push(`<g clip-path="url(#${id})">`);
      draw();
      this.parts.push("</g>");
    }

    translate(x, y, draw) {
      this.parts.push(`<g transform="translate(${short(x)} ${short(y)})">`);
      draw();
      this.parts.push("</g>");
    }
  }

  for (const Ink of [CanvasInk, SvgInk]) Object.assign(Ink.prototype, { measure, fit });

  // -- colours of cells ------------------------------------------------------------------------------

  const luminance = (rgb) => {
    const [r, g, b] = rgb.map((c) => ((c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const hex = (text) => [1, 3, 5].map((i) => parseInt(text.slice(i, i + 2), 16));

  lab.ink = {
    measure,
    fit,
    color,

    /* To draw on a canvas of this size; what was on it is gone. */
    onCanvas(canvas, width, height, ratio = devicePixelRatio || 1) {
      const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
      if (canvas.width !== w || canvas.height !== h) [canvas.width, canvas.height] = [w, h];
      const context = canvas.getContext("2d");
      context.setTransform(ratio, 0, 0, ratio, 0, 0);
      context.clearRect(0, 0, width, height);
      return new CanvasInk(context, width, height);
    },

    asSvg: (width, height) => new SvgInk(width, height),

    /* "ink" or "paper", whichever can be read on this [r, g, b]. */
    contrast(rgb) {
      const on = luminance(rgb);
      const ratio = (name) => {
        const other = luminance(hex(css(name)));
        return (Math.max(on, other) + 0.05) / (Math.min(on, other) + 0.05);
      };
      return ratio("ink") >= ratio("paper") ? "ink" : "paper";
    },

    /* A value's [r, g, b]: on "probability" and "magnitude" from 0 to max, on "signed" from -max to max, zero the paper. */
    valueColor: (scale, value, max = 1) =>
      scale === "signed" ? lab.color.signed(max ? value / max : 0) : lab.color.attention(max ? value / max : 0),
  };
})();
