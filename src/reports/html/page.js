"use strict";

// Draws the curves with uPlot in place of the drawings, hides the runs that are clicked, and sorts tables.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const keys = [...document.querySelectorAll("#legend li")];
  const hidden = new Set();
  const charts = [];
  const DASHES = [[], [6, 4], [2, 3]];
  const HEIGHT = 330;
  // The most runs whose values are told at a step.
  const TOLD = 8;
  // `zoom` is the first and the last step that are seen, null for all.
  const settings = { smoothing: 1, logSteps: data.log_steps, zoom: null };

  const style = (element, name) => getComputedStyle(element).getPropertyValue(name).trim();
  const colorOf = (run) => style(keys[run], "--run");
  const pageColor = (name) => style(document.documentElement, name);

  function element(name, attributes, text) {
    const made = Object.assign(document.createElement(name), attributes);
    if (text !== undefined) made.textContent = text;
    return made;
  }

  // ---- Numbers

  const grouped = (x) => x.toLocaleString("en-US");

  function shown(x) {
    if (x === 0) return "0";
    const size = Math.abs(x);
    return size >= 1e-3 && size < 1e6 ? String(Number(x.toPrecision(4))) : x.toExponential(2);
  }

  // The middle of a window of `width` points around each.
  function smooth(values, width) {
    if (width <= 1) return values;
    const reach = Math.floor(width / 2);
    return values.map((_, i) => {
      const part = values.slice(Math.max(0, i - reach), i + reach + 1);
      return part.reduce((sum, x) => sum + x, 0) / part.length;
    });
  }

  // The place of the last of the sorted `steps` that is at most `step`, or of its neighbour if that is nearer.
  function nearest(steps, step) {
    let [low, high] = [0, steps.length - 1];
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (steps[middle] <= step) low = middle;
      else high = middle - 1;
    }
    return low + 1 < steps.length && steps[low + 1] - step < step - steps[low] ? low + 1 : low;
  }

  // Powers of ten from `low` to `high` and, where there are few, twice and five times these.
  function powers(low, high) {
    const factors = high / low < 1e3 ? [1, 2, 5] : [1];
    const ticks = [];
    if (!(low > 0 && high < Infinity)) return ticks;
    for (let n = Math.floor(Math.log10(low)); n <= Math.ceil(Math.log10(high)); n++) {
      for (const factor of factors) ticks.push(Number(`${factor}e${n}`));
    }
    return ticks.filter((tick) => tick >= low && tick <= high);
  }

  // ---- Charts

  // A chart's lines: one for each run and kind that has points, smoothed as the settings say.
  function linesOf(chart) {
    const lines = [];
    data.runs.forEach((run, number) => {
      run.lines[chart].forEach((curve, kind) => {
        if (curve.x.length === 0) return;
        const [mean, low, high] = [curve.m, curve.l, curve.h].map(
          (values) => values && smooth(values, settings.smoothing),
        );
        lines.push({ run: number, kind, steps: curve.x, mean, low, high });
      });
    });
    return lines;
  }

  // What the axis of steps of a chart spans, a logarithmic one or not.
  const ends = (u, log) => [log ? u.data[0][0] : 0, u.data[0][u.data[0].length - 1]];

  // Shows these steps in all charts, null for all.
  function zoom(steps) {
    settings.zoom = steps;
    charts.forEach((chart) => chart.reach());
  }

  class Chart {
    constructor(number) {
      this.number = number;
      this.about = data.charts[number];
      this.log = this.about.log;
      const figure = document.querySelector(`[data-chart="${number}"]`);
      this.plot = figure.querySelector(".plot");
      this.plot.textContent = "";
      this.tip = element("div", { className: "tip", hidden: true });
      if (!this.about.share) this.addSwitch(figure.querySelector("figcaption"));
      this.build();
      new ResizeObserver(() => this.resize()).observe(this.plot);
    }

    addSwitch(caption) {
      const box = element("input", { type: "checkbox", checked: this.log });
      box.addEventListener("change", () => {
        this.log = box.checked;
        this.build();
      });
      const label = element("label");
      label.append(box, "logarithmic");
      caption.append(label);
    }

    // Draws anew.
    build() {
      if (this.uplot) this.uplot.destroy();
      this.lines = linesOf(this.number);
      const tables = this.lines.map(({ steps, mean, low, high }) => {
        const positive = (values) => (this.log ? values.map((x) => (x > 0 ? x : null)) : values);
        return [steps, ...[mean, low, high].filter(Boolean).map(positive)];
      });
      this.tip.remove();
      this.uplot = new uPlot(this.options(), uPlot.join(tables), this.plot);
      this.plot.append(this.tip);
    }

    // A line's series: its mean and, where it has a band, the band's two ends.
    series() {
      const series = [{}];
      const bands = [];
      for (const line of this.lines) {
        const color = colorOf(line.run);
        const show = !hidden.has(line.run);
        line.first = series.length;
        const shape = { dash: DASHES[line.kind], width: 1.6, points: { show: line.steps.length === 1 } };
        series.push({ show, stroke: color, ...shape });
        if (!line.low) continue;
        const edge = { show, width: 0, points: { show: false } };
        series.push({ ...edge }, { ...edge });
        bands.push({ series: [line.first + 2, line.first + 1], fill: color + "24" });
      }
      return { series, bands };
    }

    options() {
      // As it is here, whatever becomes of the settings before it is drawn.
      const { log } = this;
      const { logSteps } = settings;
      const [pale, grid] = [pageColor("--pale"), pageColor("--grid")];
      const axis = { stroke: pale, grid: { stroke: grid, width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif" };
      const logarithmic = { splits: (u, i, low, high) => powers(low, high), filter: (u, splits) => splits };
      const values = (format) => (u, splits) => splits.map((x) => (x === null ? null : format(x)));
      return {
        width: this.plot.clientWidth,
        height: HEIGHT,
        legend: { show: false },
        cursor: {
          drag: { x: true, y: true, uni: 30 },
          points: { show: false },
          bind: { dblclick: () => () => zoom(null) },
        },
        scales: {
          x: { time: false, distr: logSteps ? 3 : 1, range: (u) => settings.zoom || ends(u, logSteps) },
          y: { distr: log ? 3 : 1, range: (u, low, high) => this.range(low, high, log) },
        },
        axes: [
          { ...axis, label: "optimiser steps", labelSize: 20, labelFont: axis.font, size: 30, values: values(grouped), ...(logSteps ? logarithmic : {}) },
          { ...axis, size: 54, values: values(shown), ...(log ? logarithmic : {}) },
        ],
        ...this.series(),
        hooks: {
          draw: [(u) => this.drawMarks(u)],
          setCursor: [(u) => this.tell(u)],
          setSelect: [(u) => this.selected(u)],
        },
      };
    }

    // What the vertical axis spans where the values that are seen lie from `low` to `high`.
    range(low, high, log) {
      if (low === null || high === null) return log ? [0.1, 1] : [0, 1];
      if (log) return [low / 1.15, high * 1.15];
      if (this.about.share && !settings.zoom) return [-0.02, 1.02];
      const room = 0.05 * (high - low || Math.abs(high) || 1);
      return [settings.zoom ? low - room : Math.min(0, low), high + room];
    }

    // Has all charts show the steps that were dragged over in this one, if not only values were.
    selected(u) {
      const { left, width } = u.select;
      if (width === 0 || width >= u.over.clientWidth) return;
      zoom([left, left + width].map((at) => u.posToVal(at, "x")));
    }

    // Shows the steps of the zoom.
    reach() {
      const [min, max] = settings.zoom || ends(this.uplot, settings.logSteps);
      this.uplot.setScale("x", { min, max });
    }

    resize() {
      const width = this.plot.clientWidth;
      if (width > 0 && width !== this.uplot.width) this.uplot.setSize({ width, height: HEIGHT });
    }

    // Shows the runs that are not hidden; those but `focused` pale, if one is.
    update(focused) {
      this.uplot.batch(() => {
        for (const { run, first, low } of this.lines) {
          const show = !hidden.has(run);
          for (let i = first; i < first + (low ? 3 : 1); i++) {
            this.uplot.series[i].alpha = focused === undefined || focused === run ? 1 : 0.12;
            if (this.uplot.series[i].show !== show) this.uplot.setSeries(i, { show });
          }
        }
        this.uplot.redraw(false);
      });
    }

    // Diamonds for published figures at a curve's end, rings for a published curve.
    drawMarks(u) {
      const { ctx } = u;
      const scale = devicePixelRatio;
      const place = (step, value) => [u.valToPos(step, "x", true), u.valToPos(value, "y", true)];
      ctx.save();
      ctx.beginPath();
      const room = 7 * scale;
      ctx.rect(u.bbox.left, u.bbox.top - room, u.bbox.width + room, u.bbox.height + 2 * room);
      ctx.clip();
      data.runs.forEach((run, number) => {
        const { span, curve } = run.marks[this.number];
        const line = this.lines.find((line) => line.run === number);
        if (hidden.has(number) || !line) return;
        ctx.strokeStyle = ctx.fillStyle = colorOf(number);
        ctx.lineWidth = 1.5 * scale;
        for (const [step, value] of curve) {
          ctx.beginPath();
          ctx.arc(...place(step, value), 3 * scale, 0, 2 * Math.PI);
          ctx.stroke();
        }
        ctx.strokeStyle = pageColor("--paper");
        for (const value of span || []) {
          const [x, y] = place(line.steps[line.steps.length - 1], value);
          ctx.beginPath();
          ctx.moveTo(x, y - 6 * scale);
          for (const [dx, dy] of [[5, 0], [0, 6], [-5, 0]]) ctx.lineTo(x + dx * scale, y + dy * scale);
          ctx.closePath();
          ctx.fill();
          ctx.stroke();
        }
      });
      ctx.restore();
    }

    // Tells the values at the cursor, the nearest line in bold.
    tell(u) {
      const { left, top } = u.cursor;
      this.tip.hidden = left === undefined || left < 0;
      if (this.tip.hidden) return;
      const step = u.posToVal(left, "x");
      const found = [];
      for (const line of this.lines) {
        const { steps } = line;
        if (hidden.has(line.run) || step < steps[0] || step > steps[steps.length - 1]) continue;
        const at = nearest(steps, step);
        found.push({ line, at, away: Math.abs(u.valToPos(line.mean[at], "y") - top) });
      }
      this.tip.hidden = found.length === 0;
      const near = found.reduce((best, of) => (best && best.away <= of.away ? best : of), null);
      const told = [...found].sort((a, b) => a.away - b.away).slice(0, TOLD);
      told.sort((a, b) => b.line.mean[b.at] - a.line.mean[a.at]);
      this.tip.replaceChildren(element("strong", {}, `step ${grouped(Math.round(step))}`));
      for (const of of told) this.tip.append(this.row(of, of === near));
      const rest = found.length - told.length;
      if (rest > 0) this.tip.append(element("strong", {}, `and ${rest} more`));
      this.placeTip(u.over.offsetLeft + left);
    }

    // Puts what is told beside the cursor, within the chart.
    placeTip(cursor) {
      const [room, width] = [this.plot.clientWidth, this.tip.offsetWidth];
      const beside = cursor < room / 2 ? cursor + 14 : cursor - 14 - width;
      this.tip.style.left = `${Math.max(0, Math.min(beside, room - width))}px`;
    }

    // A line of what is told.
    row({ line, at }, near) {
      const row = element("div", { className: `c${data.runs[line.run].color}${near ? " near" : ""}` });
      const kind = line.kind > 0 ? `, ${this.about.kinds[line.kind]}` : "";
      const spread = line.low ? ` (${shown(line.low[at])} to ${shown(line.high[at])})` : "";
      row.append(
        element("i", { className: "swatch" }),
        element("span", { className: "who" }, data.runs[line.run].name + kind),
        element("span", { className: "what" }, shown(line.mean[at]) + spread),
      );
      return row;
    }
  }

  // ---- Runs that are switched

  function show() {
    keys.forEach((key, run) => key.firstElementChild.setAttribute("aria-pressed", String(!hidden.has(run))));
    for (const row of document.querySelectorAll("tr[data-run]")) {
      row.classList.toggle("off", hidden.has(Number(row.dataset.run)));
    }
    charts.forEach((chart) => chart.update());
  }

  keys.forEach((key, run) => {
    const name = key.firstElementChild;
    const button = element("button", { type: "button", className: "key" });
    button.append(...name.childNodes);
    button.addEventListener("click", () => {
      if (!hidden.delete(run)) hidden.add(run);
      show();
    });
    const focus = (to) => charts.forEach((chart) => chart.update(to));
    button.addEventListener("pointerenter", () => hidden.has(run) || focus(run));
    button.addEventListener("pointerleave", () => focus());
    name.replaceWith(button);
  });

  for (const button of document.querySelectorAll("[data-show]")) {
    button.addEventListener("click", () => {
      hidden.clear();
      if (button.dataset.show === "none") keys.forEach((_, run) => hidden.add(run));
      show();
    });
  }

  // ---- Tables that sort

  function valueOf(row, column) {
    const cell = row.cells[column];
    if (cell.dataset.value !== undefined) return Number(cell.dataset.value);
    const text = cell.textContent.trim();
    return text === "–" ? null : text;
  }

  // Numbers by size, texts by their letters and the numbers in them.
  const order = (a, b) =>
    typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });

  function sort(table, column) {
    const heads = [...table.tHead.rows[0].cells];
    const falls = heads[column].getAttribute("aria-sort") === "ascending";
    heads.forEach((head) => head.removeAttribute("aria-sort"));
    heads[column].setAttribute("aria-sort", falls ? "descending" : "ascending");
    const rows = [...table.tBodies[0].rows].map((row) => [valueOf(row, column), row]);
    // Rows without a value come last, either way.
    rows.sort(([a], [b]) => (a === null) - (b === null) || (falls ? order(b, a) : order(a, b)));
    table.tBodies[0].append(...rows.map(([, row]) => row));
  }

  for (const table of document.querySelectorAll("table.sortable")) {
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      if (head.textContent.trim() === "") return;
      const button = element("button", { type: "button" });
      button.append(...head.childNodes);
      button.addEventListener("click", () => sort(table, column));
      head.append(button);
    });
  }

  // ---- What all charts have in common

  const rebuild = () => charts.forEach((chart) => chart.build());
  const change = (id, then) => {
    const control = document.getElementById(id);
    control.addEventListener("change", () => {
      then(control);
      rebuild();
    });
  };
  change("smoothing", (control) => (settings.smoothing = Number(control.value)));
  document.getElementById("log-steps").checked = settings.logSteps;
  change("log-steps", (control) => (settings.logSteps = control.checked));
  document.getElementById("reset").addEventListener("click", () => zoom(null));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", rebuild);
  data.charts.forEach((_, number) => charts.push(new Chart(number)));
  for (const part of document.querySelectorAll(".toolbar, .scripted")) part.hidden = false;
})();
