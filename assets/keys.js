// Ctrl or Cmd + Enter generates, Escape stops; and the seed of the picture goes into the form.
(() => {
  const press = (id) => {
    const button = document.getElementById(id);
    if (button && button.offsetParent !== null) button.click();
  };
  document.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      press("generate");
    } else if (event.key === "Escape" && !document.fullscreenElement) {
      press("stop");
    }
  });
  window.usedSeed = () => Number(document.querySelector("#panel [data-seed]").dataset.seed);
})();
