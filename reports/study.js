"use strict";
(() => {
  const { study, sheet, name } = document.body.dataset;
  const fieldsets = [...document.querySelectorAll("fieldset")];
  const byId = (id) => document.getElementById(id);
  const chosen = (fieldset) => fieldset.querySelector("input:checked");
  const open = () => fieldsets.filter((fieldset) => !chosen(fieldset));
  const shelf = `study-${study}-${sheet}`;
  let unsaved = false;

  function answers() {
    return fieldsets.filter(chosen).map((fieldset) => ({
      head: Number(fieldset.dataset.head),
      entry: fieldset.dataset.entry,
      question: fieldset.dataset.question,
      rating: Number(chosen(fieldset).value),
    }));
  }

  // A closed tab must not cost half an hour; some browsers keep nothing for pages from disk.
  function keep() {
    try {
      localStorage.setItem(shelf, JSON.stringify(answers()));
    } catch {
      return;
    }
  }
  function recall() {
    try {
      return JSON.parse(localStorage.getItem(shelf)) || [];
    } catch {
      return [];
    }
  }

  function count() {
    const done = fieldsets.length - open().length;
    byId("answered").textContent = done;
    byId("progress").value = done;
    byId("next").disabled = done === fieldsets.length;
  }

  function go(fieldset) {
    fieldset.scrollIntoView({ block: "center" });
    fieldset.querySelector("input").focus({ preventScroll: true });
  }

  function listMissing(missing) {
    const list = byId("missing-list");
    list.replaceChildren();
    for (const fieldset of fieldsets) fieldset.classList.toggle("open", missing.includes(fieldset));
    for (const fieldset of missing) {
      const link = document.createElement("a");
      link.href = "#";
      link.textContent = fieldset.dataset.title;
      link.addEventListener("click", (event) => { event.preventDefault(); go(fieldset); });
      const item = document.createElement("li");
      item.append(link);
      list.append(item);
    }
    byId("missing").hidden = missing.length === 0;
    byId("missing-title").textContent = `${missing.length} not answered yet`;
  }

  function download(file, text) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
    link.download = file;
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }

  for (const fieldset of fieldsets) {
    fieldset.addEventListener("change", () => {
      unsaved = true;
      fieldset.classList.remove("open");
      byId("told").textContent = "";
      if (!byId("missing").hidden) listMissing(open());
      keep();
      count();
    });
  }
  byId("next").addEventListener("click", () => { if (open().length) go(open()[0]); });
  byId("save").addEventListener("click", () => {
    const ratings = answers();
    const text = JSON.stringify({ version: 1, study, sheet: Number(sheet), ratings }, null, 1);
    download(`answers-${name}.json`, `${text}\n`);
    unsaved = false;
    const missing = open();
    listMissing(missing);
    byId("told").textContent = missing.length
      ? `Saved answers-${name}.json; ${missing.length} not answered yet, listed above.`
      : `Saved answers-${name}.json. Thank you!`;
    if (missing.length) byId("missing").scrollIntoView({ block: "center" });
  });
  byId("larger").addEventListener("change", (event) => {
    document.body.classList.toggle("larger-pictures", event.target.checked);
  });
  window.addEventListener("beforeunload", (event) => { if (unsaved) event.preventDefault(); });

  // Browsers may restore choices by themselves on reload: begin from none, then from ours.
  for (const input of document.querySelectorAll("input[type=radio]")) input.checked = false;
  for (const { head, entry, question, rating } of recall()) {
    const input = document.querySelector(
      `input[name="${CSS.escape(`${head}-${entry}-${question}`)}"][value="${CSS.escape(rating)}"]`,
    );
    if (input) input.checked = true;
  }
  count();
})();
