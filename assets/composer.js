// How many images a press makes, of which prompts, and with which seeds and styles.
(() => {
  const sd35 = (window.sd35 ??= {});

  const DEFAULTS = { count: 1, one_per_line: false, seeds: "increment", combinations: false, is_literal: false, styles: [] };
  const MAX_COUNT = 8;

  let options = { ...DEFAULTS };
  const sentTexts = []; // on their way to Gradio's component, which tells of each change

  const isNameList = (value) => Array.isArray(value) && value.every((name) => typeof name === "string");
  // What a draft or another page has written may be anything.
  const parse = (text) => {
    let saved = null;
    try {
      saved = JSON.parse(text);
    } catch {
      // an empty text: the defaults
    }
    const { count, one_per_line, seeds, combinations, is_literal, styles } = saved ?? {};
    return {
      count: Number.isInteger(count) && count >= 1 && count <= MAX_COUNT ? count : 1,
      one_per_line: one_per_line === true,
      seeds: seeds === "fixed" ? "fixed" : "increment",
      combinations: combinations === true,
      is_literal: is_literal === true,
      styles: isNameList(styles) ? styles : [],
    };
  };
  const announceChange = () => document.dispatchEvent(new CustomEvent("sd35:batch-options", { detail: sd35.batchOptions() }));

  Object.assign(sd35, {
    batchOptions: () => structuredClone(options),

    setBatchOptions(changes) {
      const former = sd35.batchText();
      options = parse(JSON.stringify({ ...options, ...changes }));
      if (sd35.batchText() === former) return;
      sentTexts.push(sd35.batchText());
      sd35.raise("batch");
      announceChange();
    },

    // The field of the form.
    batchText: () => JSON.stringify(options),

    // The field has changed: by an import, a draft, or by what this page has sent before.
    showBatchOptions(text) {
      if (text === sd35.batchText()) sentTexts.length = 0;
      else if (!sentTexts.includes(text)) {
        sentTexts.length = 0;
        options = parse(text);
        announceChange();
      }
      return [];
    },
  });
})();
