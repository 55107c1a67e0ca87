/* lab.anatomy.view(host, stage): one stage's drawing, with what the hand and the keys do on it. */
(() => {
  "use strict";

  const lab = window.lab;
  const { anatomy } = lab;
  const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

  // -- the number under the hand, in words beside it ---------------------------------------------------

  let tip = null;

  anatomy.tell = (text, x, y) => {
    tip ??= document.body.appendChild(lab.el("div", { id: "anatomy-tip", role: "status" }));
    tip.hidden = text === null;
    if (text === null) return;
    tip.textContent = text;
    const { offsetWidth: w, offsetHeight: h } = tip;
    tip.style.left = `${Math.max(4, Math.min(x + 12, innerWidth - w - 8))}px`;
    tip.style.top = `${y - h - 10 < 0 ? y + 16 : y - h - 10}px`;
  };

  /* options: {draw(board), label, open(number)}. */
  anatomy.view = (host, { draw, label, open }) => {
    const base = lab.el("canvas");
    const over = lab.el("canvas", { "aria-hidden": "true" });
    const plot = lab.el("div", { class: "plot", tabindex: 0, role: "application", "aria-label": label });
    plot.append(base, over);
    host.append(plot);
    let board = null;
    let [width, height] = [0, 0];
    let target = null; // {part, index} under the hand or the keys
    let pinned = null; // which number's arithmetic is open
    let pins = []; // and where it is

    function paint() {
      const room = plot.clientWidth;
      if (!room) return;
      const fill = () => {
        board = new anatomy.Board(lab.ink.onCanvas(base, room, height), room);
        draw(board);
        board.finish();
        return Math.ceil(board.y);
      };
      width = room;
      const drawn = fill();
      if (drawn !== height) {
        height = drawn;
        plot.style.height = `${height}px`;
        fill();
      }
      for (const canvas of [base, over]) canvas.style.cssText = `width:${width}px;height:${height}px`;
      target = null;
      findPins();
      point();
    }

    const same = (a, b) => a.index === b.index && a.stage === b.stage && a.head === b.head && a.pos === b.pos && a.layer === b.layer;

    function findPins() {
      pins = [];
      if (!pinned) return;
      for (const part of board.parts) {
        for (let i = 0; i < part.length; i++) if (same(part.element(i), pinned)) pins.push(part.rect(i));
      }
    }

    function point() {
      if (!width) return;
      const ink = lab.ink.onCanvas(over, width, height);
      const ring = ({ x, y, w, h }, color, px) => ink.rect(x - 1, y - 1, w + 2, h + 2, { stroke: color, width: px });
      if (target) {
        // The same place in all strips that are as long: one dimension of the stream, one of the head.
        const { part, index } = target;
        for (const other of board.parts) {
          if (other !== part && other.length === part.length && part.length > 1) ring(other.rect(index), "edge", 1);
        }
        ring(part.rect(index), "ink", 1.5);
      }
      for (const rect of pins) ring(rect, "accent", 2);
    }

    function look(next, event) {
      const same = next?.part === target?.part && next?.index === target?.index;
      target = next;
      if (!same) point();
      if (!next) return anatomy.tell(null);
      const box = plot.getBoundingClientRect();
      const rect = next.part.rect(next.index);
      anatomy.tell(next.part.tell(next.index), event?.clientX ?? box.left + rect.x, event?.clientY ?? box.top + rect.y);
    }

    const at = (event) => {
      const box = base.getBoundingClientRect();
      return [event.clientX - box.left, event.clientY - box.top];
    };

    plot.addEventListener("pointermove", (event) => {
      if (event.pointerType !== "mouse" || !board) return;
      look(board.hit(...at(event)), event);
      const button = board.button(...at(event));
      plot.style.cursor = target || button ? "pointer" : "";
      plot.title = button?.title ?? "";
    });
    plot.addEventListener("pointerleave", () => look(null));
    plot.addEventListener("blur", () => look(null));
    plot.addEventListener("click", (event) => {
      if (!board) return;
      const button = board.button(...at(event));
      const found = board.hit(...at(event));
      if (found) open(found.part.element(found.index));
      else if (button) button.click();
    });
    plot.addEventListener("keydown", (event) => {
      if (!board?.parts.length) return;
      if (event.key === "Escape") return target ? look(null) : anatomy.close();
      if (["Enter", " "].includes(event.key) && target) {
        event.preventDefault();
        return open(target.part.element(target.index));
      }
      const move = ARROWS[event.key];
      if (!move) return;
      event.preventDefault();
      look(target ? stepped(move) : { part: board.parts[0], index: 0 });
    });

    function stepped([right, down]) {
      const { part, index } = target;
      if (right) return { part, index: Math.min(part.length - 1, Math.max(0, index + right)) };
      const row = index + down * (part.per ?? 1);
      if (row >= 0 && row < part.length) return { part, index: row };
      const next = board.parts[board.parts.indexOf(part) + down] ?? part;
      return { part: next, index: Math.min(index, next.length - 1) };
    }

    new ResizeObserver(() => plot.clientWidth !== width && paint()).observe(plot);
    return {
      paint,
      element: plot,
      /* Draw for a file. */
      compose: (ink, w) => {
        const copy = new anatomy.Board(ink, w);
        draw(copy);
        copy.finish();
        return Math.ceil(copy.y);
      },
      mark: (element) => {
        if (pinned === element || (pinned && element && same(pinned, element))) return;
        pinned = element;
        if (board) findPins();
        point();
      },
      /* Where a number is, for whoever points at it from outside: {x, y} in the drawing. */
      find: (element) => {
        for (const part of board?.parts ?? []) {
          for (let i = 0; i < part.length; i++) {
            if (!same(part.element(i), element)) continue;
            const { x, y, w, h } = part.rect(i);
            return { x: x + w / 2, y: y + h / 2 };
          }
        }
        return null;
      },
    };
  };
})();
