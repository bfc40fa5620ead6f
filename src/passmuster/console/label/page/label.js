"use strict";
// One decision at a time. Items wait here before they are needed; answers go out one after the other, and "saved" shows
// only when the server has said that an answer is on disk. What is not saved stays on the screen.
(() => {
  const $ = (id) => document.getElementById(id);
  const PRELOAD_BELOW = 8, POLL_MS = 600, ALIVE_MS = 4000, TIMEOUT_MS = 15000, LONG_TEXT = 260, SHOWN_RECENT = 30;
  const MAX_CLASSES = 100; // buttons and lines at once; typing finds the others
  const place = (sessionStorage.place ||= crypto.getRandomValues(new Uint32Array(2)).join("-"));

  let state = null; // what the server said last
  let queue = []; // items to ask; the first is on the screen
  let outbox = []; // answers that are not on disk yet, oldest first
  let recent = []; // what was answered here, oldest first
  let sending = false, filling = false, unfilled = false, lost = "", note = "", asked = 0;
  let on = -1; // the highlighted one of the classes on the screen; classes.length is "add"
  let moved = false; // whether the highlight was moved by hand since the item came
  let chosen = new Set(), chosenFor = "", asksNone = false; // of sets: what Enter would save for the item on the screen
  let mode = "one", pictures = [], odd = new Set(), focusAt = 0, shownKey = "";
  let gridClass = "", gridAsked = 0, gridMissed = false; // what the pictures on the screen are taken for; the list may be ahead of it

  // --- talking to the server

  // What this page has, wherever it shows: an answer that is under way is here, and so is a picture of the grid.
  const here = () => [...queue, ...pictures, ...outbox.flatMap((entry) => entry.items)];

  async function post(name, body = {}) {
    const held = here().map((item) => item.key), ticket = ++asked;
    let answer;
    try {
      answer = await fetch(name, {
        method: "POST", headers: { "content-type": "application/json" }, signal: AbortSignal.timeout(TIMEOUT_MS),
        body: JSON.stringify({ place, held, ...body }),
      });
    } catch {
      throw { lost: true, what: "The label server does not answer." };
    }
    let said;
    try {
      said = await answer.json();
    } catch {
      throw { lost: true, what: "The label server answered with something that cannot be read." };
    }
    if (answer.ok) return { ...said, ticket };
    const error = said.error || {};
    if (answer.status === 403) throw { lost: true, what: "The label server was started anew, and this address is no longer valid." };
    throw { lost: answer.status >= 500, code: error.code, what: [error.what, error.next].filter(Boolean).join(". ") };
  }

  function take(said) {
    if (state && said.ticket < state.ticket) return; // an older question, answered later
    const held = shownClasses()[on], atAdd = on >= 0 && held === undefined; // the highlight stays where it is seen
    state = said;
    // Asked elsewhere while this page lay in the background; what is on the screen stays, and its answer counts.
    queue = queue.filter((item, i) => i === 0 || !said.gone.includes(item.key));
    queue.forEach((item, i) => {
      const guess = said.guesses[item.key];
      const settled = i === 0 && (item.guess || moved); // what a person is looking at does not change under the finger
      if (guess && item.role === "train" && !settled && guess[0] !== item.denied) [item.guess, item.confidence] = guess;
    });
    if (held !== undefined || atAdd) on = atAdd ? shownClasses().length : shownClasses().indexOf(held);
  }

  async function fill(first = false) {
    unfilled = filling; // what was answered meanwhile may have made room for more
    if (filling || lost || mode === "grid") return;
    filling = true;
    const grids = gridAsked;
    try {
      const said = await post("next", { recent: first });
      const known = new Set(here().map((item) => item.key));
      // Pictures of a grid that was opened meanwhile may be among them; what is left out here is given again.
      if (grids === gridAsked && mode === "one") queue.push(...said.items.filter((item) => !known.has(item.key)));
      else unfilled = true;
      if (first) recent = said.recent;
      take(said);
      found();
    } catch (problem) {
      lose(problem);
    } finally {
      filling = false;
    }
    highlightGuess(false);
    if (unfilled) return fill();
    render();
    if (state && !queue.length && state.choosing && !lost) setTimeout(fill, POLL_MS);
    return undefined;
  }

  // --- labels: the name of a class, or of a multi-label project a set of them, written as the server writes it

  const sets = () => state?.task === "multi-label";
  const members = (label) => (sets() && label.startsWith("[") ? JSON.parse(label) : label ? [label] : []);
  const joined = (names) => (names.length === 1 ? names[0] : JSON.stringify([...names].sort()));
  const inWords = (label) => (!sets() || !label ? label : members(label).join(" + ") || "none of the classes");

  function answer(label, isNew = false) {
    if (lost || !queue.length || !label) return;
    const item = queue.shift();
    outbox.push({ items: [item], name: "answer", body: { keys: [item.key], label, new: isNew }, label });
    if (isNew && !sets() && !state.classes.includes(label)) state.classes.push(label);
    after();
  }

  function skip() {
    if (lost || !queue.length) return;
    const item = queue.shift();
    outbox.push({ items: [item], name: "skip", body: { key: item.key }, label: "" });
    after();
  }

  function untype() { // nothing is typed any more, and digits are keys again
    $("filter").value = "";
    $("filter").blur();
  }

  function settle() { // on to another item: what had the focus among the last one's things has nothing to say of this one
    untype();
    if (document.activeElement?.closest("#choose, #recent")) document.activeElement.blur();
  }

  function after() {
    settle();
    note = "";
    highlightGuess();
    render();
    send();
  }

  // Of sets: what is chosen starts from what was said earlier, else from the model's guess, and is toggled.
  function startSet() {
    const item = queue[0];
    if (!sets() || !item || (chosenFor === item.key && (moved || asksNone || item.touched))) return;
    chosen = new Set(members(item.earlier || item.guess || ""));
    chosenFor = item.key;
    asksNone = false;
  }

  function toggle(name, isNew = false) {
    if (lost || !queue.length || !name) return;
    queue[0].touched = true;
    chosen.has(name) ? chosen.delete(name) : chosen.add(name);
    if (isNew && !state.classes.includes(name)) {
      state.classes.push(name);
      queue[0].made = true;
    }
    untype();
    note = "";
    asksNone = false;
    moved = false;
    on = -1;
    render();
    speak((chosen.has(name) ? "chosen: " : "not chosen: ") + name);
  }

  function saveSet() {
    const item = queue[0];
    if (lost || !item) return;
    if (!chosen.size && !asksNone) { // an answer, too; but not one to be given by a slip of the finger
      asksNone = true;
      note = "Nothing is chosen. Enter once more says: none of the classes.";
      speak(note);
      return render();
    }
    const names = [...chosen];
    chosenFor = "";
    asksNone = false;
    answer(joined(names), Boolean(item.made));
  }

  function choose(name, isNew = false) {
    if (sets()) toggle(name, isNew);
    else answer(name, isNew);
  }

  // Answers leave in order, one at a time; the first that cannot be saved stops everything and stays on the screen.
  async function send() {
    if (sending) return;
    sending = true;
    while (outbox.length) {
      const entry = outbox[0];
      render();
      try {
        const said = await post(entry.name, entry.body);
        outbox.shift();
        found();
        take(said);
        recent.push({ label: said.label ?? entry.label, items: entry.items.slice(0, 1), n: entry.items.length });
        recent = recent.slice(-SHOWN_RECENT);
        const others = Object.entries(said.others || {}).map(([who, label]) => who + " said " + inWords(label));
        note = others.length ? "Saved. Of the last one, " + others.join(", ") + ". Both are kept." : "";
        speak(entry.label ? "saved: " + inWords(entry.label) : "skipped");
      } catch (problem) {
        if (problem.lost) {
          lose(problem);
          break;
        }
        outbox.shift();
        if (["label.name", "label.class"].includes(problem.code)) {
          queue.unshift(...entry.items);
          state.classes = state.classes.filter((name) => name !== entry.label);
        }
        note = "Not saved: " + problem.what;
        speak(note);
      }
    }
    sending = false;
    if (!lost && mode === "one" && queue.length < PRELOAD_BELOW) fill();
    highlightGuess(false);
    render();
  }

  async function undo() {
    if (lost || sending || !state?.can_undo) return;
    try {
      const said = await post("undo");
      const keys = new Set(said.items.map((item) => item.key));
      queue = [...said.items, ...queue.filter((item) => !keys.has(item.key))];
      recent.pop();
      take(said);
      note = said.label ? "Taken back: " + inWords(said.label) : "Taken back: a skip";
      if (sets() && queue[0] && said.label) queue[0].earlier = said.label;
      chosenFor = "";
      speak(note);
      if (mode === "grid") setMode("one");
    } catch (problem) {
      if (problem.lost) lose(problem);
      else note = problem.what;
    }
    settle();
    highlightGuess();
    render();
  }

  function again(turn) { // change an earlier answer: it is asked once more
    if (lost || mode !== "one") return;
    queue = [{ ...turn.items[0], earlier: turn.label }, ...queue.filter((item) => item.key !== turn.items[0].key)];
    chosenFor = "";
    settle();
    highlightGuess();
    render();
  }

  function lose(problem) {
    lost = problem.what;
    render();
    speak(problem.what + " Your answer is not saved.");
  }

  function found() {
    if (lost) speak("The label server answers again.");
    lost = "";
  }

  async function retry() {
    try {
      take(await post("state"));
      found();
      render();
      if (outbox.length) send();
      else if (gridMissed && mode === "grid") loadGrid();
      else fill();
    } catch (problem) {
      if (problem.lost) lost = problem.what;
      render();
    }
  }
  setInterval(() => {
    if (!document.hidden && !sending && !filling) retry();
  }, ALIVE_MS);
  addEventListener("pagehide", () => { // what this page holds is free for others; a page that comes back takes it again
    navigator.sendBeacon("bye", new Blob([JSON.stringify({ place })], { type: "application/json" }));
  });
  addEventListener("pageshow", (event) => event.persisted && fill());
  addEventListener("beforeunload", (event) => {
    if (outbox.length) event.preventDefault();
  });

  // --- classes

  const words = (text) => text.toLowerCase().split(/[^\p{L}\p{N}]+/u).filter(Boolean);

  function shownClasses() {
    return fittingClasses().slice(0, MAX_CLASSES);
  }

  function fittingClasses() {
    const typed = words($("filter").value);
    const all = state?.classes || [];
    const likely = queue[0]?.earlier || queue[0]?.guess; // of very many, it must be among those that show
    if (!typed.length) return all.length > MAX_CLASSES && likely ? [likely, ...all.filter((name) => name !== likely)] : all;
    const fits = (name) => typed.every((word) => words(name).some((part) => part.startsWith(word)));
    const holds = (name) => !fits(name) && name.toLowerCase().includes($("filter").value.trim().toLowerCase());
    const begins = (name) => name.toLowerCase().startsWith($("filter").value.trim().toLowerCase());
    const is = (name) => name.toLowerCase() === $("filter").value.trim().toLowerCase();
    return [...all.filter(fits).sort((a, b) => is(b) - is(a) || begins(b) - begins(a)), ...all.filter(holds)];
  }

  // The digit of each class: its place, 1 to 9, then 0; the same for every item. Where names have numbers in them, a digit
  // may be the beginning of one: then it is typed like a letter, but where each name has one digit of its own, which is its key.
  function keysOf(all) {
    const numbers = all.map((name) => name.match(/\p{Nd}+/gu) || []);
    if (!numbers.some((found) => found.length)) return new Map(all.slice(0, 10).map((name, i) => [name, String((i + 1) % 10)]));
    const own = numbers.map((found) => (found.length === 1 && /^\d$/.test(found[0]) ? found[0] : ""));
    return new Map(own.every(Boolean) && new Set(own).size === own.length ? all.map((name, i) => [name, own[i]]) : []);
  }

  // While something is being typed digits are typed, too: no answer comes of half a name.
  const typing = () => document.activeElement === $("filter") || $("filter").value !== "";
  const digits = () => (typing() ? new Map() : keysOf(state.classes));

  function newName() {
    const name = $("filter").value.trim();
    return name && !state.classes.some((known) => known.toLowerCase() === name.toLowerCase()) ? name : "";
  }

  function highlightGuess(always = true) {
    if (!always && (moved || $("filter").value)) return;
    moved = false;
    const guess = sets() ? "" : queue[0]?.earlier || queue[0]?.guess;
    on = $("filter").value.trim() ? (shownClasses().length ? 0 : -1) : shownClasses().indexOf(guess ?? "");
  }

  function move(step) {
    moved = true;
    const inside = document.activeElement?.closest("#classes");
    const classes = shownClasses();
    const last = classes.length - 1 + (newName() ? 1 : 0);
    on = on < 0 ? (step > 0 ? 0 : last) : Math.min(last, Math.max(0, on + step));
    render();
    if (inside) (on < classes.length ? $("classes").querySelectorAll("button")[on] : $("add-button"))?.focus();
    document.querySelector(".choose .on")?.scrollIntoView({ block: "nearest" });
  }

  function moveIn(list, from, step) {
    const able = [...list.querySelectorAll("button:enabled")];
    able[able.indexOf(from) + step]?.focus();
  }

  function columns(list) {
    const rows = [...list.children];
    return Math.max(1, rows.filter((row) => row.offsetTop === rows[0].offsetTop).length);
  }

  function accept() {
    const classes = shownClasses();
    if (sets() && !moved && !$("filter").value.trim()) return saveSet();
    if (on >= 0 && on < classes.length) return choose(classes[on]);
    if (on === classes.length && newName()) return choose(newName(), true);
    return undefined;
  }

  // --- the screen

  function element(tag, content, properties = {}) {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...[content].flat());
    return made;
  }

  function breakable(name) { // long names break after their own joints
    const parts = name.split(/(?<=[_\/.-])/).flatMap((part) => [part, document.createElement("wbr")]);
    return element("span", parts);
  }

  // Draw what is in a list anew; the button at the place that had the focus has it afterwards.
  function redraw(list, made) {
    const at = [...list.querySelectorAll("button")].indexOf(document.activeElement);
    list.replaceChildren(...made);
    if (at >= 0) list.querySelectorAll("button")[at]?.focus({ preventScroll: true });
  }

  function picture(item, alt) {
    const image = element("img", [], { src: item.image, alt });
    image.width = item.width;
    image.height = item.height;
    if (Math.max(item.width, item.height) < 200) image.classList.add("small");
    else image.classList.add("photo");
    return image;
  }

  function render() {
    const unsaved = lost && outbox.length ? outbox[0] : null;
    const item = unsaved ? unsaved.items[0] : queue[0];
    document.body.classList.toggle("frozen", Boolean(lost));
    renderTop(unsaved);
    renderAside();
    if (mode === "grid") return renderGrid();
    $("item").classList.toggle("unsaved", Boolean(unsaved));
    renderItem(item);
    $("choose").hidden = !item;
    $("skip").disabled = Boolean(lost) || !item;
    $("undo").disabled = Boolean(lost) || sending || !state?.can_undo;
    if (item && state) renderClasses(item, unsaved);
  }

  function renderTop(unsaved) {
    $("project").textContent = state ? state.project : "";
    $("bar").max = state ? Math.max(1, state.n, state.n_done) : 1;
    $("bar").value = state ? state.n_done : 0;
    $("count").textContent = state ? state.n_done.toLocaleString("en") + " of " + state.n.toLocaleString("en") : "";
    const status = $("status");
    status.className = "status" + (lost ? " lost" : outbox.length ? "" : recent.length ? " saved" : "");
    status.textContent = lost ? "not saved" : outbox.length ? "saving…" : recent.length ? "saved" : " ";
    if (lost && !outbox.length) status.textContent = "no server";
    $("alarm").hidden = !lost;
    if (lost) {
      $("alarm-title").textContent = lost;
      const kept = unsaved && unsaved.label ? "Your answer “" + inWords(unsaved.label) + "” is not saved" : unsaved ? "Your skip is not saved" : "Nothing is lost: every answer is saved";
      const waits = outbox.length > 1 ? " (and " + (outbox.length - 1) + " more)" : "";
      $("alarm-text").textContent = kept + waits + (unsaved ? "; it stays here, and is sent as soon as the server answers." : ".") +
        " If it was stopped, start it again (muster label --serve) and open the address that it prints.";
    }
    $("modes").hidden = !(state && state.modality === "image");
    $("mode-one").setAttribute("aria-pressed", mode === "one");
    $("mode-grid").setAttribute("aria-pressed", mode === "grid");
    $("mode-grid").disabled = !state || !Object.keys(state.guessed).length;
    $("mode-grid").title = $("mode-grid").disabled ? "Needs a trained model and labels of two classes" : "";
  }

  function renderItem(item) {
    const purpose = $("purpose"), content = $("content");
    purpose.classList.toggle("test", item?.role === "test");
    if (!item) {
      shownKey = "";
      purpose.textContent = "";
      $("name").textContent = "";
      content.replaceChildren(...ending());
      return;
    }
    const [kind, why] = item.role === "test" ? ["For the test", "what the model thinks is not shown, so that it cannot sway you"] : ["For learning", item.why];
    purpose.replaceChildren(element("b", kind), " · " + why + (item.earlier ? " · you said " + inWords(item.earlier) : ""));
    if (shownKey === item.key) return; // the same item: leave it, its scroll position too
    shownKey = item.key;
    $("name").textContent = item.id;
    if (item.image) {
      content.replaceChildren(picture(item, "the picture to label, " + item.width + " by " + item.height + " pixels"));
    } else {
      const long = item.text.length > LONG_TEXT;
      const parts = [element("p", item.text, { className: long ? "text long" : "text" })];
      if (item.more) parts.push(element("p", "… and " + item.more.toLocaleString("en") + " more characters", { className: "quiet" }));
      content.replaceChildren(...parts);
    }
    content.scrollTop = 0;
    content.tabIndex = content.scrollHeight > content.clientHeight ? 0 : -1;
  }

  function ending() {
    const enough = state && state.n_done >= state.n;
    if (!state || (state.choosing && !enough) || outbox.length || sending || filling) return [element("p", "Choosing what to ask…", { className: "quiet" })];
    const away = enough ? 0 : state.n_elsewhere;
    const title = enough ? state.n_done.toLocaleString("en") + " labels. Thank you."
      : away ? "The rest is open elsewhere." : "Nothing waits for a label.";
    const text = away ? away.toLocaleString("en") + (away === 1 ? " item is" : " items are") + " shown in another tab or browser. "
        + "What is not answered there comes here when it is closed, or two minutes after it was last heard of."
      : state.problem && !enough ? state.problem : "End the server with Ctrl-C; then: muster train";
    const more = element("button", "Ask for 20 more", { type: "button", className: "main" });
    more.addEventListener("click", async () => {
      try {
        take(await post("more", { n: 20 }));
      } catch (problem) {
        lose(problem);
      }
      fill();
    });
    return [element("h1", title), element("p", text, { className: "quiet" }), element("p", more, { className: "acts" })];
  }

  function renderClasses(item, unsaved) {
    const fitting = fittingClasses(), classes = fitting.slice(0, MAX_CLASSES);
    const list = $("classes");
    list.classList.toggle("many", state.classes.length > 12);
    const guess = $("guess");
    if (note) guess.textContent = note;
    else if (item.role === "test") guess.textContent = "";
    else if (item.guess) redraw(guess, guessed(item, !unsaved && classes[on] === item.guess));
    else guess.textContent = state.has_model ? "The model has no guess for this one." : "There is no model yet, so there is no guess.";
    startSet();
    const picked = (name) => sets() && (unsaved ? members(unsaved.label).includes(name) : chosen.has(name));
    redraw(list, classes.map((name, i) => {
      const button = element("button", [element("kbd", "", { ariaHidden: "true" }), breakable(name)], { type: "button" });
      button.classList.toggle("on", i === on && !unsaved || unsaved?.label === name);
      button.classList.toggle("said", !sets() && item.earlier === name);
      if (sets()) {
        button.classList.toggle("on", picked(name));
        button.classList.toggle("at", i === on && !unsaved);
        button.setAttribute("aria-pressed", picked(name));
      }
      if (i === on) button.setAttribute("aria-current", "true");
      button.dataset.name = name;
      button.tabIndex = i === Math.min(Math.max(on, 0), classes.length - 1) ? 0 : -1; // one stop; arrows move from there
      button.disabled = Boolean(lost);
      button.addEventListener("click", () => choose(name));
      return element("li", button);
    }));
    $("save").hidden = !sets();
    $("save").disabled = Boolean(lost);
    $("save").replaceChildren(element("kbd", "enter"), " Save: " + inWords(joined([...chosen])));
    const typed = $("filter").value.trim(), name = newName();
    const counted = (n) => n.toLocaleString("en"), more = fitting.length - classes.length;
    const shown = typed ? counted(fitting.length) + " of " + counted(state.classes.length) + " classes" : "";
    const hidden = more ? counted(more) + " more classes are not shown: type to find them" : "";
    $("found").textContent = state.classes.length ? [shown, hidden].filter(Boolean).join("; ") : "There is no class yet. Type the name of the first one.";
    $("add").hidden = !name;
    $("add-button").textContent = "Add “" + name + "” as a new class";
    $("add-button").classList.toggle("on", Boolean(name) && on === classes.length);
    $("filter").disabled = Boolean(lost);
    renderKeys();
  }

  // What the keys do now. Called also when the field gets or loses the focus, so nothing is drawn anew: what is being
  // clicked would be gone before the click.
  function renderKeys() {
    if (!state || !queue.length) return;
    const keys = digits(), writing = typing();
    $("classes").classList.toggle("keyless", !keysOf(state.classes).size);
    for (const button of $("classes").querySelectorAll("button")) {
      const key = writing ? (button.hasAttribute("aria-current") ? "enter" : "") : keys.get(button.dataset.name) || "";
      if (button.firstChild.textContent !== key) button.firstChild.textContent = key;
      if (key) button.setAttribute("aria-keyshortcuts", key);
      else button.removeAttribute("aria-keyshortcuts");
    }
    const hints = [];
    const hint = (key, what) => hints.push(hints.length ? " · " : "", ...key.split(" ").map((k) => element("kbd", k)), " " + what);
    const found = [...keys.values()].sort(), all = state.classes.length;
    const run = found.length > 1 && Number(found.at(-1)) - Number(found[0]) === found.length - 1;
    if (found.length) hint(found.length === 10 ? "0–9" : run ? found[0] + "–" + found.at(-1) : found.join(" "), sets() ? "choose, or not" : "choose");
    hint(found.length ? "a–z" : "a–z 0–9", found.length < all || writing ? "type to find" : "find or add");
    if (found.length) hint("/", "type digits, too");
    hint("↑ ↓", "move");
    hint("enter", sets() ? (moved || $("filter").value.trim() ? "choose, or not" : "save") : "accept");
    if (!$("filter").value) hint("space", "skip");
    if (writing) hint("esc", keysOf(state.classes).size ? "back to the digits" : "clear");
    if (!$("filter").value) hint("backspace", "undo");
    $("keys").replaceChildren(...hints);
  }

  // The guess, to be tapped or taken with Enter: in a long list it may lie out of sight.
  function guessed(item, chosen) {
    const parts = [breakable(inWords(item.guess)), element("span", Math.round(100 * item.confidence) + " %", { className: "quiet" })];
    if (chosen) parts.unshift(element("kbd", "enter"));
    const button = element("button", parts, { type: "button", className: chosen ? "on" : "", disabled: Boolean(lost) });
    button.addEventListener("click", () => answer(item.guess));
    return [element("span", "The model’s guess"), button];
  }

  function renderAside() {
    if (!state) return;
    const early = queue.some((item) => item.guess) ? "Guesses come from a quick look, until a model is trained." : "No model yet: after muster train its guesses show here.";
    $("model").textContent = state.has_model ? "The model’s guesses follow your labels." : early;
    const rows = state.classes.map((name) => [name, state.counts.train[name] || 0, state.counts.test[name] || 0]);
    const figures = (train, test) => train.toLocaleString("en") + (test ? " + " + test.toLocaleString("en") + " test" : "");
    const given = rows.filter(([, train, test]) => train + test).sort((a, b) => b[1] + b[2] - a[1] - a[2]);
    const unlisted = given.length > MAX_CLASSES ? [element("li", "and " + (given.length - MAX_CLASSES).toLocaleString("en") + " more classes")] : [];
    $("counts").replaceChildren(...given.slice(0, MAX_CLASSES).map(([name, train, test]) => element("li", [breakable(name), element("span", figures(train, test))])), ...unlisted);
    $("total").textContent = figures(state.n_labels.train, state.n_labels.test);
    $("no-recent").hidden = recent.length > 0;
    const able = [...recent].reverse().find((turn) => turn.items[0] && turn.n === 1);
    redraw($("recent"), [...recent].reverse().map((turn) => {
      const item = turn.items[0];
      const title = element("b", (inWords(turn.label) || "skipped") + (turn.n > 1 ? " × " + turn.n : ""));
      const parts = item?.image ? [element("img", [], { src: item.image, alt: "" }), title, element("span", item.id)] : [title, element("span", item ? item.text.slice(0, 120) : "")];
      const button = element("button", parts, { type: "button", className: item?.image ? "" : "text-only", disabled: !item || turn.n > 1 || Boolean(lost) });
      button.addEventListener("click", () => again(turn));
      button.tabIndex = turn === able ? 0 : -1; // one stop; arrows move from there
      return element("li", button);
    }));
  }

  // --- the grid

  async function setMode(wanted) {
    if (lost || wanted === mode || (wanted === "grid" && $("mode-grid").disabled)) return;
    const left = pictures.filter((item) => !odd.has(item.key)).map((item) => item.key);
    mode = wanted;
    if (mode === "one") document.activeElement?.blur(); // a picture that is hidden would have the keys for a moment still
    $("one").hidden = mode !== "one";
    $("grid").hidden = mode !== "grid";
    if (mode === "grid") {
      const names = Object.entries(state.guessed).sort((a, b) => b[1] - a[1]);
      $("grid-label").replaceChildren(...names.map(([name, n]) => element("option", name + " (" + n.toLocaleString("en") + ")", { value: name })));
      await loadGrid(true);
    } else {
      queue = [...takeOdd(gridClass), ...queue];
      highlightGuess();
      render(); // at once: what showed before the grid is not what is asked now
      try {
        if (left.length) take(await post("leave", { keys: left }));
      } catch (problem) {
        return lose(problem);
      }
      fill();
    }
  }

  // `enter` puts the focus on the first picture, unless it was moved meanwhile; choosing a class leaves it at the choice.
  async function loadGrid(enter = false) {
    const left = pictures.filter((item) => !odd.has(item.key)).map((item) => item.key);
    const wanted = $("grid-label").value, ticket = ++gridAsked;
    queue = [...takeOdd(gridClass), ...queue];
    gridClass = wanted;
    gridMissed = false;
    render(); // no picture: what shows is never confirmed as what was asked for since
    $("grid-title").textContent = "Looking for “" + wanted + "”…";
    $("grid-note").textContent = "";
    try {
      if (left.length) await post("leave", { keys: left });
      const said = await post("grid", { label: wanted });
      if (ticket !== gridAsked || mode !== "grid") { // another class was asked for meanwhile
        const mine = new Set(queue.map((item) => item.key)), others = said.items.map((item) => item.key).filter((key) => !mine.has(key));
        if (others.length) await post("leave", { keys: others });
        return;
      }
      const denied = new Set(queue.filter((item) => item.denied === wanted).map((item) => item.key)); // marked here before
      pictures = said.items.filter((item) => !denied.has(item.key));
      const keys = new Set(pictures.map((item) => item.key));
      queue = queue.filter((item) => !keys.has(item.key));
      take(said);
      $("grid-note").textContent = pictures.length ? pictures.length + " of the " + said.n_free.toLocaleString("en") + " that the model takes for it, drawn at random. Marked ones are asked one by one afterwards." : "No picture without a label is left of which the model says this.";
    } catch (problem) {
      gridMissed = true;
      return lose(problem);
    }
    odd = new Set();
    focusAt = 0;
    render();
    if (enter && [document.body, $("mode-grid"), $("confirm")].includes(document.activeElement)) $("pictures").querySelector("button")?.focus();
  }

  function renderGrid() {
    const label = gridClass;
    $("grid-title").textContent = pictures.length ? "Are these all “" + label + "”?" : "Nothing left here";
    redraw($("pictures"), pictures.map((item, i) => {
      const button = element("button", picture(item, "picture " + (i + 1) + ", taken for " + label), { type: "button", tabIndex: i === focusAt ? 0 : -1 });
      button.setAttribute("aria-pressed", odd.has(item.key));
      button.disabled = Boolean(lost);
      button.addEventListener("click", () => mark(i));
      return element("li", button);
    }));
    const n = pictures.length - odd.size;
    $("confirm").replaceChildren(element("kbd", "enter"), n ? " Yes, " + (odd.size ? "the other " : "all ") + n + " are “" + label + "”" : " None of them is");
    $("confirm").disabled = Boolean(lost) || !pictures.length;
    $("grid-undo").disabled = Boolean(lost) || sending || !state.can_undo;
  }

  function mark(i) {
    const key = pictures[i].key;
    odd.has(key) ? odd.delete(key) : odd.add(key);
    focusAt = i;
    render();
  }

  // The marked pictures, to be asked one by one; the guess that was denied is not offered again.
  function takeOdd(label) {
    const found = pictures.filter((item) => odd.has(item.key));
    pictures = [];
    odd = new Set();
    return found.map((item) => ({ ...item, guess: "", denied: label, why: "marked as no " + label }));
  }

  async function confirm() {
    if (lost || !pictures.length || sending) return;
    const items = pictures.filter((item) => !odd.has(item.key));
    const label = gridClass;
    queue = [...takeOdd(label), ...queue];
    if (items.length) {
      outbox.push({ items, name: "answer", body: { keys: items.map((item) => item.key), label }, label });
      await send();
    }
    if (!lost) await loadGrid(true);
  }

  // --- keys

  document.addEventListener("keydown", (event) => {
    if (event.isComposing || event.altKey || event.metaKey) return;
    const undoes = event.key === "Backspace" || (event.ctrlKey && event.key.toLowerCase() === "z");
    if (event.ctrlKey && !undoes) return;
    const target = event.target, filter = $("filter"), typed = filter.value;
    if (target instanceof HTMLSelectElement && event.key !== "Escape") return;
    const free = target === document.body || target === filter || target === $("content");
    const writes = typed && target === filter && event.key !== "Enter" && !event.ctrlKey;
    if (event.repeat && !writes && (undoes || /^(Enter| |\d)$/.test(event.key))) return event.preventDefault(); // held down, it answers once
    if (mode === "grid") return gridKey(event, undoes);
    if (lost || !state) return;
    if (undoes && (!typed || event.ctrlKey)) return stop(event, undo);
    if (event.key === "Escape") {
      untype();
      highlightGuess();
      return render();
    }
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      if (target === $("content")) return;
      if (target.closest("#recent")) return stop(event, () => moveIn($("recent"), target, event.key === "ArrowDown" ? 1 : -1));
      const step = typed ? 1 : columns($("classes")); // of what is typed the next one, because ← and → are its own
      return stop(event, () => move(event.key === "ArrowDown" ? (on < 0 ? 1 : on + step < shownClasses().length ? step : 1) : on < step ? -1 : -step));
    }
    if ((event.key === "ArrowRight" || event.key === "ArrowLeft") && !typed && free) return stop(event, () => move(event.key === "ArrowRight" ? 1 : -1));
    if (!free && !/^\d$/.test(event.key)) return; // a button has the focus: Enter and space are its own
    if (event.key === "Enter") return stop(event, accept);
    if (event.key === " " && !typed) return stop(event, skip);
    const named = [...digits()].find(([, key]) => key === event.key);
    if (named) return stop(event, () => choose(named[0]));
    if (event.key === "/" && target !== filter && queue.length) return stop(event, () => filter.focus());
    if (event.key.length === 1 && target !== filter && queue.length) filter.focus(); // the letter goes there
  });

  function gridKey(event, undoes) {
    const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns($("pictures")), ArrowUp: -columns($("pictures")) };
    if (undoes) return stop(event, undo);
    if (event.key === "Escape") return stop(event, () => setMode("one"));
    if (event.key in steps && pictures.length) {
      return stop(event, () => {
        const to = focusAt + steps[event.key];
        if (to >= 0 && to < pictures.length) focusAt = to;
        $("pictures").children[focusAt].firstChild.focus();
        render();
      });
    }
    if (event.key === "Enter" && (event.target === document.body || event.target.closest(".pictures"))) stop(event, confirm);
    return undefined;
  }

  function stop(event, act) {
    event.preventDefault();
    act();
  }

  function speak(text) {
    $("say").textContent = text;
  }

  $("filter").addEventListener("input", () => {
    highlightGuess();
    render();
  });
  $("filter").addEventListener("focus", renderKeys);
  $("filter").addEventListener("blur", renderKeys);
  $("add-button").addEventListener("click", () => choose(newName(), true));
  $("save").addEventListener("click", saveSet);
  $("undo").addEventListener("click", undo);
  $("grid-undo").addEventListener("click", undo);
  $("skip").addEventListener("click", skip);
  $("retry").addEventListener("click", retry);
  $("mode-one").addEventListener("click", () => setMode("one"));
  $("mode-grid").addEventListener("click", () => setMode("grid"));
  $("grid-label").addEventListener("change", () => loadGrid());
  $("confirm").addEventListener("click", confirm);
  fill(true);
})();
