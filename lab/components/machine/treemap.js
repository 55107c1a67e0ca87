/* lab.treemap(node, x, y, w, h): places for a tree of {value, children?}, each as large as its value and as square as it
   can be (Bruls, Huizing and van Wijk 2000). Returns [{node, x, y, w, h, depth}], parents before their children. */
(() => {
  "use strict";

  const lab = window.lab;

  /* The worst ratio of sides in a row of areas along a side. */
  function worst(row, side) {
    const sum = row.reduce((a, b) => a + b, 0);
    return Math.max((side ** 2 * Math.max(...row)) / sum ** 2, sum ** 2 / (side ** 2 * Math.min(...row)));
  }

  /* Rectangles [x, y, w, h] for areas in falling order that together fill w × h. */
  function squarified(areas, x, y, w, h) {
    const places = [];
    for (let i = 0; i < areas.length; ) {
      const side = Math.min(w, h);
      const row = [areas[i++]];
      while (i < areas.length && worst([...row, areas[i]], side) <= worst(row, side)) row.push(areas[i++]);
      const sum = row.reduce((a, b) => a + b, 0);
      const thick = side ? sum / side : 0;
      let along = 0;
      for (const area of row) {
        const long = thick ? area / thick : 0;
        places.push(w >= h ? [x, y + along, thick, long] : [x + along, y, long, thick]);
        along += long;
      }
      if (w >= h) [x, w] = [x + thick, w - thick];
      else [y, h] = [y + thick, h - thick];
    }
    return places;
  }

  lab.treemap = function place(node, x, y, w, h, depth = 0) {
    const here = { node, x, y, w, h, depth };
    const children = (node.children ?? []).filter((child) => child.value > 0).sort((a, b) => b.value - a.value);
    if (!children.length || !(w > 0 && h > 0)) return [here];
    const share = (w * h) / children.reduce((sum, child) => sum + child.value, 0);
    const places = squarified(children.map((child) => child.value * share), x, y, w, h);
    return [here, ...children.flatMap((child, i) => place(child, ...places[i], depth + 1))];
  };
})();
