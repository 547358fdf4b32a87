"use strict";
(() => {
  const report = JSON.parse(document.getElementById("report").textContent);
  const number = (value) => Math.round(value).toLocaleString("en-US");
  const layer = (name) => (/^\d+$/.test(name) ? `layer ${name}` : name);

  // --- what is pointed at is explained
  const tip = document.getElementById("tip");
  document.addEventListener("pointermove", (event) => {
    const target = event.target instanceof Element ? event.target.closest("[data-tip]") : null;
    tip.hidden = !target;
    if (!target) return;
    tip.textContent = target.getAttribute("data-tip");
    const x = Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8);
    const y = event.clientY + 18 + tip.offsetHeight > innerHeight ? event.clientY - tip.offsetHeight - 10 : event.clientY + 18;
    tip.style.left = `${Math.max(8, x)}px`;
    tip.style.top = `${y}px`;
  });
  for (const gone of ["pointerleave", "scroll"]) document.addEventListener(gone, () => { tip.hidden = true; }, { passive: true });

  // --- timelines
  const SVG = "http://www.w3.org/2000/svg";
  const LEFT = 26, ROW = 30, GAP = 6, AXIS = 22;
  const ORDER = ["Q", "W", "L", "M", "S", "T"];

  function element(name, attributes, parent, text) {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== undefined) made.textContent = text;
    parent.append(made);
    return made;
  }

  // an instruction may begin before the one before it has ended: as many lanes as are needed
  function lanes(unit) {
    const free = [];
    const lane = unit.begin.map((begin, i) => {
      let at = free.findIndex((end) => end <= begin);
      if (at < 0) at = free.length;
      free[at] = unit.end[i];
      return at;
    });
    return { lane, count: Math.max(1, free.length) };
  }

  class Timeline {
    constructor(box) {
      const phase = report.phases[Number(box.dataset.phase)];
      this.run = phase.timeline;
      this.nanoseconds = 1000 / report.config.clock_mhz;
      this.units = ORDER.filter((name) => this.run.units[name]).map((name) => ({ name, ...this.run.units[name] }));
      for (const unit of this.units) Object.assign(unit, unit.name === "Q" ? { lane: unit.begin.map(() => 0), count: 1 } : lanes(unit));
      this.from = 0;
      this.to = this.run.cycles;
      this.controls(box);
      this.svg = element("svg", { width: "100%", height: this.units.length * (ROW + GAP) + AXIS, tabindex: 0, role: "img" }, box);
      this.svg.setAttribute("aria-label", `Timeline by unit, ${this.run.title}`);
      this.legend(box);
      this.handle();
      this.draw();
    }

    controls(box) {
      const bar = document.createElement("div");
      bar.className = "controls";
      box.append(bar);
      const button = (text, label, action) => {
        const made = document.createElement("button");
        made.textContent = text;
        made.setAttribute("aria-label", label);
        made.addEventListener("click", action);
        bar.append(made);
      };
      button("whole run", "Show the whole run", () => this.show(0, this.run.cycles));
      const numbers = this.run.layers.filter((name) => /^\d+$/.test(name));
      const middle = numbers[Math.floor(numbers.length / 2)];
      if (middle !== undefined) button(`layer ${middle}`, `Show layer ${middle}`, () => this.showLayer(middle));
      button("+", "Zoom in", () => this.zoom(0.5));
      button("−", "Zoom out", () => this.zoom(2));
      button("◂", "Earlier", () => this.move(-0.5));
      button("▸", "Later", () => this.move(0.5));
      this.window = document.createElement("span");
      this.window.className = "window quiet";
      bar.append(this.window);
    }

    legend(box) {
      const list = document.createElement("ul");
      list.className = "legend";
      const used = new Set(this.units.flatMap((unit) => unit.operator));
      this.run.operators.forEach((name, index) => {
        if (!used.has(index)) return;
        const item = document.createElement("li");
        const dot = document.createElement("span");
        dot.className = `dot op${index}`;
        item.append(dot, name);
        list.append(item);
      });
      box.append(list);
    }

    handle() {
      let held = null;
      this.svg.addEventListener("pointerdown", (event) => {
        held = { x: event.clientX, from: this.from, to: this.to };
        this.svg.setPointerCapture(event.pointerId);
      });
      this.svg.addEventListener("pointermove", (event) => {
        if (!held) return;
        const cycles = ((held.x - event.clientX) * (held.to - held.from)) / this.width();
        this.show(held.from + cycles, held.to + cycles);
      });
      for (const end of ["pointerup", "pointercancel"]) this.svg.addEventListener(end, () => { held = null; });
      this.svg.addEventListener("dblclick", (event) => this.zoom(0.5, this.at(event)));
      this.svg.addEventListener("wheel", (event) => {
        if (!event.ctrlKey && !event.metaKey) return;  // without, the page scrolls
        event.preventDefault();
        this.zoom(event.deltaY < 0 ? 0.8 : 1.25, this.at(event));
      }, { passive: false });
      this.svg.addEventListener("keydown", (event) => {
        const action = { "+": () => this.zoom(0.5), "-": () => this.zoom(2), ArrowLeft: () => this.move(-0.25), ArrowRight: () => this.move(0.25), Home: () => this.show(0, this.run.cycles) }[event.key];
        if (action) { event.preventDefault(); action(); }
      });
      new ResizeObserver(() => this.draw()).observe(this.svg);
    }

    width() { return Math.max(50, this.svg.clientWidth - LEFT); }
    at(event) { return this.from + ((event.clientX - this.svg.getBoundingClientRect().left - LEFT) / this.width()) * (this.to - this.from); }
    move(share) { const by = share * (this.to - this.from); this.show(this.from + by, this.to + by); }
    zoom(factor, about = (this.from + this.to) / 2) { this.show(about - (about - this.from) * factor, about + (this.to - about) * factor); }

    show(from, to) {
      const span = Math.min(this.run.cycles, Math.max(40, to - from));
      this.from = Math.min(Math.max(0, from), this.run.cycles - span);
      this.to = this.from + span;
      this.draw();
    }

    showLayer(name) {
      const index = this.run.layers.indexOf(name);
      let from = Infinity, to = 0;
      for (const unit of this.units) {
        if (unit.name === "W" || unit.name === "L" || unit.name === "Q") continue;  // these run ahead
        unit.layer.forEach((own, i) => {
          if (own === index) { from = Math.min(from, unit.begin[i]); to = Math.max(to, unit.end[i]); }
        });
      }
      this.show(from, to);
    }

    draw() {
      const { svg, run } = this;
      if (!svg.clientWidth) return;  // in a panel that is not shown
      svg.replaceChildren();
      const width = this.width(), scale = width / (this.to - this.from);
      this.window.textContent = `cycles ${number(this.from)} – ${number(this.to)} of ${number(run.cycles)}`;
      this.units.forEach((unit, row) => {
        const top = row * (ROW + GAP);
        element("text", { x: 0, y: top + ROW / 2 + 5, class: "unit" }, svg, unit.name);
        element("rect", { x: LEFT, y: top, width, height: ROW, class: "lane" }, svg);
      });
      this.axis(width, scale);
      this.units.forEach((unit, row) => {
        const top = row * (ROW + GAP);
        const height = ROW / unit.count;
        const last = new Array(unit.count).fill(null);
        const flush = (piece) => {
          if (!piece) return;
          const shape = { x: piece.x.toFixed(2), y: (top + piece.lane * height).toFixed(2), width: Math.max(0.6, piece.end - piece.x).toFixed(2), height: Math.max(1, height - 1).toFixed(2), class: `span op${piece.operator}` };
          element("rect", { ...shape, "data-tip": piece.count > 1 ? this.several(unit, piece) : this.one(unit, piece.first) }, svg);
        };
        unit.begin.forEach((begin, i) => {
          const end = unit.end[i];
          if (end < this.from || begin > this.to) return;
          const x = LEFT + Math.max(0, (begin - this.from) * scale), stop = LEFT + Math.min(width, (end - this.from) * scale);
          const lane = unit.lane[i], before = last[lane];
          // what is too narrow to be seen apart is drawn as one
          if (before && before.operator === unit.operator[i] && x - before.end < 0.8 && (stop - x < 2 || before.end - before.x < 2 || before.count > 1)) {
            before.end = Math.max(before.end, stop);
            before.count += 1;
            before.final = i;
            return;
          }
          flush(before);
          last[lane] = { x, end: stop, lane, operator: unit.operator[i], first: i, final: i, count: 1 };
        });
        last.forEach(flush);
      });
    }

    axis(width, scale) {
      const top = this.units.length * (ROW + GAP);
      const power = 10 ** Math.floor(Math.log10(80 / scale));
      const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s * scale >= 80);
      for (let cycle = Math.ceil(this.from / step) * step; cycle <= this.to; cycle += step) {
        const x = LEFT + (cycle - this.from) * scale;
        element("line", { x1: x, x2: x, y1: 0, y2: top, class: "grid" }, this.svg);
        const anchor = x > LEFT + width - 30 ? "end" : "middle";
        element("text", { x, y: top + 12, class: "axis", "text-anchor": anchor }, this.svg, number(cycle));
      }
    }

    times(begin, end) {
      const microseconds = ((end - begin) * this.nanoseconds) / 1000;
      return `cycles ${number(begin)} – ${number(end)}: ${number(end - begin)}, ${microseconds.toFixed(2)} µs`;
    }

    one(unit, i) {
      const what = `${this.run.operators[unit.operator[i]]}, ${layer(this.run.layers[unit.layer[i]])}`;
      if (unit.name === "Q") return `${this.run.kinds[unit.kind[i]]} dispatched in cycle ${number(unit.begin[i])}\n${what}`;
      const kind = this.run.merged ? unit.name : `${unit.name}: ${this.run.kinds[unit.kind[i]]} (instruction ${unit.pc[i]})`;
      return `${kind}\n${what}\n${this.times(unit.begin[i], unit.end[i])}`;
    }

    several(unit, piece) {
      const layers = [layer(this.run.layers[unit.layer[piece.first]]), layer(this.run.layers[unit.layer[piece.final]])];
      const where = layers[0] === layers[1] ? layers[0] : `${layers[0]} to ${layers[1]}`;
      return `${unit.name}: ${piece.count} instructions\n${this.run.operators[piece.operator]}, ${where}\n${this.times(unit.begin[piece.first], unit.end[piece.final])}`;
    }
  }
  // each draws itself when it is shown: its size changes then
  document.querySelectorAll(".timeline").forEach((box) => new Timeline(box));

  // --- one phase at a time
  const tabs = [...document.querySelectorAll("[role=tab]")];
  const panels = [...document.querySelectorAll(".panel")];
  function choose(index) {
    tabs.forEach((tab, i) => {
      tab.setAttribute("aria-selected", String(i === index));
      tab.tabIndex = i === index ? 0 : -1;
    });
    panels.forEach((panel, i) => { panel.hidden = i !== index; });
  }
  tabs.forEach((tab, i) => {
    tab.addEventListener("click", () => choose(i));
    tab.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!step) return;
      const next = (i + step + tabs.length) % tabs.length;
      choose(next);
      tabs[next].focus();
    });
  });
  panels.forEach((panel, i) => { panel.setAttribute("role", "tabpanel"); panel.setAttribute("aria-labelledby", `tab${i}`); });
  if (tabs.length > 1) {
    document.querySelector(".tabs").hidden = false;
    choose(tabs.length - 1);
  }
})();
