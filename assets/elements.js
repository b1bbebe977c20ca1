// The elements and dialogs that scripts create.
(() => {
  const sd35 = (window.sd35 ??= {});

  const DOUBLE_CLICK = 500; // ms: the second click of a double click would close the dialog that the first one has opened

  const setProperty = (node, name, value) => {
    if (name === "data") Object.assign(node.dataset, value);
    else if (name.startsWith("aria")) node.setAttribute(`aria-${name.slice(4).toLowerCase()}`, value);
    else if (name === "role") node.setAttribute(name, value);
    else node[name] = value;
  };

  // Texts become nodes, never HTML: prompts come from anywhere. A child that is null is left out.
  const create = (tag, properties = {}, ...children) => {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(properties)) setProperty(node, name, value);
    node.append(...children.filter((child) => child !== null));
    return node;
  };

  Object.assign(sd35, {
    create,

    // A dialog exists only while it is open. It is closed by its button, by Escape, and by a click beside it.
    openDialog(id, title, ...children) {
      const heading = create("h2", { id: `${id}-title` }, title);
      const close = create("button", { type: "button", className: "close", title: "Close", ariaLabel: "Close" }, "✕");
      const dialog = create("dialog", { id, className: "panel-dialog", ariaLabelledby: heading.id }, heading, close, ...children);
      const openedAt = Date.now();
      const isBeside = ({ target }) => target === dialog && Date.now() - openedAt > DOUBLE_CLICK;
      dialog.addEventListener("click", (event) => (event.target === close || isBeside(event)) && dialog.close());
      dialog.addEventListener("close", () => dialog.remove());
      document.querySelector(".gradio-container").append(dialog);
      dialog.showModal();
      return dialog;
    },

    pluralize: (count, noun) => `${count.toLocaleString()} ${noun}${count === 1 ? "" : "s"}`,
  });
})();
