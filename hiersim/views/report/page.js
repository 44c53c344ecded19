"use strict";
// Sorting, the list of kernels and the words' explanations. Without it the page says the same and is only less handy.

const PAGE = 10;
const STEPS = [[1e12, "s"], [1e9, "ms"], [1e6, "us"], [1e3, "ns"], [1, "ps"]];

/** A number in four figures, as Python's %.4g prints it. */
function fourFigures(value) {
  return String(Number(value.toPrecision(4)));
}

/** Ticks of one picosecond as seconds with a prefix. */
function showTicks(ticks) {
  if (!ticks) return "0 s";
  const [factor, unit] = STEPS.find(([size]) => ticks >= size * 0.9995) || STEPS[STEPS.length - 1];
  return `${fourFigures(ticks / factor)} ${unit}`;
}

function showPercent(share) {
  return share > 0 && share < 0.0005 ? "<0.1 %" : `${(100 * share).toFixed(1)} %`;
}

/** Marks the column by which a table is sorted; returns true when the largest come first. */
function turn(head) {
  const largestFirst = head.getAttribute("aria-sort") !== "descending" &&
    (head.getAttribute("aria-sort") === "ascending" || head.classList.contains("n"));
  for (const other of head.parentElement.children) {
    if (other.hasAttribute("aria-sort")) other.setAttribute("aria-sort", "none");
  }
  head.setAttribute("aria-sort", largestFirst ? "descending" : "ascending");
  return largestFirst;
}

function compare(a, b, largestFirst) {
  const order = typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en");
  return largestFirst ? -order : order;
}

function valueOf(cell) {
  const given = cell.getAttribute("data-value");
  return given === null ? cell.textContent : given === "" ? -Infinity : Number(given);
}

function makeSortable(table) {
  for (const button of table.querySelectorAll("thead button")) {
    button.addEventListener("click", () => {
      const head = button.closest("th");
      const column = [...head.parentElement.children].indexOf(head);
      const largestFirst = turn(head);
      const body = table.tBodies[0];
      const rows = [...body.rows].map((row) => [valueOf(row.cells[column]), row]);
      rows.sort((a, b) => compare(a[0], b[0], largestFirst));
      body.append(...rows.map(([, row]) => row));
    });
  }
}

/** Leaves the rows that have all words of the box. */
function makeSearchable(part) {
  const rows = [...part.querySelector("table").tBodies[0].rows];
  const texts = rows.map((row) => row.textContent.toLowerCase());
  const search = part.querySelector("input[type='search']");
  search.addEventListener("input", () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    rows.forEach((row, index) => {
      row.hidden = !words.every((word) => texts[index].includes(word));
      count += row.hidden ? 0 : 1;
    });
    part.querySelector("[role='status']").textContent = words.length ? `${count.toLocaleString("en")} rows` : "";
  });
  part.querySelector(".tools").hidden = false;
}

/** The place of each word in alphabetic order: numbers are compared many times faster than words. */
function ranks(words) {
  const order = words.map((_, index) => index).sort((a, b) => compare(words[a], words[b], false));
  const found = new Array(words.length);
  order.forEach((index, place) => { found[index] = place; });
  return found;
}

