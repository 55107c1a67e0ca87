/* Numbers and tokens in words: lab.number(), lab.signed(), lab.count(), lab.tokenText(). */
(() => {
  "use strict";

  const lab = window.lab;

  /* Three significant digits, thin spaces in thousands. */
  lab.number = (x) => {
    if (!Number.isFinite(x)) return "–";
    if (x === 0) return "0";
    const rounded = Number(x.toPrecision(3));
    const decimals = 2 - Math.floor(Math.log10(Math.abs(rounded)));
    return decimals > 7 ? x.toExponential(2) : grouped(rounded.toFixed(Math.max(0, decimals)));
  };

  /* A whole number, every digit of it. */
  lab.count = (n) => grouped(String(n));

  function grouped(digits) {
    const [whole, fraction] = digits.split(".");
    const spaced = whole.length > 4 ? whole.replace(/\B(?=(\d{3})+$)/g, "\u202f") : whole;
    return fraction === undefined ? spaced : `${spaced}.${fraction}`;
  }

  /* A token as plain text that shows all of itself; always assign it by textContent. */
  lab.tokenText = (token) =>
    token
      .replace(/ /g, "·")
      .replace(/\n/g, "↵")
      .replace(/\t/g, "⇥")
      .replace(/[\p{C}\p{Z}]/gu, (character) => `⟨${character.codePointAt(0).toString(16).padStart(2, "0")}⟩`);

  /* As lab.number, with a true minus. */
  lab.signed = (x) => lab.number(x).replace("-", "−");

  /* Every digit of a whole number, three of any other. */
  lab.signedCount = (x) => (Number.isInteger(x) ? lab.count(x).replace("-", "−") : lab.signed(x));
})();
