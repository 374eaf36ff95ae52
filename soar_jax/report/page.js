"use strict";
// Tables of many rows: only rows in view are in the DOM. Text from runs is only ever set as textContent.
const ROW_HEIGHT = 26, MARGIN_ROWS = 8;
const WIDTHS = { run: 210, step: 60, dataset: 70, question: 420, answer: 110, true_answer: 100, subject: 100, level: 60,
  right: 60, well_posed: 90, solve_rate: 90, reward: 80, promoted: 80, policy: 150, test: 90, solved: 80, student: 70,
  student_step: 110, reference_answer: 150, completion: 330, verdict: 80, advantage: 90 };
const NAMES = { true_answer: "true answer", well_posed: "well posed", solve_rate: "solve rate", solved: "solved %",
  student_step: "student step", reference_answer: "reference answer" };
const STRINGS = new Set(["question", "answer", "true_answer", "subject", "policy", "test", "reference_answer",
  "completion", "verdict"]);
const CHOICES = new Set(["run", "subject", "policy", "test", "verdict"]);
const RANGES = new Set(["step", "reward", "level", "solved", "advantage"]);
const SEARCHED = ["question", "answer", "completion"];
const FLAGS = new Set(["right", "well_posed", "promoted"]);

async function unpack(id) {
  const bytes = Uint8Array.from(atob(document.getElementById(id).textContent.trim()), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

function element(parent, tag, text, className) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  parent.append(made);
  return made;
}

class Browser {
  constructor(root, data) {
    this.strings = data.strings;
    this.lower = data.strings.map((text) => text.toLowerCase());
    this.runs = data.runs;
    this.columns = data.columns;
    this.names = Object.keys(data.columns);
    this.size = data.columns.run.length;
    this.filters = new Map();
    this.sort = null;
    this.controls = element(root, "div", undefined, "controls");
    this.view = element(root, "div", undefined, "view");
    this.view.tabIndex = 0;
    this.makeHead();
    this.body = element(this.view, "div", undefined, "rows");
    this.makeControls();
    this.detail = element(root, "dl", undefined, "detail");
    this.view.addEventListener("scroll", () => this.draw());
    this.update();
  }

  // The value that is shown and sorted by.
  value(name, row) {
    const raw = this.columns[name][row];
    if (raw === null) return null;
    if (name === "run") return this.runs[raw];
    return STRINGS.has(name) ? this.strings[raw] : raw;
  }

  text(name, row) {
    const value = this.value(name, row);
    if (value === null) return name === "step" ? "final" : "–";
    return FLAGS.has(name) ? (value ? "yes" : "no") : String(value);
  }

  makeHead() {
    const head = element(this.view, "div", undefined, "line head");
    this.width = 0;
    for (const name of this.names) {
      const cell = element(head, "div");
      cell.style.width = `${WIDTHS[name]}px`;
      this.width += WIDTHS[name];
      const button = element(cell, "button", NAMES[name] ?? name);
      button.dataset.column = name;
      button.addEventListener("click", () => {
        this.sort = { name, down: this.sort?.name === name && !this.sort.down };
        for (const other of head.querySelectorAll("button")) {
          const arrow = other === button ? (this.sort.down ? " ↓" : " ↑") : "";
          other.textContent = (NAMES[other.dataset.column] ?? other.dataset.column) + arrow;
        }
        this.update();
      });
    }
    head.style.width = `${this.width}px`;
  }

  makeControls() {
    const search = element(this.controls, "input");
    search.type = "search";
    search.placeholder = "search the texts";
    search.dataset.filter = "search";
    search.addEventListener("input", () => {
      const wanted = search.value.trim().toLowerCase();
      const hit = this.lower.map((text) => text.includes(wanted));
      const columns = SEARCHED.filter((name) => this.names.includes(name)).map((name) => this.columns[name]);
      this.setFilter("search", wanted && ((row) => columns.some((column) => hit[column[row]])));
    });
    for (const name of this.names) {
      if (CHOICES.has(name)) this.makeChoice(name);
      else if (FLAGS.has(name)) this.makeFlag(name);
      else if (RANGES.has(name)) this.makeRange(name);
    }
    this.count = element(this.controls, "span", "", "count");
  }

  makeChoice(name) {
    const present = [...new Set(this.columns[name])].filter((raw) => raw !== null);
    this.makeSelect(name, present.map((raw) => [String(raw), name === "run" ? this.runs[raw] : this.strings[raw]]));
  }

  makeFlag(name) {
    this.makeSelect(name, [["1", `${NAMES[name] ?? name}: yes`], ["0", `${NAMES[name] ?? name}: no`]]);
  }

  makeSelect(name, options) {
    const select = element(this.controls, "select");
    select.dataset.filter = name;
    select.setAttribute("aria-label", name);
    element(select, "option", `${NAMES[name] ?? name}: all`).value = "";
    for (const [value, label] of options) element(select, "option", label).value = value;
    select.addEventListener("change", () => {
      const wanted = Number(select.value), column = this.columns[name];
      this.setFilter(name, select.value !== "" && ((row) => column[row] === wanted));
    });
  }

  makeRange(name) {
    const column = this.columns[name];
    const inputs = ["least", "most"].map((end) => {
      const input = element(this.controls, "input");
      input.type = "number";
      input.step = "any";
      input.placeholder = `${NAMES[name] ?? name}, ${end}`;
      input.dataset.filter = `${name}-${end}`;
      return input;
    });
    const change = () => {
      const [least, most] = inputs.map((input) => (input.value === "" ? null : Number(input.value)));
      const any = least === null && most === null;
      this.setFilter(name, !any && ((row) => column[row] !== null && (least === null || column[row] >= least)
        && (most === null || column[row] <= most)));
    };
    for (const input of inputs) input.addEventListener("input", change);
  }

  setFilter(name, accepts) {
    if (accepts) this.filters.set(name, accepts);
    else this.filters.delete(name);
    this.update();
  }

  update() {
    const tests = [...this.filters.values()];
    const shown = [];
    for (let row = 0; row < this.size; row++) if (tests.every((test) => test(row))) shown.push(row);
    if (this.sort) {
      const { name, down } = this.sort;
      const keys = new Map(shown.map((row) => [row, this.value(name, row)]));
      const order = (a, b) => {
        const x = keys.get(a), y = keys.get(b);
        if (x === null || y === null) return (x === null) - (y === null);  // unknown values last in both orders
        return (x < y ? -1 : x > y ? 1 : 0) * (down ? -1 : 1);
      };
      shown.sort(order);
    }
    this.shown = shown;
    this.count.textContent = `${shown.length.toLocaleString("en")} of ${this.size.toLocaleString("en")}`;
    this.body.style.height = `${shown.length * ROW_HEIGHT}px`;
    this.body.style.width = `${this.width}px`;
    this.view.scrollTop = 0;
    this.detail.replaceChildren();
    this.draw();
  }

  draw() {
    const first = Math.max(0, Math.floor(this.view.scrollTop / ROW_HEIGHT) - MARGIN_ROWS);
    const last = Math.min(this.shown.length, first + Math.ceil(this.view.clientHeight / ROW_HEIGHT) + 2 * MARGIN_ROWS);
    const lines = [];
    for (let place = first; place < last; place++) {
      const line = document.createElement("div");
      line.className = "line";
      line.style.top = `${place * ROW_HEIGHT}px`;
      for (const name of this.names) {
        const cell = element(line, "div", this.text(name, this.shown[place]));
        cell.style.width = `${WIDTHS[name]}px`;
        if (STRINGS.has(name)) cell.title = cell.textContent;
      }
      line.addEventListener("click", () => this.show(this.shown[place]));
      lines.push(line);
    }
    this.body.replaceChildren(...lines);
  }

  // Shows all of a row below the table, where long texts have room.
  show(row) {
    this.detail.replaceChildren();
    for (const name of this.names) {
      element(this.detail, "dt", NAMES[name] ?? name);
      element(this.detail, "dd", this.text(name, row), STRINGS.has(name) ? "text" : undefined);
    }
  }
}

for (const root of document.querySelectorAll(".browser")) {
  unpack(root.dataset.source).then((data) => {
    if (data.columns.run.length) new Browser(root, data);
    else element(root, "p", "none");
    root.dataset.ready = "yes";
  });
}
