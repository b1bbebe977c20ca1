// The header's menus: the theme, and the sheet of all keys.
(() => {
  const sd35 = (window.sd35 ??= {});
  const { create } = sd35;
  const root = document.documentElement;
  const byId = (id) => document.getElementById(id);

  // ---- Theme --------------------------------------------------------------------------------------
  // Gradio marks a dark page with a class of its body, by `?__theme=` of the address or else by the system.

  const THEME_KEY = "sd35-theme";
  const THEMES = ["system", "light", "dark"];
  const PARAMETER = "__theme";
  const system = matchMedia("(prefers-color-scheme: dark)");
  const themeOf = (text) => (THEMES.includes(text) ? text : "system");
  const parameter = () => new URLSearchParams(location.search).get(PARAMETER);
  let theme = themeOf(parameter() ?? localStorage.getItem(THEME_KEY));

  const applyTheme = () => {
    const isDark = theme === "dark" || (theme === "system" && system.matches);
    root.dataset.theme = theme;
    root.style.colorScheme = isDark ? "dark" : "light";
    if (document.body?.classList.contains("dark") === !isDark) document.body.classList.toggle("dark", isDark);
    const menu = byId("theme");
    if (menu !== null && menu.value !== theme) menu.value = theme;
  };
  const chooseTheme = (name) => {
    theme = themeOf(name);
    applyTheme();
  };
  const onThemeChange = ({ target }) => {
    if (target.id !== "theme") return;
    chooseTheme(target.value);
    localStorage.setItem(THEME_KEY, theme);
    if (parameter() === null) return;
    const url = new URL(location.href);
    url.searchParams.delete(PARAMETER); // else it would win at the next load
    history.replaceState(history.state, "", url);
  };
  // An element of another site's page has the colors of that page.
  if (sd35.isOwnPage()) {
    document.addEventListener("change", onThemeChange);
    system.addEventListener("change", applyTheme);
    window.addEventListener("storage", ({ key, newValue }) => key === THEME_KEY && chooseTheme(newValue)); // of another tab
    // Before anything is painted: a MutationObserver is called at the end of the script that has changed something.
    new MutationObserver(applyTheme).observe(document.body ?? root, { attributes: true, attributeFilter: ["class"] });
    applyTheme();
  }

  // ---- Keys ---------------------------------------------------------------------------------------

  const KEYS = [
    ["Everywhere", ["?"], "Show this list"],
    ["Everywhere", ["/"], "Go to the prompt, or to the search of the library"],
    ["Everywhere", ["Ctrl", "Z"], "Undo a removal, or a prompt that was filled in"],
    ["Everywhere", ["Esc"], "Close a dialog, or leave a field"],
    ["Create", ["Ctrl", "Enter"], "Generate"],
    ["Create", ["Ctrl", "K"], "Search the prompts that you have used"],
    ["Create", ["↑", "↓"], "Earlier and later prompts, from an empty prompt"],
    ["Create", ["Tab"], "Take the suggestion below what you type"],
    ["Create", ["←", "→"], "Show the previous or the next image"],
    ["Create", ["S"], "Star the image"],
    ["Create", ["Delete"], "Move the image to the trash"],
    ["Create", ["Esc"], "Go back to the set, or to what is running"],
    ["Create", ["Ctrl", "Shift", "V"], "Paste settings as the text that they are"],
    ["Library", ["S"], "Star the image"],
    ["Library", ["X"], "Select the image"],
    ["Library", ["C"], "Compare the selected images"],
    ["Library", ["Shift", "click"], "Select all from the last selected image to this one"],
    ["Library", ["Delete"], "Move the image to the trash"],
    ["Library", ["←", "→"], "Show the newer or older image"],
    ["Compare", ["1–4"], "Keep that image, and move the others to the trash"],
    ["Compare", ["G", "L", "F"], "Show them side by side, with a slider, or in turn"],
    ["Compare", ["Space"], "Show the next one; as long as it is held, if it is held"],
    ["Compare", ["+", "−", "0"], "Zoom in or out, or fit"],
    ["Compare", ["S"], "Star the image"],
    ["Compare", ["D"], "Show or hide what differs"],
    ["Find the best", ["←", "→"], "Choose the left or the right image"],
    ["Find the best", ["↓"], "Both are as good"],
    ["Find the best", ["↑"], "Undo the last choice"],
  ];
  const IS_MAC = /Mac|iPhone|iPad/.test(navigator.platform);

  const keyElement = (key) => create("kbd", { textContent: key === "Ctrl" && IS_MAC ? "⌘" : key });
  const groupElement = (name) => {
    const rows = KEYS.filter(([group]) => group === name).flatMap(([, keys, text]) => [
      create("dt", {}, ...keys.map(keyElement)),
      create("dd", { textContent: text }),
    ]);
    return create("section", {}, create("h3", { textContent: name }), create("dl", {}, ...rows));
  };
  const keySheet = () => byId("key-sheet");
  const openKeySheet = () => {
    const groups = [...new Set(KEYS.map(([group]) => group))].map(groupElement);
    sd35.openDialog("key-sheet", "Keys", create("div", { className: "groups" }, ...groups));
  };

  const isTyping = ({ target }) =>
    target.matches?.("input:not([type=checkbox], [type=radio], [type=range], [type=file]), textarea, select, [contenteditable]");
  const onSheetKey = (event) => {
    event.stopImmediatePropagation(); // the keys belong to what is below the sheet
    if (event.key === "?") keySheet().close();
  };
  const onKey = (event) => {
    if (keySheet()?.open) {
      onSheetKey(event);
      return;
    }
    if (event.isComposing || event.ctrlKey || event.metaKey || event.altKey || event.repeat || isTyping(event)) return;
    if (event.key === "?") openKeySheet();
    else if (event.key === "/" && root.dataset.tab === "create" && !document.querySelector("dialog[open]")) {
      event.preventDefault(); // else it would be typed there, and some browsers search by it
      document.querySelector("#prompt-area textarea")?.focus();
    }
  };
  window.addEventListener("keydown", onKey, true);
  document.addEventListener("click", (event) => event.target.closest?.("#show-keys") && openKeySheet());
})();
