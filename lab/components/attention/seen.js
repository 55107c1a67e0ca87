/* lab.sight(): drawings below the window wait until they come into it, so that a drag pays only for what it shows. */
(() => {
  "use strict";

  const lab = window.lab;

  /* {here, ever: whether the element is, or ever was, in the window; on(fn): when that has changed;
     when(fn): fn, put off while the element is out of sight; question(q): q, its listeners put off likewise}. */
  lab.sight = (element) => {
    const listeners = new Set();
    const sight = {
      here: false,
      ever: false,
      on: (fn) => listeners.add(fn),
      when(fn) {
        let due = false;
        listeners.add(() => {
          if (!sight.here || !due) return;
          due = false;
          fn();
        });
        return () => {
          if (sight.here) fn();
          else due = true;
        };
      },
      question: (q) => Object.create(q, { on: { value: (fn) => q.on(sight.when(fn)) } }),
    };
    new IntersectionObserver((entries) => {
      sight.here = entries.at(-1).isIntersecting;
      sight.ever ||= sight.here;
      for (const fn of [...listeners]) fn();
    }).observe(element);
    return sight;
  };
})();
