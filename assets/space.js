// The panel in which the Space is chosen. It exists only while it is open.
(() => {
  const sd35 = (window.sd35 ??= {});
  const panel = () => document.getElementById("space-panel");

  const close = () => {
    panel()?.close();
  };
  const setBusy = (isBusy) => {
    panel()?.toggleAttribute("data-busy", isBusy);
    panel()?.setAttribute("aria-busy", String(isBusy));
  };
  const showError = (text) => {
    panel().querySelector("#space-error").textContent = text;
    panel().querySelector("#space-address").toggleAttribute("aria-invalid", text !== "");
  };
  const choose = (target) => {
    if (panel().hasAttribute("data-busy")) return;
    showError("");
    setBusy(true);
    sd35.raise("choose", { target });
  };

  const onClick = ({ target }) => {
    if (target === panel() || target.closest("[data-close]")) close(); // beside it, or on its button
    const choice = target.closest("[data-target]");
    if (choice?.getAttribute("aria-current") === "true") close();
    else if (choice) choose(choice.dataset.target);
  };
  const onSubmit = (event) => {
    event.preventDefault();
    choose(event.target.querySelector("input").value);
  };
  const onClose = () => {
    panel()?.remove();
    document.getElementById("space-name")?.focus();
  };

  document.addEventListener("click", (event) => event.target.closest?.("#space-name") && sd35.raise("spaces"));

  Object.assign(sd35, {
    showSpaces(html) {
      if (panel() !== null) return [];
      document.querySelector(".gradio-container").insertAdjacentHTML("beforeend", html);
      panel().addEventListener("click", onClick);
      panel().addEventListener("submit", onSubmit);
      panel().addEventListener("close", onClose);
      panel().showModal();
      (panel().querySelector("[aria-current]") ?? panel().querySelector("[data-close]")).focus();
      return [];
    },

    // The answer to a choice: what is wrong with it, or nothing.
    endChoice(error) {
      setBusy(false);
      if (error === "") close();
      else if (panel() !== null) {
        showError(error);
        panel().querySelector("#space-address").focus();
      }
      return [];
    },
  });
})();
