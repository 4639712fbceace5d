// State is the annotator's name, which gives the order, and the votes so far; what is shown follows
// from their number.
(() => {
  "use strict";
  const data = JSON.parse(document.getElementById("data").textContent);
  const at = (id) => document.getElementById(id);
  const LETTER = { left: "A", right: "B" };
  const QUESTION = { text: "Which continuation is better?", image: "Which picture is better?" };
  const KEYS = {
    a: "left", arrowleft: "left", b: "right", arrowright: "right", "=": "equal", arrowdown: "equal",
    u: "undo", backspace: "undo",
  };
  const LAST_NAME = `preference ${data.page}`;
  let annotator = "", items = [], votes = [], shownAt = 0;

  // Each annotator has an order of their own, so that no pair is always judged with tired eyes; it
  // follows from the name, so that it is the same wherever they go on. Texts stay before pictures.
  const hash = (text) => {
    let value = 0x811c9dc5;
    for (const letter of text) value = Math.imul(value ^ letter.codePointAt(0), 0x01000193);
    value = Math.imul(value ^ (value >>> 16), 0x85ebca6b);
    return (value ^ (value >>> 13)) >>> 0;
  };
  const ordered = () => {
    const rank = new Map(
      data.items.map(({ id }) => [id, hash(`${data.page} ${annotator.toLowerCase()} ${id}`)])
    );
    const kinds = [...new Set(data.items.map(({ kind }) => kind))];
    const of = (kind) => data.items.filter((item) => item.kind === kind);
    return kinds.flatMap((kind) => of(kind).sort((a, b) => rank.get(a.id) - rank.get(b.id)));
  };

  // A browser may refuse to store anything (private windows, files); then the page says so.
  const load = (key) => { try { return localStorage.getItem(key); } catch { return null; } };
  const keep = (key, value) => {
    try { localStorage.setItem(key, value); } catch { at("unkept").hidden = false; }
  };
  const place = () => `${LAST_NAME} ${annotator.toLowerCase()}`;
  const kept = () => {
    try {
      const found = JSON.parse(load(place())) ?? [];
      return found.every((vote, n) => vote.item === items[n].id) ? found : [];
    } catch { return []; }
  };

  const show = (section) => {
    for (const id of ["start", "compare", "done"]) at(id).hidden = id !== section;
    at("mine").hidden = section === "start";
    at("early").hidden = section === "done" || votes.length === 0;
    at("saved").textContent = "";
    scrollTo(0, 0);
  };
  const words = (item, side) => {
    const text = document.createElement("p"), again = document.createElement("span");
    text.className = "text";
    again.className = "again";
    again.textContent = `… ${item.lead}`;
    text.append(again, item[side]);
    return text;
  };
  const picture = (item, side) => {
    const box = document.createElement("div"), bar = document.createElement("i");
    const image = new Image();
    box.className = "picture";
    bar.style.height = `${100 * item.given}%`;
    image.src = item[side];
    image.alt = `picture ${LETTER[side]}`;
    box.append(bar, image);
    return box;
  };
  const step = (said) => {
    const number = votes.length, item = items[number];
    at("annotator").textContent = annotator;
    if (!item) {
      show("done");
      at("done").querySelector("h1").focus();
      return;
    }
    show("compare");
    at("count").textContent = `${number + 1} of ${items.length}`;
    at("progress").value = number;
    at("question").textContent = QUESTION[item.kind];
    at("prompt-box").hidden = item.kind !== "text";
    at("given-note").hidden = item.kind !== "image";
    at("prompt").textContent = item.kind === "text" ? `${item.prompt} …` : "";
    at("sides").className = item.kind === "text" ? "texts" : "pictures";
    for (const side of ["left", "right"]) {
      at(side).replaceChildren((item.kind === "text" ? words : picture)(item, side));
    }
    at("compare").querySelector(".undo").disabled = number === 0;
    at("said").textContent = said;
    fit();
    shownAt = performance.now();
  };
  // Where a pair is longer than the window, the down key is for reading it.
  const scrolls = () => {
    const end = at("sides").getBoundingClientRect().bottom + scrollY;
    return end + at("votes").offsetHeight > innerHeight;
  };
  const fit = () => at("compare").classList.toggle("scrolls", scrolls());

  const vote = (choice) => {
    const item = items[votes.length];
    if (!item) return;
    const milliseconds = Math.round(performance.now() - shownAt);
    votes.push({ item: item.id, choice, milliseconds });
    keep(place(), JSON.stringify(votes));
    const word = choice === "equal" ? "equal" : `${LETTER[choice]} is better`;
    step(`Pair ${votes.length}: ${word}.`);
  };
  const undo = () => {
    if (!votes.pop()) return;
    keep(place(), JSON.stringify(votes));
    step(`Pair ${votes.length + 1}: taken back.`);
  };
  const begin = (name) => {
    annotator = name;
    keep(LAST_NAME, annotator);
    items = ordered();
    votes = kept();
    step(votes.length ? "Welcome back." : "");
  };
  const restart = () => {
    show("start");
    at("name").value = annotator;
    at("go").textContent = annotator ? "Go on" : "Begin";
    at("name").focus();
  };
  const download = () => {
    const { schema, page } = data;
    const file = { schema, kind: data.export, page, annotator, votes };
    const link = document.createElement("a");
    const slug = annotator.toLowerCase().replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-|-$/g, "");
    link.download = `votes-${slug || "annotator"}-${page.slice(0, 8)}.json`;
    const text = JSON.stringify(file, null, 1);
    link.href = URL.createObjectURL(new Blob([`${text}\n`], { type: "application/json" }));
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    at("saved").textContent = `${votes.length} of ${items.length} votes in ${link.download}`;
  };

  at("who").addEventListener("submit", (event) => {
    event.preventDefault();
    const name = at("name").value.trim();
    if (name) begin(name);
  });
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button?.dataset.choice) vote(button.dataset.choice);
    else if (button?.classList.contains("undo")) undo();
    else if (button?.classList.contains("download")) download();
  });
  at("help").addEventListener("click", restart);
  at("rename").addEventListener("click", restart);
  document.addEventListener("keydown", (event) => {
    // A key held down is one vote, and keys with modifiers belong to the browser.
    if (event.ctrlKey || event.metaKey || event.altKey || !at("start").hidden) return;
    const does = KEYS[event.key.toLowerCase()];
    if (!does || (event.key === "ArrowDown" && scrolls())) return;
    event.preventDefault();
    if (event.repeat) return;
    if (does === "undo") undo(); else vote(does);
  });
  addEventListener("resize", fit);

  annotator = load(LAST_NAME) ?? "";
  if (annotator) begin(annotator); else restart();
})();
