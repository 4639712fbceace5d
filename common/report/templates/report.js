// Without this script every prompt is on the page, one after the other.
(() => {
  const prompts = [...document.querySelectorAll(".prompt")];
  const picker = document.querySelector(".picker");
  if (picker && prompts.length > 1) {
    const select = picker.querySelector("select");
    const show = () => {
      const all = select.value === "all";
      prompts.forEach((p, i) => { p.hidden = !all && String(i) !== select.value; });
    };
    select.addEventListener("change", show);
    picker.addEventListener("click", (event) => {
      const step = Number(event.target.dataset?.step);
      if (!step) return;
      const now = select.value === "all" ? 0 : Number(select.value);
      select.value = String((now + step + prompts.length) % prompts.length);
      show();
    });
    picker.hidden = false;
    show();
  }
  // Paper cannot be unfolded, except the samples of other conditions, which would fill it.
  addEventListener("beforeprint", () => {
    document.querySelectorAll("section > details").forEach((d) => { d.open = true; });
  });
})();
