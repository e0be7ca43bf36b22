// The leaderboard's page: sorts tables by any column, hides columns and rows, opens the images behind a number.
// Texts of others (prompts, names) are written as text alone, never as HTML. Without this script the page stands as it
// is, with all its numbers.
"use strict";

const board = document.getElementById("board");
const filters = document.getElementById("filters");
const dialog = document.getElementById("behind");
const data = JSON.parse(document.getElementById("data").textContent);

function make(tag, name, text) {
  const element = document.createElement(tag);
  if (name) element.className = name;
  if (text) element.textContent = text;
  return element;
}

// What stands in a head or a cell becomes the label of a button.
function asButton(cell, name, act) {
  const button = make("button", name);
  button.type = "button";
  button.append(...cell.childNodes);
  cell.append(button);
  button.addEventListener("click", act);
}

// A column of numbers (its head has the class n) is sorted by them, null where there is none; others by their text.
function valueOf(row, column, numeric) {
  const cell = row.cells[column];
  if (numeric) return cell.dataset.value === undefined ? null : Number(cell.dataset.value);
  return cell.dataset.name ?? cell.textContent;
}

// Numbers from the highest, texts from A; a second time the other way round. Rows without a number are last in both.
function sortBy(table, column) {
  const heads = [...table.tHead.rows[0].cells];
  const numeric = heads[column].classList.contains("n");
  const usual = numeric ? "descending" : "ascending";
  const turned = numeric ? "ascending" : "descending";
  const order = heads[column].getAttribute("aria-sort") === usual ? turned : usual;
  for (const head of heads) head.removeAttribute("aria-sort");
  heads[column].setAttribute("aria-sort", order);
  const sign = order === "ascending" ? 1 : -1;
  const rows = [...table.tBodies[0].rows].sort((one, other) => {
    const [a, b] = [valueOf(one, column, numeric), valueOf(other, column, numeric)];
    if (a === null || b === null) return (a === null) - (b === null);
    return sign * (numeric ? a - b : a.localeCompare(b, undefined, { numeric: true }));
  });
  table.tBodies[0].append(...rows);
}

function applyFilters() {
  const { reward, part, name, published } = filters.elements;
  const heads = [...board.tHead.rows[0].cells];
  const shown = heads.map((head, column) => column === 0
    || ((!reward?.value || head.dataset.reward === reward.value) && (!part?.value || head.dataset.part === part.value)));
  const sought = name.value.trim().toLowerCase();
  for (const row of board.rows) {
    [...row.cells].forEach((cell, column) => { cell.hidden = !shown[column]; });
  }
  for (const row of board.tBodies[0].rows) {
    const unwanted = row.classList.contains("published") && !published.checked;
    row.hidden = unwanted || !row.cells[0].dataset.name.toLowerCase().includes(sought);
  }
}

function card([picture, score, place, prompt, path]) {
  const frame = make("div", "frame");
  if (picture === null) {
    frame.append(make("span", "note", "not in this file"));
  } else {
    const image = make("img");
    image.src = data.pictures[picture];
    image.alt = "";
    frame.append(image);
  }
  const told = make("div", "numbers");
  told.append(make("strong", "", score), place ? ` · ${place}` : "");
  const caption = make("figcaption");
  caption.append(told, make("p", "prompt", data.prompts[prompt]), make("div", "path", path));
  const shown = make("figure", "example");
  shown.append(frame, caption);
  return shown;
}

function open(number) {
  const cell = data.cells[number];
  const inside = dialog.querySelector(".inside");
  dialog.querySelector("h2").textContent = cell.title;
  inside.replaceChildren(...cell.lines.map((line) => make("p", "about", line)));
  for (const [title, examples] of cell.examples) {
    const row = make("div", "examples");
    row.append(...examples.map(card));
    inside.append(make("h3", "", title), row);
  }
  dialog.showModal();
  dialog.scrollTop = 0;
}

for (const table of document.querySelectorAll("table.sortable")) {
  [...table.tHead.rows[0].cells].forEach((head, column) => asButton(head, "sort", () => sortBy(table, column)));
}
for (const cell of board.querySelectorAll("td[data-cell]")) {
  asButton(cell, "open", () => open(cell.dataset.cell));
}
filters.addEventListener("input", applyFilters);
filters.addEventListener("submit", (event) => event.preventDefault());
dialog.querySelector(".close").addEventListener("click", () => dialog.close());
dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
filters.hidden = false;
applyFilters();
