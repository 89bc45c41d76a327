"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];

  function setSource(image, source) {
    if (!image) return;
    if (source) image.src = source;
    else image.removeAttribute("src");
  }

  // Each figure carries [picture, differences, text] for every view of its head.
  function showView(wall, index) {
    const truth = JSON.parse(wall.querySelector(".truth").dataset.shots)[index];
    wall.querySelector("output").textContent = JSON.parse(wall.dataset.views)[index];
    for (const figure of all("figure[data-shots]", wall)) {
      const [picture, errors, text] = JSON.parse(figure.dataset.shots)[index];
      setSource(figure.querySelector(".over"), picture);
      setSource(figure.querySelector(".errors"), errors);
      setSource(figure.querySelector(".under"), truth[0]);
      if (figure.classList.contains("truth")) continue;
      figure.classList.toggle("failed", !picture);
      figure.querySelector(".text").textContent = text;
      figure.querySelector(".text").title = text;
      figure.querySelector(".reason").textContent = text;
    }
  }

  for (const wall of all(".wall")) {
    wall.querySelector(".view-choice").addEventListener("input", (event) => {
      showView(wall, Number(event.target.value));
    });
  }

  const wipe = document.getElementById("wipe");
  const frames = all(".shot:not(.given):not(.truth) .frame");
  const rest = (frame) => frame.style.setProperty("--wipe", `${wipe.value}%`);
  wipe.addEventListener("input", () => frames.forEach(rest));
  for (const frame of frames) {
    frame.addEventListener("pointermove", (event) => {
      const box = frame.getBoundingClientRect();
      const share = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
      frame.style.setProperty("--wipe", `${(100 * share).toFixed(1)}%`);
    });
    frame.addEventListener("pointerleave", () => rest(frame));
  }

  document.getElementById("show-errors").addEventListener("change", (event) => {
    document.body.classList.toggle("with-errors", event.target.checked);
  });

  // Pages opened from disk may have no clipboard interface: the old command still works there.
  async function copy(text) {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      const area = document.createElement("textarea");
      area.value = text;
      document.body.append(area);
      area.select();
      const done = document.execCommand("copy");
      area.remove();
      return done;
    }
  }
  for (const button of all("button[data-copy]")) {
    const label = button.textContent;
    button.addEventListener("click", async () => {
      const done = await copy(document.getElementById(button.dataset.copy).value);
      button.textContent = done ? "Copied" : "Not allowed here";
      setTimeout(() => { button.textContent = label; }, 1500);
    });
  }
})();
