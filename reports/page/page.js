// Tables sort by the column whose head is clicked: once up, twice down; cells without a value stay last.
for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const head = button.parentElement;
    const column = head.cellIndex;
    const numeric = head.classList.contains("number");
    const up = head.getAttribute("aria-sort") !== "ascending";
    for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const body = head.closest("table").tBodies[0];
    const key = (cell) => cell.dataset.key ?? cell.textContent;
    const keyed = Array.from(body.rows, (row) => [key(row.cells[column]), row]);
    const words = new Intl.Collator();
    const compare = ([x], [y]) => {
      if (x === "" || y === "") return (x === "") - (y === "");
      const order = numeric ? Number(x) - Number(y) : words.compare(x, y);
      return up ? order : -order;
    };
    const sorted = document.createDocumentFragment();
    for (const [, row] of keyed.sort(compare)) sorted.append(row);
    body.append(sorted);
  });
}
// A number that is made of several runs marks all of them; without this, its link still leads to the first.
document.addEventListener("click", (event) => {
  const link = event.target.closest("a.from");
  if (!link) return;
  for (const row of document.querySelectorAll("tr.from")) row.classList.remove("from");
  const start = link.getAttribute("href").slice(1);
  const first = link.dataset.runs ? link.dataset.runs.split(" ")[0] : "";
  const place = start.slice(0, start.length - first.length);
  for (const run of link.dataset.runs ? link.dataset.runs.split(" ") : []) {
    document.getElementById(place + run)?.classList.add("from");
  }
});
