/* The Train page's right side: the run as it trains, or as it trained. Follows the frame's run and step. */
lab.component("live", (root) => {
  "use strict";

  const WORDS = {
    queued: "waiting for a free place",
    running: "training",
    paused: "paused",
    finished: "finished",
    stopped: "stopped",
    interrupted: "interrupted",
    diverged: "diverged",
    failed: "failed",
  };
  const MAY = {
    pause: ["running"],
    resume: ["paused", "stopped", "interrupted", "failed"],
    stop: ["queued", "running", "paused"],
    "stop-now": ["running", "paused"],
    delete: ["finished", "stopped", "interrupted", "diverged", "failed"],
  };
  const TOLD = ["diverged", "failed", "interrupted"];
  const REFRESH = 5000;

  // -- parts -----------------------------------------------------------------------------------------

  const name = lab.el("h2", {});
  const status = lab.el("span", { class: "lab-status" });
  const message = lab.el("p", { class: "lab-message", hidden: "" });
  const numbers = lab.el("dl", { class: "lab-numbers" });
  const host = lab.el("div", { class: "lab-chart-host" });
  const chart = lab.chart(host, {
    y: "loss, nats per token",
    label: "Training and held-out loss over steps; arrow keys read values, Enter moves the time bar there",
    detail: lab.curves.perplexity,
    onPick: (step) => lab.set({ step }),
  });
  const { bar, showLegend } = lab.curves.toolbar(chart, () => `${lab.state.run ?? "no run"} loss`);
  const greys = lab.el("p", { class: "caption" });
  const ways = lab.el("p", { class: "lab-message lab-ways" });
  root.append(lab.el("div", { class: "lab-live-head", "data-begins": "" }, name, status), message, numbers, bar, host, greys, ways);

  let feed = null;
  let unfollow = () => {};

  // -- numbers ---------------------------------------------------------------------------------------

  function entry(term, value, title) {
    return lab.el("div", { title }, lab.el("dt", {}, term), lab.el("dd", {}, value));
  }

  function showNumbers() {
    const last = feed.rows.findLast((row) => row.kind === "step");
    const held = feed.rows.findLast((row) => row.kind === "eval");
    const left = lab.isActive(feed.manifest.status) ? lab.secondsLeft(feed.manifest, last) : null;
    const loss = (value) => (value === undefined || value === null ? "–" : lab.number(value));
    const perplexity = (value) => (value ? `${lab.curves.perplexity(value)}; loss in nats per token` : "");
    const spent = last?.seconds ?? feed.manifest.seconds ?? 0;
    numbers.replaceChildren(
      entry("step", lab.count(last?.step ?? feed.manifest.steps_done ?? 0)),
      entry("loss", loss(last?.loss), perplexity(last?.loss)),
      entry("held-out loss", loss(held?.heldout_loss), perplexity(held?.heldout_loss)),
      entry("tokens/s", last?.tokens_per_second ? lab.number(last.tokens_per_second) : "–"),
      left === null ? entry("time taken", lab.duration(spent)) : entry("time left", lab.duration(left)),
    );
  }

  const steps = (count) => `${lab.count(count)} ${count === 1 ? "step" : "steps"}`;

  /* What the two ways to stop would do now, in words: the trainer's own rule, guppy.budget.cooldown_steps. */
  function stopping() {
    const { train, start } = feed.manifest;
    const last = feed.rows.findLast((row) => row.kind === "step");
    const done = (last?.step ?? 0) - (start?.step ?? 0);
    if (done < 1) return "";
    const took = last.seconds - (start?.seconds ?? 0);
    const left = lab.secondsLeft(feed.manifest, last);
    const count = Math.ceil(done / 10);
    const seconds = (took * count) / done;
    const long =
      left !== null && left <= seconds
        ? `what is left of its budget, about ${lab.duration(left)}`
        : `${steps(count)}, about ${lab.duration(Math.max(1, seconds))}`;
    return `Stop lets the learning rate fall to ${train.min_lr ? "its end" : "zero"} first: ${long}. Stop now keeps the weights as they are.`;
  }

  function told(now) {
    const { message, stop } = feed?.manifest ?? {};
    if (now === "running" && stop) {
      const end = stop.step + stop.cooldown_steps;
      return `It was told to stop at step ${lab.count(stop.step)}. Its learning rate falls until step ${lab.count(end)}; then it ends.`;
    }
    if (now === "stopped" && stop) return `${message} Resume goes on from step ${lab.count(stop.step)} and drops the cool-down.`;
    return TOLD.includes(now) ? message : "";
  }

  function showStatus() {
    const run = lab.run();
    const now = feed?.manifest.status ?? run?.status ?? "";
    const cooling = Boolean(feed?.manifest.stop) && lab.isActive(now);
    const preparing = now === "running" && !feed?.rows.length;
    name.textContent = run?.name ?? "No run yet";
    status.textContent = preparing ? "preparing its data" : cooling && now === "running" ? "cooling down" : (WORDS[now] ?? now);
    status.dataset.status = now;
    message.textContent = told(now) ?? "";
    message.hidden = !message.textContent;
    ways.textContent = feed && !cooling && ["running", "paused"].includes(now) ? stopping() : "";
    root.dataset.status = now;
    for (const [action, statuses] of Object.entries(MAY)) {
      const button = document.getElementById(`train-${action}`);
      const may = statuses.includes(now) && !(action === "stop" && cooling);
      if (button) button.disabled = !run || run.bundled || !may;
    }
  }

  // -- drawing ---------------------------------------------------------------------------------------

  function draw() {
    showStatus();
    if (!feed) {
      numbers.replaceChildren();
      chart.update({ series: [], lines: [], mark: null });
      greys.textContent = "";
      return showLegend();
    }
    showNumbers();
    const operated = Boolean(lab.run()?.surgery.length);
    const masked = lab.run()?.surgery.includes("no-causal-mask") ?? false;
    chart.update({
      series: lab.curves.losses(feed.rows, operated ? "--surgery" : "--accent", { masked }),
      lines: lab.curves.references(feed.manifest.reference),
      mark: lab.state.step,
    });
    greys.textContent = lab.curves.meaning(feed.manifest.reference);
    showLegend();
  }

  lab.watch(["run"], () => {
    unfollow();
    feed = null;
    draw();
    if (lab.state.run === null) return;
    unfollow = lab.follow(lab.state.run, (latest) => {
      feed = latest;
      draw();
    });
  });
  lab.watch(["runs"], showStatus);
  lab.watch(["step"], () => chart.update({ mark: lab.state.step }));
  showStatus();

  // Others may start and delete runs; a page about runs notices.
  setInterval(() => {
    if (!document.hidden && ["train", "mask"].includes(lab.state.page)) lab.refreshRuns().catch(() => {});
  }, REFRESH);
});
