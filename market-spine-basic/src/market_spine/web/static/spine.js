"use strict";
const root = document.documentElement;
const stored = (() => { try { return localStorage.getItem("theme"); } catch { return null; } })();
if (stored) root.dataset.theme = stored;

const toggle = document.querySelector("[data-theme-toggle]");
toggle.hidden = false;
toggle.addEventListener("click", () => {
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  try { localStorage.setItem("theme", root.dataset.theme); } catch { /* the choice lasts for this page alone */ }
});

for (const button of document.querySelectorAll("[data-copy]")) {
  if (!navigator.clipboard) continue;
  button.hidden = false;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(button.parentElement.querySelector("code").textContent);
    const before = button.innerHTML;
    button.textContent = "Copied";
    setTimeout(() => { button.innerHTML = before; }, 1500);
  });
}

for (const running of document.querySelectorAll("[data-again]")) {
  setTimeout(() => location.reload(), Number(running.dataset.again));
}

const steps = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
document.addEventListener("keydown", (event) => {
  if (event.target.matches("input, textarea, select") || event.ctrlKey || event.metaKey || event.altKey) return;
  const search = document.getElementById("q");
  if (event.key === "/" && search) {
    event.preventDefault();
    search.focus();
    return;
  }
  const linked = [...document.querySelectorAll("[data-key]")].find((each) => each.dataset.key === event.key);
  if (linked) {
    linked.click();
    return;
  }
  const cell = event.target.closest?.("[data-grid] td");
  const step = steps[event.key];
  if (cell && step) {
    const rows = [...cell.parentElement.parentElement.rows];
    const row = rows[rows.indexOf(cell.parentElement) + step[0]];
    const link = row?.cells[cell.cellIndex + step[1]]?.querySelector("a");
    if (link) {
      event.preventDefault();
      link.focus();
    }
  }
});

for (const grid of document.querySelectorAll(".gridwrap")) grid.scrollLeft = grid.scrollWidth;