/** The list of kernels: all of them are in the page as columns, a screenful at a time is in the table. */
function makeKernels(section) {
  const data = JSON.parse(section.querySelector("script[type='application/json']").textContent);
  const table = section.querySelector("table[data-table='kernels']");
  const tools = section.querySelector(".tools.of-kernels");
  const search = tools.querySelector("input[type='search']");
  const more = section.querySelector("button.more");
  const status = tools.querySelector("[role='status']");
  const count = data.time.length;
  const rank = { names: ranks(data.names), modules: ranks(data.modules) };
  const part = (index) => (k) => data.parts[data.part[k]][index];
  const parts = [0, 1, 2, 3, 4].map(part);
  const columns = [
    (k) => k, (k) => rank.names[data.name[k]], (k) => rank.modules[data.module[k]], (k) => data.time[k], ...parts,
  ];
  const folded = { names: data.names.map((name) => name.toLowerCase()), modules: data.modules.map((name) => name.toLowerCase()) };
  let order = Array.from({ length: count }, (_, k) => k);
  order.sort((a, b) => data.time[b] - data.time[a] || a - b);
  let found = order;
  let shown = PAGE;

  function cell(tag, text, kind) {
    const node = document.createElement(tag);
    node.textContent = text;
    if (kind) node.className = kind;
    if (tag === "th") node.scope = "row";
    return node;
  }
  function row(k) {
    const node = document.createElement("tr");
    node.append(
      cell("td", String(k), "n"), cell("th", data.names[data.name[k]]), cell("td", data.modules[data.module[k]], "text"),
      cell("td", showTicks(data.time[k]), "n"), ...parts.map((ticks) => cell("td", showTicks(ticks(k)), "n")),
    );
    return node;
  }
  function draw() {
    const rows = found.slice(0, shown).map(row);
    table.tBodies[0].replaceChildren(...rows);
    const total = found.reduce((sum, k) => sum + data.time[k], 0);
    const most = Math.min(shown, found.length);
    const share = found.length < count && data.total ? `, ${showPercent(total / data.total)} of all` : "";
    status.textContent = `${most.toLocaleString("en")} of ${found.length.toLocaleString("en")} kernels shown; they run ` +
      `${showTicks(total)}${share}`;
    more.hidden = shown >= found.length;
  }
  function filter() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const has = (name, module) => words.every((word) => name.includes(word) || module.includes(word));
    found = words.length ? order.filter((k) => has(folded.names[data.name[k]], folded.modules[data.module[k]])) : order;
    draw();
  }
  for (const button of table.querySelectorAll("thead button")) {
    button.addEventListener("click", () => {
      const head = button.closest("th");
      const value = columns[[...head.parentElement.children].indexOf(head)];
      const largestFirst = turn(head);
      order = order.slice().sort((a, b) => (largestFirst ? value(b) - value(a) : value(a) - value(b)) || a - b);
      filter();
    });
  }
  search.addEventListener("input", () => { shown = PAGE; filter(); });
  more.addEventListener("click", () => { shown += 100; draw(); });
  tools.hidden = false;
  draw();
}

/** Words with an entry in the glossary show it when one points at them or comes to them by keyboard. */
function makeTerms() {
  const tip = document.getElementById("tip");
  function show(event) {
    const term = event.target.closest(".term, [data-word]");
    if (!term) return;
    const word = term.dataset.word || term.getAttribute("href").slice(1);
    const text = document.getElementById(`${word}-text`);
    if (!text) return;
    tip.textContent = text.textContent;
    tip.hidden = false;
    const box = term.getBoundingClientRect();
    const left = Math.min(box.left, document.documentElement.clientWidth - tip.offsetWidth - 16);
    tip.style.left = `${Math.max(left, 16) + window.scrollX}px`;
    const above = box.bottom + tip.offsetHeight + 12 > window.innerHeight;
    tip.style.top = `${(above ? box.top - tip.offsetHeight - 8 : box.bottom + 8) + window.scrollY}px`;
  }
  function hide() { tip.hidden = true; }
  document.addEventListener("mouseover", show);
  document.addEventListener("focusin", show);
  document.addEventListener("mouseout", () => {
    const focused = document.querySelector(".term:focus-visible, [data-word]:focus-visible");
    if (focused) show({ target: focused }); else hide();
  });
  document.addEventListener("focusout", hide);
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });
}

document.querySelectorAll("table.sortable").forEach(makeSortable);
document.querySelectorAll(".searched").forEach(makeSearchable);
document.querySelectorAll("section.kernels").forEach(makeKernels);
makeTerms();
window.addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((node) => { node.open = true; }));
