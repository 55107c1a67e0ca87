/* lab.anatomy.spine: the residual stream beside the stages, a column of colour for each of its dimensions. */
(() => {
  "use strict";

  const lab = window.lab;
  const { anatomy } = lab;

  /* Where its colours are full, for the layer that is looked at: what is small before it is pale, what grows after it full. */
  anatomy.exposure = (s) => {
    const here = [0, 1, 2].map((moment) => anatomy.rms(anatomy.row(s, "stream", 2 * s.facts.layer + moment)));
    return anatomy.STRONG * Math.max(...here);
  };

  /* Where the walk begins and ends: a token, and the line that leads to the stream or away from it. */
  function token(spine, text) {
    const [chip] = lab.chips([text]);
    spine.classList.add("token");
    spine.replaceChildren(chip);
  }

  anatomy.spine = {
    /* One stage's piece: the moments of the stream that it has beside it, where it reads and where it writes. */
    paint({ spine, stage }, s, max) {
      if (stage.first) return token(spine, s.facts.token);
      if (stage.token) return token(spine, anatomy.words?.[stage.token(s)] ?? "");
      spine.classList.toggle("thin", Boolean(stage.thin));
      const moments = stage.moments(s);
      let bands = [...spine.querySelectorAll("canvas")];
      if (bands.length !== moments.length) {
        bands = moments.map(() => lab.el("canvas"));
        spine.replaceChildren(...bands);
        if (stage.writes) bands[1].before(lab.el("span", { class: "node", title: "here the part’s output is added" }));
        if (stage.reads) spine.append(lab.el("span", { class: "tap", title: "here the part reads the stream" }));
        for (const name of ["begins", "ends", "writes"]) spine.classList.toggle(name, Boolean(stage[name]));
      }
      moments.forEach((moment, i) => {
        const values = anatomy.row(s, "stream", moment);
        const band = bands[i];
        if (band.width !== values.length) Object.assign(band, { width: values.length, height: 1 });
        const image = new ImageData(values.length, 1);
        lab.color.paint(image, values, "signed", max);
        band.getContext("2d", { willReadFrequently: true }).putImageData(image, 0, 0);
        band.dataset.moment = moment;
      });
      for (const node of spine.querySelectorAll(".node")) node.textContent = anatomy.has(s, "residual") ? "=" : "+";
    },

    /* The number of the stream that an event is on, and in words: {number, text}, or null. */
    at(event, s) {
      const band = event.target.closest?.(".spine canvas");
      if (!band || !s) return null;
      const box = band.getBoundingClientRect();
      const place = Math.floor(((event.clientX - box.left) / box.width) * band.width);
      const index = Math.min(band.width - 1, Math.max(0, place));
      const moment = Number(band.dataset.moment);
      const layer = Math.max(0, Math.ceil(moment / 2) - 1);
      const [stage, when] = !moment
        ? ["resid_pre", "entering layer 0"]
        : moment % 2
          ? ["resid_mid", `after attention of layer ${layer}`]
          : ["resid_post", `after the MLP of layer ${layer}`];
      const value = anatomy.row(s, "stream", moment)[index];
      return { number: { stage, layer, index }, text: `stream[${index}] ${when} = ${anatomy.exact(value)}` };
    },
  };
})();
