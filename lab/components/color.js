/* Light and dark, and the colours of canvases: lab.css(), lab.onTheme(), lab.toggleTheme(), lab.color. */
(() => {
  "use strict";

  const lab = window.lab;
  const STORED = "guppy-lab-theme";
  const LEVELS = 1024;
  const BOW = 0.035; // chroma added half way up the attention scale

  // -- light and dark ----------------------------------------------------------------------------------

  const listeners = new Set();
  const system = window.matchMedia("(prefers-color-scheme: dark)");
  let chosen = recall();

  function recall() {
    try {
      return localStorage.getItem(STORED);
    } catch {
      return null; // storage is closed to frames of other sites
    }
  }

  function remember(mode) {
    try {
      if (mode) localStorage.setItem(STORED, mode);
      else localStorage.removeItem(STORED);
    } catch {
      // The choice then lasts as long as the page.
    }
  }

  lab.isDark = () => (chosen ? chosen === "dark" : system.matches);

  /* The other mode; choosing what the system has anyway is following the system again. */
  lab.toggleTheme = () => {
    const dark = !lab.isDark();
    chosen = dark === system.matches ? null : dark ? "dark" : "light";
    remember(chosen);
    enforce();
  };

  /* fn() now and whenever the colours change; returns unsubscribe. */
  lab.onTheme = (fn) => {
    listeners.add(fn);
    fn();
    return () => listeners.delete(fn);
  };

  /* A custom property's current value, such as lab.css("--ink"). */
  lab.css = (name) => getComputedStyle(document.body).getPropertyValue(name).trim();

  let shown = null;

  function enforce() {
    const dark = lab.isDark();
    if (document.body.classList.contains("dark") !== dark) document.body.classList.toggle("dark", dark);
    if (shown === dark) return;
    shown = dark;
    tables = null;
    for (const fn of [...listeners]) fn();
  }

  // Gradio sets the class by itself when it starts and when the system changes.
  new MutationObserver(enforce).observe(document.body, { attributes: true, attributeFilter: ["class"] });
  system.addEventListener("change", enforce);

  // -- scales ------------------------------------------------------------------------------------------

  let tables = null;

  function scales() {
    if (tables) return tables;
    const [zero, one] = [parse(lab.css("--attention-0")), parse(lab.css("--attention-1"))];
    const [negative, positive] = [parse(lab.css("--negative")), parse(lab.css("--positive"))];
    tables = {
      attention: ramp((t) => toRgb(bowed(zero, one, t))),
      signed: ramp((t) => toRgb(t < 0.5 ? mix(negative, zero, 2 * t) : mix(zero, positive, 2 * t - 1))),
    };
    return tables;
  }

  /* LEVELS + 1 colours, each as [r, g, b] and as the 32 bits of a canvas pixel. */
  function ramp(colour) {
    const rgb = Array.from({ length: LEVELS + 1 }, (_, i) => colour(i / LEVELS));
    return { rgb, pixels: Uint32Array.from(rgb, ([r, g, b]) => ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0) };
  }

  const level = (t) => Math.round(Math.min(1, Math.max(0, t)) * LEVELS);

  lab.color = {
    /* probability 0..1 -> [r, g, b] */
    attention: (p) => scales().attention.rgb[level(p)],
    /* -1..1 -> [r, g, b], the surface at exactly 0 */
    signed: (v) => scales().signed.rgb[level((v + 1) / 2)],
    /* Fill an ImageData with values: from -max to max on "signed", from 0 to max on any other scale. What is not finite
       stays transparent. */
    paint: (image, values, scale, max) => {
      const { pixels } = scales()[scale === "signed" ? "signed" : "attention"];
      const [factor, zero] = scale === "signed" ? [LEVELS / 2 / (max || 1), LEVELS / 2] : [LEVELS / (max || 1), 0];
      const out = new Uint32Array(image.data.buffer);
      for (let i = 0; i < out.length; i++) {
        const at = values[i] * factor + zero;
        out[i] = at - at === 0 ? pixels[at < 0 ? 0 : at > LEVELS ? LEVELS : (at + 0.5) | 0] : 0;
      }
    },
    /* Fill an ImageData with probabilities given as 16-bit numbers (value / 65535). */
    paintAttention: (image, values) => {
      const { pixels } = scales().attention;
      const out = new Uint32Array(image.data.buffer);
      for (let i = 0; i < out.length; i++) out[i] = pixels[(values[i] * LEVELS + 32767) / 65535 | 0];
    },
  };

  // -- OKLab (Ottosson 2020): equal steps of the scale look equally far apart ---------------------------

  function parse(colour) {
    const hex = colour.slice(1);
    return toLab([0, 2, 4].map((i) => parseInt(hex.slice(i, i + 2), 16) / 255));
  }

  const mix = (a, b, t) => a.map((x, i) => x + (b[i] - x) * t);

  /* As mix, with more colour on the way: a straight line from paper to deep teal passes through grey. */
  function bowed(a, b, t) {
    const [lightness, x, y] = mix(a, b, t);
    const chroma = Math.hypot(b[1], b[2]);
    const more = (4 * BOW * t * (1 - t)) / chroma;
    return [lightness, x + more * b[1], y + more * b[2]];
  }

  const linear = (c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  const gamma = (c) => (c <= 0.0031308 ? 12.92 * c : 1.055 * c ** (1 / 2.4) - 0.055);

  function toLab(rgb) {
    const [r, g, b] = rgb.map(linear);
    const l = Math.cbrt(0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b);
    const m = Math.cbrt(0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b);
    const s = Math.cbrt(0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b);
    return [
      0.2104542553 * l + 0.793617785 * m - 0.0040720468 * s,
      1.9779984951 * l - 2.428592205 * m + 0.4505937099 * s,
      0.0259040371 * l + 0.7827717662 * m - 0.808675766 * s,
    ];
  }

  function toRgb([lightness, a, b]) {
    const l = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3;
    const m = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3;
    const s = (lightness - 0.0894841775 * a - 1.291485548 * b) ** 3;
    return [
      4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s,
      -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s,
      -0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s,
    ].map((c) => Math.round(255 * gamma(Math.min(1, Math.max(0, c)))));
  }

  enforce();
})();
