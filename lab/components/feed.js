/* lab.follow(run, fn): a run's curve, samples and checkpoints, kept up to date while it is live.

   One feed for each run however many follow it: everything at first, then once a second what is new, and only while
   the run is running and the page is looked at. fn(feed, fresh): feed {run, manifest, steps, rows, samples, transcript,
   running} holds everything so far (samples: replies to the probe prompts; transcript: to the prompt pack), fresh
   {rows, samples, steps} what has just come (at first, and when a run that was resumed has dropped what came after its
   checkpoint: everything). */
(() => {
  "use strict";

  const lab = window.lab;
  const PERIOD = 1000;
  const PATIENCE = 5000; // after an error
  const KEPT = 8; // feeds nobody follows any more, kept for coming back
  const feeds = new Map();

  class Feed {
    constructor(id) {
      this.data = { run: id, manifest: null, steps: [], rows: [], samples: [], transcript: [], running: false };
      this.cursor = null;
      this.followers = new Set();
      this.timer = 0;
      this.asking = false;
      this.status = null;
    }

    follow(fn) {
      this.followers.add(fn);
      const { rows, samples, steps } = this.data;
      if (this.data.manifest) fn(this.data, { rows, samples, steps });
      this.ask();
      return () => this.followers.delete(fn);
    }

    async ask() {
      clearTimeout(this.timer);
      if (this.asking || !this.followers.size) return;
      this.asking = true;
      let wait = PERIOD;
      try {
        const query = this.cursor === null ? {} : { cursor: this.cursor };
        this.take(await lab.getJSON(lab.url(`lab/run/${encodeURIComponent(this.data.run)}`, query)));
      } catch (error) {
        if (this.cursor === null) lab.notify(error.message);
        else await lab.refreshRuns().catch(() => {});
        this.data.running &&= lab.runs.some((run) => run.id === this.data.run);
        wait = PATIENCE;
      }
      this.asking = false;
      if (this.data.running && !document.hidden) this.timer = setTimeout(() => this.ask(), wait);
    }

    take({ manifest, steps, rows, samples: said, cursor, running, again }) {
      const data = this.data;
      if (again) data.rows = data.samples = data.transcript = [];
      const samples = said.filter(({ group }) => group === undefined);
      const transcript = data.transcript.concat(said.filter(({ group }) => group !== undefined));
      const known = new Set(data.steps);
      const fresh = { rows, samples, steps: steps.filter((step) => !known.has(step)) };
      const changed = data.manifest?.status !== manifest.status || data.running !== running;
      this.cursor = cursor;
      const moved = steps.length !== data.steps.length || fresh.steps.length > 0;
      Object.assign(data, { manifest, steps, running, transcript });
      Object.assign(data, { rows: data.rows.concat(rows), samples: data.samples.concat(samples) });
      if (!changed && !moved && !rows.length && !said.length) return;
      for (const fn of [...this.followers]) fn(data, fresh);
      if (moved) lab.updateRun(data.run, { steps, steps_done: manifest.steps_done });
      if (changed && this.status !== null) lab.refreshRuns().catch(() => {});
      this.status ??= manifest.status;
    }
  }

  /* Returns unsubscribe. */
  lab.follow = (id, fn) => {
    let feed = feeds.get(id);
    if (!feed) feeds.set(id, (feed = new Feed(id)));
    forget();
    return feed.follow(fn);
  };

  function forget() {
    const idle = [...feeds].filter(([, feed]) => !feed.followers.size);
    for (const [id] of idle.slice(0, Math.max(0, idle.length - KEPT))) feeds.delete(id);
  }

  /* A run that was paused and goes on, or was queued and starts, is asked about again. */
  lab.on(["runs"], () => {
    for (const [id, feed] of feeds) {
      const summary = lab.runs.find((run) => run.id === id);
      if (!summary && !feed.followers.size) feeds.delete(id);
      if (!summary || summary.status === feed.status) continue;
      feed.status = summary.status;
      feed.ask();
    }
  });

  document.addEventListener("visibilitychange", () => {
    if (document.hidden) return;
    for (const feed of feeds.values()) if (feed.data.running) feed.ask();
  });
})();
