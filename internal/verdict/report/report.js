(() => {
  "use strict";
  const all = (selector, from = document) => [...from.querySelectorAll(selector)];
  const claims = all(".claim");
  const words = new Map(claims.map(c => [c, c.textContent.toLowerCase()]));
  const tools = document.querySelector(".tools");
  const query = document.getElementById("q");
  const buttons = all("[data-filter]");
  const count = document.getElementById("count");
  const none = document.getElementById("none");
  let wanted = "all";

  function apply() {
    const terms = query.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const c of claims) {
      const verdict = wanted === "all" || c.dataset.verdict === wanted || c.dataset.mark === wanted;
      const hit = verdict && terms.every(t => words.get(c).includes(t));
      c.hidden = !hit;
      if (hit) shown++;
    }
    for (const chapter of all(".chapter")) chapter.hidden = !chapter.querySelector(".claim:not([hidden])");
    none.hidden = shown > 0;
    count.textContent = shown === claims.length ? "" : shown + " of " + claims.length + " shown";
    for (const b of buttons) b.setAttribute("aria-pressed", String(b.dataset.filter === wanted));
  }

  function reveal() {
    let id = location.hash.slice(1);
    try { id = decodeURIComponent(id); } catch { return; }
    const target = id && document.getElementById(id);
    if (!target || !target.matches(".claim")) return;
    if (target.hidden) { query.value = ""; wanted = "all"; apply(); }
    target.open = true;
    target.scrollIntoView();
    target.querySelector("summary").focus({ preventScroll: true });
  }

  tools.hidden = false;
  tools.addEventListener("submit", e => e.preventDefault());
  query.addEventListener("input", apply);
  query.addEventListener("keydown", e => { if (e.key === "Escape") { query.value = ""; apply(); } });
  for (const b of buttons) b.addEventListener("click", () => { wanted = b.dataset.filter; apply(); });
  document.getElementById("open-all").addEventListener("click", () => claims.forEach(c => { if (!c.hidden) c.open = true; }));
  document.getElementById("close-all").addEventListener("click", () => claims.forEach(c => { c.open = false; }));
  document.addEventListener("keydown", e => {
    if (e.key === "/" && !e.ctrlKey && !e.metaKey && !e.altKey && document.activeElement !== query) {
      e.preventDefault();
      query.focus();
    }
  });
  addEventListener("hashchange", reveal);

  let closed = [];
  addEventListener("beforeprint", () => {
    closed = all("details:not([open])");
    closed.forEach(d => { d.open = true; });
  });
  addEventListener("afterprint", () => closed.forEach(d => { d.open = false; }));

  apply();
  reveal();
})();
