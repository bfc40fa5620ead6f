"use strict";
// A number opens the items behind it: cards lie in <template> elements, sets in a JSON script element.
(() => {
  const sets = JSON.parse(document.getElementById("sets").textContent);
  const drawer = document.getElementById("drawer");
  const list = document.getElementById("drawer-items");
  document.addEventListener("click", (event) => {
    const opener = event.target.closest("[data-set]");
    if (opener) open(sets[opener.dataset.set]);
    else if (event.target === drawer) drawer.close();
  });
  function open(set) {
    document.getElementById("drawer-title").textContent = set.title;
    const count = set.shown.length < set.n
      ? set.shown.length.toLocaleString("en") + " of " + set.n.toLocaleString("en") + " items shown."
      : set.n.toLocaleString("en") + (set.n === 1 ? " item." : " items.");
    document.getElementById("drawer-note").textContent = [count, set.note].filter(Boolean).join(" ");
    list.replaceChildren(
      ...set.shown.map((number) => document.getElementById("i" + number).content.cloneNode(true)),
    );
    drawer.showModal();
    drawer.scrollTop = 0;
  }
})();
